package cpu

import (
	"math"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
)

// Spoil overwrites what programs have left behind with NaN.
func (b *Backend) Spoil() {
	b.workspaces.mutex.Lock() // cleanups take some away at any time
	defer b.workspaces.mutex.Unlock()
	for _, w := range b.workspaces.free {
		scratch := [][]float32{w.arena, w.context.Shared(0)}
		for k := range b.pool.Workers() {
			scratch = append(scratch, w.context.Scratch(k, 0))
		}
		for _, s := range scratch {
			for i := range s[:cap(s)] {
				s[:cap(s)][i] = float32(math.NaN())
			}
		}
	}
}

// held returns the bytes of the heap that are in use.
func held() int {
	var m runtime.MemStats
	for last, same := uint64(math.MaxUint64), 0; same < 3; last = m.HeapAlloc { // what cleanups let go is collected after them, as in oracle.Heap
		runtime.GC()
		time.Sleep(2 * time.Millisecond)
		if runtime.ReadMemStats(&m); m.HeapAlloc+1<<16 > last {
			same++
		} else {
			same = 0
		}
	}
	return int(m.HeapAlloc)
}

// sum compiles a program with an arena of n rows of 1024 floats, that returns twice the sum of a row of n.
func sum(t *testing.T, b *Backend, n int) compute.Executable {
	t.Helper()
	builder := b.Builder("program")
	f := builder.Main()
	check := func(v compute.Value, err error) compute.Value {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	x := check(f.Parameter("x", shapes.Make(dtypes.Float32, n), nil))
	y := check(f.BroadcastInDim(x, shapes.Make(dtypes.Float32, 1024, n), []int{1}))
	y = check(f.Transpose(check(f.Add(y, y)), 1, 0))
	y = check(f.ReduceSum(check(f.Slice(y, []int{0, 7}, []int{n, 8}, nil)), 0, 1))
	if err := f.Return([]compute.Value{y}, nil); err != nil {
		t.Fatal(err)
	}
	program, err := builder.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func runSum(t *testing.T, b *Backend, program compute.Executable, n int) {
	t.Helper()
	x, flat, err := b.NewSharedBuffer(0, shapes.Make(dtypes.Float32, n))
	if err != nil {
		t.Fatal(err)
	}
	want := float32(0)
	for i := range n {
		flat.([]float32)[i], want = float32(i%5), want+2*float32(i%5)
	}
	out, err := program.Execute([]compute.Buffer{x}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := out[0].(*buffer).flat.([]float32)[0]; got != want {
		t.Errorf("%d rows: %g, want %g", n, got, want)
	}
}

// Programs that do not run at the same time take the memory of the largest of them, whichever is compiled or run first.
func TestProgramsShareMemory(t *testing.T) {
	for _, sizes := range [][]int{{4000, 4400, 2000, 3000, 4200}, {1500, 2200, 3000, 4400}} {
		b, err := New("workers=1")
		if err != nil {
			t.Fatal(err)
		}
		before := held()
		var programs []compute.Executable
		largest := 0
		for _, n := range sizes {
			p := sum(t, b, n)
			programs = append(programs, p)
			largest = max(largest, int(p.(*executable).Memory()))
			runSum(t, b, p, n)
		}
		for k, n := range sizes {
			b.Spoil()
			runSum(t, b, programs[k], n)
		}
		if least := 4400 * 1024 * 4; largest < least {
			t.Fatalf("the largest takes %d bytes: the test is about %d", largest, least)
		}
		if got := held() - before; float64(got) > 1.1*float64(largest) {
			t.Errorf("sizes %v: %.0f MB are held, the largest program takes %.0f MB", sizes, float64(got)/1e6, float64(largest)/1e6)
		}
		// Of those that are finalized, or collected, nothing is left.
		for _, p := range programs[1:] {
			p.Finalize()
		}
		programs = nil
		if got := held() - before; got > 1<<20 {
			t.Errorf("sizes %v: without programs %.1f MB are held", sizes, float64(got)/1e6)
		}
		b.Finalize()
	}
}

// A program that is much smaller than another one does not occupy the memory of that one, which may be run meanwhile.
func TestSmallProgramsKeepApart(t *testing.T) {
	b, err := New("workers=1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	programs := []compute.Executable{sum(t, b, 4000), sum(t, b, 700)}
	runSum(t, b, programs[0], 4000)
	runSum(t, b, programs[1], 700)
	if n := len(b.workspaces.free); n != 2 {
		t.Errorf("%d workspaces, want 2", n)
	}
	runtime.KeepAlive(programs)
}

// Programs of several sizes that run at the same time, are compiled and let go meanwhile, do not get into each other's memory.
func TestProgramsAtTheSameTime(t *testing.T) {
	b, err := New("workers=2")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Finalize()
	sizes := []int{300, 500, 1500}
	var kept []compute.Executable
	for _, n := range sizes {
		kept = append(kept, sum(t, b, n))
	}
	var all sync.WaitGroup
	for caller := range 4 {
		all.Go(func() {
			for round := range 8 {
				k := (caller + round) % len(sizes)
				runSum(t, b, kept[k], sizes[k])
				if own := sum(t, b, 200+100*caller); round%2 == 0 {
					runSum(t, b, own, 200+100*caller)
					own.Finalize()
				}
				if round == 5 {
					runtime.GC()
				}
			}
		})
	}
	all.Wait()
}
