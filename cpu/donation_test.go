package cpu_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// compile returns a program of float32 parameters.
func compile(t testing.TB, b compute.Backend, dims [][]int, body func(f recorder, in []compute.Value) []compute.Value) compute.Executable {
	t.Helper()
	p, err := compileFlat(b, dims, body)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func upload(t testing.TB, b compute.Backend, flat []float32, dims ...int) compute.Buffer {
	t.Helper()
	x, err := b.BufferFromFlatData(0, flat, shapes.Make(dtypes.Float32, dims...))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func data(t testing.TB, b compute.Buffer) []float32 {
	t.Helper()
	flat, err := b.Data()
	if err != nil {
		t.Fatal(err)
	}
	return flat.([]float32)
}

// step is a program like that of an optimiser: p and m become other values of the same shape, x does not.
func step(t testing.TB, b compute.Backend, n int) compute.Executable {
	return compile(t, b, [][]int{{n}, {n}, {n}}, func(f recorder, in []compute.Value) []compute.Value {
		sum := must(f.ReduceSum(f.mul(in[0], in[2])))
		m := f.add(f.mul(in[1], f.number(float32(0.5))), in[2])
		return []compute.Value{must(f.Sub(in[0], m)), m, sum}
	})
}

func TestDonation(t *testing.T) {
	b := open(t, "workers=2")
	const n = 5000
	program := step(t, b, n)
	p, m, x := upload(t, b, slices.Repeat([]float32{8}, n), n), upload(t, b, slices.Repeat([]float32{2}, n), n), upload(t, b, slices.Repeat([]float32{1}, n), n)
	wantP, wantM := float32(8), float32(2)
	for k := range 4 {
		memory := []*float32{&data(t, p)[0], &data(t, m)[0]}
		out, err := program.Execute([]compute.Buffer{p, m, x}, []bool{true, true, false}, 0)
		if err != nil {
			t.Fatal(err)
		}
		sum := wantP * n
		wantM = wantM/2 + 1
		wantP -= wantM
		for i, want := range []float32{wantP, wantM} {
			if got := data(t, out[i]); slices.Min(got) != want || slices.Max(got) != want {
				t.Fatalf("step %d: output %d is within [%g, %g], want %g", k, i, slices.Min(got), slices.Max(got), want)
			}
			if &data(t, out[i])[0] != memory[i] {
				t.Errorf("step %d: output %d is not in the memory of the donated input", k, i)
			}
		}
		if got := data(t, out[2])[0]; got != sum {
			t.Errorf("step %d: sum %g, want %g", k, got, sum)
		}
		// The old buffers are gone; the kept one is as it was.
		for i, old := range []compute.Buffer{p, m} {
			if _, err := old.Data(); err == nil {
				t.Errorf("step %d: donated input %d can still be read", k, i)
			}
			if err := old.ToFlatData(make([]float32, n)); err == nil {
				t.Errorf("step %d: donated input %d can still be copied", k, i)
			}
			if _, err := old.CopyToDevice(0); err == nil {
				t.Errorf("step %d: donated input %d can still be cloned", k, i)
			}
			if _, err := program.Execute([]compute.Buffer{old, old, x}, nil, 0); err == nil {
				t.Errorf("step %d: donated input %d can still be used", k, i)
			}
			for range 2 { // which must not give away the memory of the result
				if err := old.Finalize(); err != nil {
					t.Error(err)
				}
			}
		}
		if got := data(t, x); slices.Min(got) != 1 || slices.Max(got) != 1 {
			t.Error("an input that was not donated has changed")
		}
		other := upload(t, b, slices.Repeat([]float32{-99}, n), n)
		if got := data(t, out[0]); slices.Min(got) != wantP {
			t.Error("the memory of a result was given away")
		}
		if err := other.Finalize(); err != nil {
			t.Error(err)
		}
		p, m = out[0], out[1]
	}
}

// Without donations, or with others, the same program leaves its inputs alone.
func TestDonationVaries(t *testing.T) {
	b := open(t, "workers=2")
	program := step(t, b, 100)
	for mask := range 8 {
		donate := []bool{mask&1 > 0, mask&2 > 0, mask&4 > 0}
		for range 2 {
			in := []compute.Buffer{upload(t, b, slices.Repeat([]float32{8}, 100), 100), upload(t, b, slices.Repeat([]float32{2}, 100), 100), upload(t, b, slices.Repeat([]float32{1}, 100), 100)}
			out, err := program.Execute(in, donate, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []float32{6, 2} {
				if got := data(t, out[i]); slices.Min(got) != want || slices.Max(got) != want {
					t.Errorf("donated %v: output %d is within [%g, %g], want %g", donate, i, slices.Min(got), slices.Max(got), want)
				}
			}
			for i, before := range []float32{8, 2, 1} {
				flat, err := in[i].Data()
				if donate[i] != (err != nil) {
					t.Errorf("donated %v: input %d has error %v", donate, i, err)
				}
				if err == nil && (slices.Min(flat.([]float32)) != before || slices.Max(flat.([]float32)) != before) {
					t.Errorf("donated %v: input %d has changed", donate, i)
				}
			}
		}
	}
}

// A buffer that is donated must not be an input twice: the one would overwrite the other.
func TestDonationOfOneBufferTwice(t *testing.T) {
	b := open(t, "")
	program := step(t, b, 10)
	x, y := upload(t, b, make([]float32, 10), 10), upload(t, b, make([]float32, 10), 10)
	for _, c := range []struct {
		in     []compute.Buffer
		donate []bool
	}{
		{[]compute.Buffer{x, x, y}, []bool{true, true, false}},
		{[]compute.Buffer{x, x, y}, []bool{true, false, false}},
		{[]compute.Buffer{x, x, y}, []bool{false, true, true}},
	} {
		if _, err := program.Execute(c.in, c.donate, 0); err == nil || !strings.Contains(err.Error(), "donated") {
			t.Errorf("donated %v: error %v", c.donate, err)
		}
	}
	// Nothing has happened to them.
	if _, err := program.Execute([]compute.Buffer{x, x, y}, nil, 0); err != nil {
		t.Error(err)
	}
	if _, err := program.Execute([]compute.Buffer{x, y, y}, []bool{true, false, false}, 0); err != nil {
		t.Error(err)
	}
}

// Every output has memory of its own: those that are parameters, constants, views, or the same value.
func TestOutputs(t *testing.T) {
	b := open(t, "workers=2")
	program := compile(t, b, [][]int{{2, 3}, {6}}, func(f recorder, in []compute.Value) []compute.Value {
		c := must(f.Constant([]float32{7, 8}, 2))
		y := must(f.Neg(in[0]))
		return []compute.Value{in[0], y, y, c, c, must(f.Reshape(in[0], 6)), must(f.Transpose(in[0], 1, 0)), in[1], must(f.Reshape(y, 3, 2)), in[1]}
	})
	for _, donate := range [][]bool{nil, {true, true}} {
		for range 2 {
			x := upload(t, b, []float32{1, 2, 3, 4, 5, 6}, 2, 3)
			y := upload(t, b, []float32{6, 5, 4, 3, 2, 1}, 6)
			out, err := program.Execute([]compute.Buffer{x, y}, donate, 0)
			if err != nil {
				t.Fatal(err)
			}
			want := "[1 2 3 4 5 6] [-1 -2 -3 -4 -5 -6] [-1 -2 -3 -4 -5 -6] [7 8] [7 8] [1 2 3 4 5 6] [1 4 2 5 3 6] [6 5 4 3 2 1] [-1 -2 -3 -4 -5 -6] [6 5 4 3 2 1]"
			var got []string
			seen := map[*float32]int{}
			for i, o := range out {
				flat := data(t, o)
				got = append(got, fmt.Sprint(flat))
				if k, ok := seen[unsafe.SliceData(flat)]; ok {
					t.Errorf("outputs %d and %d share memory", k, i)
				}
				seen[unsafe.SliceData(flat)] = i
				shape, err := o.Shape()
				if err != nil || !shape.Equal(program.Outputs()[i]) {
					t.Errorf("output %d has shape %s, %v, want %s", i, shape, err, program.Outputs()[i])
				}
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("outputs\n%s, want\n%s", s, want)
			}
			for _, o := range out { // so that the second execution finds used memory
				flat := data(t, o)
				for i := range flat {
					flat[i] = -1
				}
				if err := o.Finalize(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Buffers that share memory with Go slices are read and written like others.
func TestSharedBuffers(t *testing.T) {
	b := open(t, "")
	if !b.HasSharedBuffers() {
		t.Fatal("no shared buffers")
	}
	x, flat, err := b.NewSharedBuffer(0, shapes.Make(dtypes.Float32, 4))
	if err != nil {
		t.Fatal(err)
	}
	copy(flat.([]float32), []float32{1, 2, 3, 4})
	program := compile(t, b, [][]int{{4}}, func(f recorder, in []compute.Value) []compute.Value { return []compute.Value{f.add(in[0], in[0])} })
	for _, k := range []float32{0, 1, 2} {
		flat.([]float32)[0] = k
		out, err := program.Execute([]compute.Buffer{x}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := data(t, out[0]), []float32{2 * k, 4, 6, 8}; !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if x.Backend() != compute.Backend(b) {
		t.Error("a buffer of another backend")
	}
}

// Memory of finalized buffers is used again, never twice at a time, and is big enough.
func TestBuffersAreRecycled(t *testing.T) {
	b := open(t, "")
	live := map[*float32]bool{}
	for round := range 3 {
		var buffers []compute.Buffer
		for n := 0; n < 3000; n += 1 + n/7 {
			for range 2 {
				x := upload(t, b, slices.Repeat([]float32{float32(n)}, n), n)
				buffers = append(buffers, x)
				if n == 0 {
					continue
				}
				p := &data(t, x)[0]
				if live[p] {
					t.Fatalf("round %d: %d floats in memory that is in use", round, n)
				}
				live[p] = true
			}
		}
		for _, x := range buffers {
			s, err := x.Shape()
			if err != nil {
				t.Fatal(err)
			}
			if n := s.Size(); n > 0 {
				flat := data(t, x)
				if len(flat) != n || slices.Min(flat) != float32(n) || slices.Max(flat) != float32(n) {
					t.Fatalf("round %d: a buffer of %d floats holds %d within [%g, %g]", round, n, len(flat), slices.Min(flat), slices.Max(flat))
				}
				delete(live, &flat[0])
			}
			for range 2 {
				if err := x.Finalize(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// Memory that is kept for the next tensor goes back when machine.Free asks for it, as whoever has dropped a model does.
func TestFreedMemory(t *testing.T) {
	const floats = 1 << 24
	b := open(t, "")
	before := oracle.Heap()
	x, err := b.BufferFromFlatData(0, make([]float32, floats), shapes.Make(dtypes.Float32, floats))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Finalize(); err != nil {
		t.Fatal(err)
	}
	machine.Free()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if kept := float64(m.HeapAlloc) - before; kept > 4*floats/2 {
		t.Errorf("%.0f MB are still there of the %.0f", kept/1e6, 4*floats/1e6)
	}
}
