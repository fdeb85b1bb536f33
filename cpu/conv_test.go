package cpu_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu"
)

// convolution is what ConvGeneral takes, with the dimensions of its operands.
type convolution struct {
	axes                       compute.ConvolveAxesConfig
	in, kernel                 []int
	strides                    []int
	paddings                   [][2]int
	inDilations, kDilations    []int
	channelGroups, batchGroups int
}

// randomConvolution draws one in 1, 2 or 3 dimensions that has a result.
func randomConvolution(r *rand.Rand, rank int) convolution {
	for {
		c := convolution{channelGroups: 1, batchGroups: 1, in: make([]int, rank+2), kernel: make([]int, rank+2)}
		a := &c.axes
		x, w, y := identity(rank+2), identity(rank+2), identity(rank+2)
		groups := r.IntN(6)
		if r.IntN(3) == 0 && groups != 1 { // the stock backend is wrong for groups of the batch in other layouts
			x, w, y = r.Perm(rank+2), r.Perm(rank+2), r.Perm(rank+2)
		}
		a.InputBatch, a.InputSpatial, a.InputChannels = x[0], x[1:rank+1], x[rank+1]
		a.KernelSpatial, a.KernelInputChannels, a.KernelOutputChannels = w[:rank], w[rank], w[rank+1]
		a.OutputBatch, a.OutputSpatial, a.OutputChannels = y[0], y[1:rank+1], y[rank+1]
		batch, ci, co := 1+r.IntN(4), 1+r.IntN(5), 1+r.IntN(5)
		switch groups {
		case 0:
			c.channelGroups = 1 + r.IntN(3)
		case 1:
			c.batchGroups = 1 + r.IntN(3)
		}
		co *= c.channelGroups * c.batchGroups
		c.in[a.InputBatch], c.in[a.InputChannels] = batch*c.batchGroups, ci*c.channelGroups
		c.kernel[a.KernelInputChannels], c.kernel[a.KernelOutputChannels] = ci, co
		largest := []int{0, 40, 12, 6}[rank]
		for i := range rank {
			c.in[a.InputSpatial[i]], c.kernel[a.KernelSpatial[i]] = 1+r.IntN(largest), 1+r.IntN(4)
			c.strides, c.paddings = append(c.strides, 1), append(c.paddings, [2]int{r.IntN(4), r.IntN(4)})
			c.inDilations, c.kDilations = append(c.inDilations, 1), append(c.kDilations, 1)
			switch r.IntN(5) {
			case 0:
				c.strides[i] = 1 + r.IntN(3)
			case 1:
				c.inDilations[i] = 1 + r.IntN(3)
			case 2:
				c.kDilations[i] = 1 + r.IntN(3)
			case 3:
				c.paddings[i] = [2]int{r.IntN(6) - 3, r.IntN(6) - 3}
			}
		}
		if c.dims() != nil {
			return c
		}
	}
}

func identity(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// dims returns the dimensions of the result, or nil if there is none.
func (c convolution) dims() []int {
	out := make([]int, len(c.in))
	out[c.axes.OutputBatch], out[c.axes.OutputChannels] = c.in[c.axes.InputBatch]/c.batchGroups, c.kernel[c.axes.KernelOutputChannels]
	for i, axis := range c.axes.InputSpatial {
		n := (c.in[axis]-1)*c.inDilations[i] + 1 + c.paddings[i][0] + c.paddings[i][1]
		k := (c.kernel[c.axes.KernelSpatial[i]]-1)*c.kDilations[i] + 1
		if k > n {
			return nil
		}
		out[c.axes.OutputSpatial[i]] = (n-k)/c.strides[i] + 1
	}
	return out
}

// at returns the number of an element.
func at(dims, index []int) int {
	k := 0
	for i, d := range dims {
		k = k*d + index[i]
	}
	return k
}

// each calls fn for every index.
func each(dims []int, fn func(index []int)) {
	n := 1
	for _, d := range dims {
		n *= d
	}
	index := make([]int, len(dims))
	for k := range n {
		for i, rest := len(dims)-1, k; i >= 0; i-- {
			index[i] = rest % dims[i]
			rest /= dims[i]
		}
		fn(index)
	}
}

// compute is the definition: groups of channels, or of the batch, each have their own part of the output channels.
func (c convolution) compute(x, w []float32) []float64 {
	a, dims := c.axes, c.dims()
	var out []float64
	ix, iw := make([]int, len(c.in)), make([]int, len(c.in))
	window := []int{c.kernel[a.KernelInputChannels]}
	for _, axis := range a.KernelSpatial {
		window = append(window, c.kernel[axis])
	}
	each(dims, func(y []int) {
		sum, f := 0.0, y[a.OutputChannels]
		channelGroup := f / (c.kernel[a.KernelOutputChannels] / c.channelGroups)
		batchGroup := f / (c.kernel[a.KernelOutputChannels] / c.batchGroups)
		each(window, func(k []int) {
			for i, axis := range a.InputSpatial {
				at := y[a.OutputSpatial[i]]*c.strides[i] + k[1+i]*c.kDilations[i] - c.paddings[i][0]
				if at < 0 || at%c.inDilations[i] != 0 || at/c.inDilations[i] >= c.in[axis] {
					return
				}
				ix[axis], iw[a.KernelSpatial[i]] = at/c.inDilations[i], k[1+i]
			}
			ix[a.InputBatch], ix[a.InputChannels] = batchGroup*dims[a.OutputBatch]+y[a.OutputBatch], channelGroup*window[0]+k[0]
			iw[a.KernelInputChannels], iw[a.KernelOutputChannels] = k[0], f
			sum += float64(x[at(c.in, ix)]) * float64(w[at(c.kernel, iw)])
		})
		out = append(out, sum)
	})
	return out
}

func (c convolution) record(f recorder, x, w compute.Value) compute.Value {
	return must(f.ConvGeneral(x, w, c.axes, c.strides, c.paddings, c.inDilations, c.kDilations, c.channelGroups, c.batchGroups))
}

func (c convolution) run(b compute.Backend, x, w []float32) ([]float32, error) {
	out, err := runFlat(b, [][]int{c.in, c.kernel}, [][]float32{x, w}, func(f recorder, in []compute.Value) []compute.Value {
		return []compute.Value{c.record(f, in[0], in[1])}
	})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// Convolutions in one to three dimensions with everything that they can have, also what no kernel is there for.
func TestConvolutions(t *testing.T) {
	onEveryTable(t, func(t *testing.T, b *cpu.Backend) {
		for seed := range uint64(240) {
			checkConvolution(t, b, seed)
		}
	})
}

func FuzzConvolutions(f *testing.F) {
	for seed := range uint64(12) {
		f.Add(1000 + seed)
	}
	b := open(f, "")
	f.Fuzz(func(t *testing.T, seed uint64) { checkConvolution(t, b, seed) })
}

func checkConvolution(t *testing.T, b *cpu.Backend, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 3))
	c := randomConvolution(r, []int{1, 2, 2, 2, 2, 3}[seed%6])
	x, w := numbers(r, c.in), numbers(r, c.kernel)
	got, err := c.run(b, x, w)
	if err != nil {
		t.Fatalf("seed %d: %+v: %v", seed, c, err)
	}
	near(t, fmt.Sprintf("seed %d: %+v", seed, c), got, c.compute(x, w), 2e-5)
}

// usual is the convolution of images [batch, height, width, channels] with a square kernel.
func usual(batch, size, ci, co, k, stride, pad int) convolution {
	return convolution{
		axes: compute.ConvolveAxesConfig{InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
			KernelSpatial: []int{0, 1}, KernelInputChannels: 2, KernelOutputChannels: 3, OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3},
		in: []int{batch, size, size, ci}, kernel: []int{k, k, ci, co}, strides: []int{stride, stride}, paddings: [][2]int{{pad, pad}, {pad, pad}},
		inDilations: []int{1, 1}, kDilations: []int{1, 1}, channelGroups: 1, batchGroups: 1,
	}
}

// Convolutions as in networks, with bias and residual, by the way that is chosen and without Winograd's.
func TestConvolutionLayers(t *testing.T) {
	for _, config := range configurations("workers=2", "workers=2,direct") {
		t.Run(config, func(t *testing.T) {
			b := open(t, config)
			for _, c := range []convolution{usual(2, 17, 3, 16, 3, 1, 1), usual(3, 16, 33, 17, 3, 1, 1), usual(2, 16, 16, 32, 3, 2, 1), usual(1, 12, 32, 32, 1, 1, 0), usual(2, 9, 5, 7, 4, 2, 1)} {
				r := rand.New(rand.NewPCG(1, uint64(c.in[1])))
				dims := c.dims()
				x, w, bias, residual := numbers(r, c.in), numbers(r, c.kernel), numbers(r, dims[3:]), numbers(r, dims)
				out, err := runFlat(b, [][]int{c.in, c.kernel, dims[3:], dims}, [][]float32{x, w, bias, residual}, func(f recorder, in []compute.Value) []compute.Value {
					y := c.record(f, in[0], in[1])
					y = f.add(y, must(f.BroadcastInDim(in[2], shapes.Make(dtypes.Float32, dims...), []int{3})))
					y = f.add(y, in[3])
					return []compute.Value{y, must(f.Neg(y))}
				})
				if err != nil {
					t.Fatal(err)
				}
				want := c.compute(x, w)
				for i := range want {
					want[i] += float64(bias[i%dims[3]]) + float64(residual[i])
				}
				tolerance := 3e-4 // Winograd's transforms cost two digits
				if strings.HasSuffix(config, "direct") {
					tolerance = 2e-5
				}
				near(t, fmt.Sprintf("%v by %v", c.in, c.kernel), out[0], want, tolerance)
				for i := range want {
					if out[1][i] != -out[0][i] {
						t.Fatalf("element %d of the negative is %g, not −%g", i, out[1][i], out[0][i])
					}
				}
			}
		})
	}
}

// A convolution without terms is zero.
func TestEmptyConvolutions(t *testing.T) {
	for _, c := range []convolution{usual(2, 5, 0, 3, 3, 1, 1), usual(0, 5, 2, 3, 3, 1, 1), usual(2, 5, 2, 0, 3, 1, 1)} {
		got, err := c.run(open(t, ""), numbers(rand.New(rand.NewPCG(1, 1)), c.in), numbers(rand.New(rand.NewPCG(1, 2)), c.kernel))
		if err != nil {
			t.Fatal(err)
		}
		near(t, fmt.Sprint(c.in), got, slices.Repeat([]float64{0}, len(got)), 0)
	}
}
