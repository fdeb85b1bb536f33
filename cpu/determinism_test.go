package cpu_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// identical fails unless the outputs agree bit for bit.
func identical(t *testing.T, what string, got, want [][]float32) {
	t.Helper()
	for k := range want {
		for i := range want[k] {
			if math.Float32bits(got[k][i]) != math.Float32bits(want[k][i]) {
				t.Fatalf("%s: output %d[%d] is %g, not %g", what, k, i, got[k][i], want[k][i])
			}
		}
	}
}

// The number of threads changes nothing, not a bit; nor does another execution.
func TestWorkersDoNotMatter(t *testing.T) {
	for _, table := range kern.Tables() {
		t.Run(table.Name, func(t *testing.T) {
			one := open(t, table.Name+",workers=1")
			others := []*cpu.Backend{open(t, table.Name+",workers=2"), open(t, table.Name+",workers=8")}
			check := func(s *script, what string) {
				t.Helper()
				want, err := s.run(one, s.seed)
				if err != nil {
					t.Fatalf("%s: %v\n%s", what, err, strings.Join(s.log, "\n"))
				}
				for _, b := range others {
					got, err := s.run(b, s.seed)
					if err != nil {
						t.Fatalf("%s: %s: %v", what, b.Description(), err)
					}
					identical(t, fmt.Sprintf("%s: %s\n%s", what, b.Description(), strings.Join(s.log, "\n")), got, want)
				}
			}
			for seed := range uint64(40) {
				check(&script{seed: seed}, fmt.Sprint("seed ", seed))
			}
			for seed := range uint64(12) {
				check(&script{seed: seed, large: true}, fmt.Sprint("large seed ", seed))
			}
		})
	}
}

// Programs run in the memory of others, whose numbers do not matter, whatever they are.
func TestWhatOthersLeave(t *testing.T) {
	onEveryTable(t, func(t *testing.T, shared *cpu.Backend) {
		for seed := range uint64(30) {
			s := &script{seed: seed, large: seed%10 == 0}
			want, err := s.run(open(t, shared.Numerics()+",workers=2"), seed)
			if err != nil {
				t.Fatal(err)
			}
			shared.Spoil()
			got, err := s.run(shared, seed)
			if err != nil {
				t.Fatal(err)
			}
			identical(t, fmt.Sprintf("seed %d\n%s", seed, strings.Join(s.log, "\n")), got, want)
		}
	})
}

// network is a step of a small network, with everything that is divided among workers: convolutions of three kinds and
// their gradients, products, reductions, and the named functions of training.
func network(f recorder, in []compute.Value) []compute.Value {
	x, w0, w1, w2 := in[0], in[1], in[2], in[3]
	dims := func(v compute.Value) []int { return must(f.Shape(v)).Dimensions }
	call := func(name string, out []int, in ...compute.Value) compute.Value {
		return must(f.Call(named(f.Builder(), name, func(g recorder) []compute.Value {
			var p []compute.Value
			for i, v := range in {
				p = append(p, g.param(fmt.Sprint("x", i), dims(v)...))
			}
			// Only the shape matters: all of these have kernels.
			return []compute.Value{must(g.BroadcastInDim(must(g.ReduceSum(p[0])), shapes.Make(dtypes.Float32, out...), nil))}
		}), in...))[0]
	}
	c0, c1 := usual(0, 0, 0, 0, 3, 1, 1), usual(0, 0, 0, 0, 3, 2, 1)
	y := c0.record(f, x, w0)
	y = call("silu__n0", dims(y), y)
	z := c1.record(f, y, w1)
	scale, shift := must(f.ReduceSum(w1, 0, 1, 2)), must(f.ReduceMax(w1, 0, 1, 2))
	z = call("group_norm__g4__e3727c5ac__s1__n1", dims(z), z, scale, shift)
	d := dims(z)
	q := must(f.Reshape(z, d[0], d[1]*d[2], 4, d[3]/4))
	a := call("attention__n2", dims(q), q, q, q)
	a = must(f.Reshape(a, d[0]*d[1]*d[2], d[3]))
	a = must(f.DotGeneral(a, []int{1}, nil, w2, []int{0}, nil, compute.DotGeneralConfig{}))
	up := call("upsample__f2__n3", []int{d[0], 2 * d[1], 2 * d[2], d[3]}, must(f.Reshape(a, d...)))
	// The gradients of the first convolution, as if up were that of its result.
	dx := gradientOfInput(f, up, w0)
	dw := gradientOfKernel(f, x, up)
	norm := call("sum_squares__n4", nil, dw, dx)
	soft := call("softmax__n5", dims(a), a)
	return []compute.Value{up, dx, dw, norm, soft, must(f.ReduceSum(up, 0, 1, 2)), must(f.ReduceSum(soft))}
}

func gradientOfInput(f recorder, dy, w compute.Value) compute.Value {
	c := usual(0, 0, 0, 0, 3, 1, 1)
	c.axes.KernelInputChannels, c.axes.KernelOutputChannels = 3, 2
	return c.record(f, dy, must(f.Reverse(w, 0, 1)))
}

func gradientOfKernel(f recorder, x, dy compute.Value) compute.Value {
	c := usual(0, 0, 0, 0, 3, 1, 1)
	a := &c.axes
	a.InputBatch, a.InputChannels = 3, 0
	a.KernelSpatial, a.KernelInputChannels = []int{1, 2}, 0
	a.OutputBatch, a.OutputSpatial = 2, []int{0, 1}
	return c.record(f, x, dy)
}

var networkDims = [][]int{{4, 32, 32, 24}, {3, 3, 24, 48}, {3, 3, 48, 48}, {48, 48}}

func networkInputs() [][]float32 {
	r := rand.New(rand.NewPCG(5, 5))
	var out [][]float32
	for i, dims := range networkDims {
		x := numbers(r, dims)
		if i > 0 {
			for k := range x {
				x[k] *= 0.1
			}
		}
		out = append(out, x)
	}
	return out
}

func TestWorkersDoNotMatterInNetworks(t *testing.T) {
	for _, table := range kern.Tables() {
		for _, option := range []string{"", ",direct"} {
			want, err := runFlat(open(t, table.Name+",workers=1"+option), networkDims, networkInputs(), network)
			if err != nil {
				t.Fatal(err)
			}
			for _, workers := range []int{2, 8} {
				got, err := runFlat(open(t, fmt.Sprint(table.Name, ",workers=", workers, option)), networkDims, networkInputs(), network)
				if err != nil {
					t.Fatal(err)
				}
				identical(t, fmt.Sprintf("%s%s, %d workers", table.Name, option, workers), got, want)
			}
		}
	}
}

// One program may be executed by many at the same time, also with donations, and gives everyone the right results.
func TestConcurrentExecutions(t *testing.T) {
	onEveryTable(t, func(t *testing.T, b *cpu.Backend) {
		const n, callers, rounds = 40000, 4, 6
		program := compile(t, b, [][]int{{n}, {200, n / 200}}, func(f recorder, in []compute.Value) []compute.Value {
			y := f.add(must(f.Exp(in[0])), in[0])
			z := must(f.DotGeneral(in[1], []int{0}, nil, in[1], []int{0}, nil, compute.DotGeneralConfig{}))
			return []compute.Value{y, must(f.ReduceSum(z)), must(f.ArgMinMax(in[0], 0, dtypes.Int32, false))}
		})
		execute := func(seed uint64, donate bool) ([][]float32, int32, error) {
			r := rand.New(rand.NewPCG(seed, 1))
			x, err := b.BufferFromFlatData(0, numbers(r, []int{n}), shapes.Make(dtypes.Float32, n))
			if err != nil {
				return nil, 0, err
			}
			y, err := b.BufferFromFlatData(0, numbers(r, []int{n}), shapes.Make(dtypes.Float32, 200, n/200))
			if err != nil {
				return nil, 0, err
			}
			out, err := program.Execute([]compute.Buffer{x, y}, []bool{donate, false}, 0)
			if err != nil {
				return nil, 0, err
			}
			index := make([]int32, 1)
			if err := out[2].ToFlatData(index); err != nil {
				return nil, 0, err
			}
			flats, err := floats(out[:2])
			for _, o := range out {
				if err := o.Finalize(); err != nil {
					return nil, 0, err
				}
			}
			return flats, index[0], err
		}
		var want [callers][][]float32
		var index [callers]int32
		for k := range want {
			var err error
			if want[k], index[k], err = execute(uint64(k), false); err != nil {
				t.Fatal(err)
			}
		}
		var all sync.WaitGroup
		for k := range callers {
			all.Go(func() {
				for round := range rounds {
					got, at, err := execute(uint64(k), (round+k)%2 == 0)
					if err != nil {
						t.Errorf("caller %d: %v", k, err)
						return
					}
					for i := range want[k] {
						for j := range want[k][i] {
							if got[i][j] != want[k][i][j] {
								t.Errorf("caller %d: output %d[%d] is %g, want %g", k, i, j, got[i][j], want[k][i][j])
								return
							}
						}
					}
					if at != index[k] {
						t.Errorf("caller %d: index %d, want %d", k, at, index[k])
					}
				}
			})
		}
		all.Wait()
	})
}
