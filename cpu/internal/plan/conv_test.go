package plan

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gomlx/compute"
	"pgregory.net/rapid"
)

var (
	nhwc = compute.ConvolveAxesConfig{InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelSpatial: []int{0, 1}, KernelInputChannels: 2, KernelOutputChannels: 3, OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3}
	// The gradients with respect to the input and to the kernel, as autodiff writes them.
	inputGradient = compute.ConvolveAxesConfig{InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3,
		KernelSpatial: []int{0, 1}, KernelInputChannels: 3, KernelOutputChannels: 2, OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3}
	kernelGradient = compute.ConvolveAxesConfig{InputBatch: 3, InputSpatial: []int{1, 2}, InputChannels: 0,
		KernelSpatial: []int{1, 2}, KernelInputChannels: 0, KernelOutputChannels: 3, OutputBatch: 2, OutputSpatial: []int{0, 1}, OutputChannels: 3}
)

// convDims returns the dimensions of the result, and whether there is one.
func convDims(in, kernel []int, c Conv) ([]int, bool) {
	out := make([]int, len(in))
	out[c.Axes.OutputBatch], out[c.Axes.OutputChannels] = in[c.Axes.InputBatch], kernel[c.Axes.KernelOutputChannels]
	for i, axis := range c.Axes.InputSpatial {
		n := (in[axis]-1)*c.InputDilations[i] + 1 + c.Paddings[i][0] + c.Paddings[i][1]
		k := (kernel[c.Axes.KernelSpatial[i]]-1)*c.KernelDilations[i] + 1
		if k > n {
			return nil, false
		}
		out[c.Axes.OutputSpatial[i]] = (n-k)/c.Strides[i] + 1
	}
	return out, true
}

func (g *graph) conv(in, kernel *Value, c Conv) *Value {
	dims, ok := convDims(in.Dims, kernel.Dims, c)
	if !ok {
		panic(fmt.Errorf("convolution of %v with %v by %+v: nothing is left", in.Dims, kernel.Dims, c))
	}
	return g.node(compute.OpTypeConvGeneral, c, tensor(dims...), in, kernel)
}

// convolve computes ConvGeneral index by index.
func convolve(in, kernel array, c Conv) array {
	dims, _ := convDims(in.dims, kernel.dims, c)
	out := array{dims: dims}
	x, w := make([]int, 4), make([]int, 4)
	a := c.Axes
	each(dims, func(y []int) {
		sum := 0
		each([]int{kernel.dims[a.KernelSpatial[0]], kernel.dims[a.KernelSpatial[1]], kernel.dims[a.KernelInputChannels]}, func(k []int) {
			for i := range 2 {
				at := y[a.OutputSpatial[i]]*c.Strides[i] + k[i]*c.KernelDilations[i] - c.Paddings[i][0]
				if at < 0 || at%c.InputDilations[i] != 0 || at/c.InputDilations[i] >= in.dims[a.InputSpatial[i]] {
					return
				}
				x[a.InputSpatial[i]], w[a.KernelSpatial[i]] = at/c.InputDilations[i], k[i]
			}
			x[a.InputBatch], x[a.InputChannels] = y[a.OutputBatch], k[2]
			w[a.KernelInputChannels], w[a.KernelOutputChannels] = k[2], y[a.OutputChannels]
			sum += in.at(x) * kernel.at(w)
		})
		out.flat = append(out.flat, sum)
	})
	return out
}

func layout(t *rapid.T) compute.ConvolveAxesConfig {
	if usual := rapid.SampledFrom([]*compute.ConvolveAxesConfig{&nhwc, &nhwc, &inputGradient, &kernelGradient, nil}).Draw(t, "layout"); usual != nil {
		return *usual
	}
	places := []int{0, 1, 2, 3}
	x, w, y := rapid.Permutation(places).Draw(t, "input"), rapid.Permutation(places).Draw(t, "kernel"), rapid.Permutation(places).Draw(t, "output")
	return compute.ConvolveAxesConfig{InputBatch: x[0], InputSpatial: x[1:3], InputChannels: x[3],
		KernelSpatial: w[:2], KernelInputChannels: w[2], KernelOutputChannels: w[3], OutputBatch: y[0], OutputSpatial: y[1:3], OutputChannels: y[3]}
}

// Every two-dimensional convolution of every view, in every layout, is computed or left to the stock backend.
func TestConv(t *testing.T) {
	external := 0
	check(t, func(t *rapid.T) {
		one := []int{1, 1}
		pair := func(label string, low, high int) []int {
			return rapid.SliceOfN(rapid.IntRange(low, high), 2, 2).Draw(t, label)
		}
		c := Conv{Axes: layout(t), Strides: one, InputDilations: one, KernelDilations: one, Paddings: [][2]int{{}, {}}, ChannelGroups: 1, BatchGroups: 1}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			c.Strides = pair("strides", 1, 3)
		case 1:
			c.KernelDilations = pair("kernel dilations", 1, 3)
		case 2:
			c.InputDilations = pair("input dilations", 1, 3)
		}
		if rapid.Bool().Draw(t, "both") {
			c.Strides = pair("strides", 1, 2)
			c.KernelDilations = pair("kernel dilations", 1, 2)
		}
		for i := range c.Paddings {
			c.Paddings[i] = [2]int{rapid.IntRange(-2, 3).Draw(t, "before"), rapid.IntRange(-2, 3).Draw(t, "after")}
		}
		dims := func(label string, ranges ...int) []int {
			out := make([]int, 4)
			for i := range out {
				out[i] = rapid.IntRange(1, ranges[i]).Draw(t, label)
			}
			return out
		}
		x, w := dims("input", 3, 6, 6, 3), dims("kernel", 4, 4, 3, 3)
		in, kernel := make([]int, 4), make([]int, 4)
		in[c.Axes.InputBatch], in[c.Axes.InputSpatial[0]], in[c.Axes.InputSpatial[1]], in[c.Axes.InputChannels] = x[0], x[1], x[2], x[3]
		kernel[c.Axes.KernelSpatial[0]], kernel[c.Axes.KernelSpatial[1]], kernel[c.Axes.KernelInputChannels], kernel[c.Axes.KernelOutputChannels] = w[0], w[1], x[3], w[3]
		if _, ok := convDims(in, kernel, c); !ok {
			t.Skip("nothing is left")
		}
		g, memory := &graph{}, map[*Value][]int{}
		operand := func(dims []int) (*Value, array) {
			if rapid.Bool().Draw(t, "any view") {
				return viewOf(t, g, dims, memory)
			}
			v := g.param(dims...)
			memory[v] = flat(v.Size(), len(g.params))
			return v, array{dims, memory[v]}
		}
		a, arrayA := operand(in)
		b, arrayB := operand(kernel)
		if rapid.Bool().Draw(t, "backwards") {
			b = g.reverse(b, c.Axes.KernelSpatial...)
			from := arrayB
			arrayB = from.mapped(kernel, 0, func(index []int) []int {
				index = slices.Clone(index)
				for _, axis := range c.Axes.KernelSpatial {
					index[axis] = kernel[axis] - 1 - index[axis]
				}
				return index
			})
		}
		y, want := epilogue(t, g, g.conv(a, b, c), convolve(arrayA, arrayB, c), memory)
		p := g.lower(y)
		if slices.Contains(kinds(p), "external") {
			if slices.Equal(c.InputDilations, one) {
				t.Fatalf("%+v is left to the stock backend", c)
			}
			external++
			return
		}
		interpret(t, p, memory)
		if got := memory[p.Outs[0]]; !slices.Equal(got, want.flat) {
			t.Fatalf("%v with %v by %+v: got %v, want %v; steps %v", in, kernel, c, got, want.flat, kinds(p))
		}
	})
	t.Logf("%d were left to the stock backend", external)
}

// passes builds a convolution of x [B, H, W, Ci] with w [Kh, Kw, Ci, Co] and its two gradients as autodiff does.
type passes struct {
	b, h, w, ci, co int
	k, stride       [2]int
	dilation        [2]int
	pad             [2][2]int
}

func (s passes) dy() []int {
	dims, _ := convDims([]int{s.b, s.h, s.w, s.ci}, []int{s.k[0], s.k[1], s.ci, s.co}, s.forward())
	return dims
}

func (s passes) conv(axes compute.ConvolveAxesConfig) Conv {
	one := []int{1, 1}
	return Conv{Axes: axes, Strides: one, InputDilations: one, KernelDilations: one, Paddings: make([][2]int, 2), ChannelGroups: 1, BatchGroups: 1}
}

func (s passes) forward() Conv {
	c := s.conv(nhwc)
	c.Strides, c.KernelDilations, c.Paddings = s.stride[:], s.dilation[:], s.pad[:]
	return c
}

// input convolves dy, dilated by the stride, with the reversed kernel.
func (s passes) input() Conv {
	c := s.conv(inputGradient)
	c.InputDilations, c.KernelDilations = s.stride[:], s.dilation[:]
	for i, n := range []int{s.h, s.w} {
		reach := (s.k[i] - 1) * s.dilation[i]
		before := reach - s.pad[i][0]
		c.Paddings[i] = [2]int{before, n + reach - before - ((s.dy()[1+i]-1)*s.stride[i] + 1)}
	}
	return c
}

// kernel convolves x with dy, dilated by the stride, over the batch.
func (s passes) kernel() Conv {
	c := s.conv(kernelGradient)
	c.KernelDilations, c.Strides = s.stride[:], s.dilation[:]
	for i, n := range []int{s.h, s.w} {
		before := s.pad[i][0]
		c.Paddings[i] = [2]int{before, (s.k[i]-1)*s.dilation[i] + (s.dy()[1+i]-1)*s.stride[i] + 1 - n - before}
	}
	return c
}

// The three passes of a convolution are one step each, without copies.
func TestConvolutionPasses(t *testing.T) {
	for _, s := range []passes{
		{b: 2, h: 5, w: 7, ci: 3, co: 4, k: [2]int{3, 3}, stride: [2]int{1, 1}, dilation: [2]int{1, 1}, pad: [2][2]int{{1, 1}, {1, 1}}},
		{b: 2, h: 8, w: 9, ci: 3, co: 4, k: [2]int{3, 3}, stride: [2]int{2, 2}, dilation: [2]int{1, 1}, pad: [2][2]int{{1, 1}, {1, 1}}},
		{b: 2, h: 8, w: 9, ci: 3, co: 4, k: [2]int{3, 3}, stride: [2]int{2, 2}, dilation: [2]int{1, 1}, pad: [2][2]int{{0, 1}, {0, 1}}},
		{b: 2, h: 8, w: 8, ci: 3, co: 4, k: [2]int{2, 2}, stride: [2]int{2, 2}, dilation: [2]int{1, 1}},
		{b: 3, h: 9, w: 7, ci: 2, co: 4, k: [2]int{5, 2}, stride: [2]int{3, 1}, dilation: [2]int{1, 2}, pad: [2][2]int{{4, 0}, {0, 3}}},
		{b: 2, h: 6, w: 6, ci: 3, co: 4, k: [2]int{1, 1}, stride: [2]int{1, 1}, dilation: [2]int{1, 1}},
		{b: 2, h: 6, w: 7, ci: 3, co: 4, k: [2]int{1, 1}, stride: [2]int{2, 2}, dilation: [2]int{1, 1}},
	} {
		for _, pass := range []Pass{Forward, InputGrad, KernelGrad} {
			g, memory := &graph{}, map[*Value][]int{}
			param := func(dims ...int) (*Value, array) {
				v := g.param(dims...)
				memory[v] = flat(v.Size(), len(g.params))
				return v, array{dims, memory[v]}
			}
			x, ax := param(s.b, s.h, s.w, s.ci)
			w, aw := param(s.k[0], s.k[1], s.ci, s.co)
			dy, ady := param(s.dy()...)
			var y *Value
			var want array
			switch pass {
			case Forward:
				y, want = g.conv(x, w, s.forward()), convolve(ax, aw, s.forward())
			case InputGrad:
				reversed := aw.mapped(aw.dims, 0, func(i []int) []int { return []int{s.k[0] - 1 - i[0], s.k[1] - 1 - i[1], i[2], i[3]} })
				y, want = g.conv(dy, g.reverse(w, 0, 1), s.input()), convolve(ady, reversed, s.input())
			case KernelGrad:
				y, want = g.conv(x, dy, s.kernel()), convolve(ax, ady, s.kernel())
			}
			p := g.lower(y)
			if len(p.Steps) != 1 {
				t.Errorf("%+v: pass %d takes steps %v, want one", s, pass, kinds(p))
				continue
			}
			c := *op[*Convolution](t, p, 0)
			wanted := Convolution{Pass: pass, Batch: s.b, H: s.h, W: s.w, Ci: s.ci, Kh: s.k[0], Kw: s.k[1], Co: s.co,
				StrideH: s.stride[0], StrideW: s.stride[1], DilationH: s.dilation[0], DilationW: s.dilation[1], PadTop: s.pad[0][0], PadLeft: s.pad[1][0]}
			wanted.outH, wanted.outW = s.dy()[1], s.dy()[2]
			wanted.PadBottom, wanted.PadRight = c.PadBottom, c.PadRight // what makes the size right, which interpret checks
			if c != wanted {
				t.Errorf("%+v: pass %d is %+v, want %+v", s, pass, c, wanted)
			}
			interpret(t, p, memory)
			if got := memory[p.Outs[0]]; !slices.Equal(got, want.flat) {
				t.Errorf("%+v: pass %d gives %v, want %v", s, pass, got, want.flat)
			}
		}
	}
}

// A gradient that is a part of a tensor, as that of a concatenation is, or a kernel that is one, is copied first.
func TestConvolutionOfParts(t *testing.T) {
	s := passes{b: 2, h: 8, w: 9, ci: 3, co: 4, k: [2]int{3, 3}, stride: [2]int{2, 2}, dilation: [2]int{1, 1}, pad: [2][2]int{{1, 1}, {1, 1}}}
	zero, one := make([]int, 4), []int{1, 1, 1, 1}
	part := func(g *graph, axis, start, more int, dims ...int) *Value {
		whole, from := slices.Clone(dims), slices.Clone(zero)
		whole[axis], from[axis] = dims[axis]+start+more, start
		return g.slice(g.param(whole...), from, one, dims)
	}
	for axis := range 4 {
		for _, start := range []int{0, 1} { // the first rows alone look like a whole tensor
			g := &graph{}
			dy := part(g, axis, start, 1, s.dy()...)
			w, x := g.param(3, 3, 3, 4), g.param(2, 8, 9, 3)
			steps(t, g.lower(g.conv(dy, g.reverse(w, 0, 1), s.input())), "Copy", "input gradient")
			steps(t, g.lower(g.conv(x, dy, s.kernel())), "Copy", "kernel gradient")
			steps(t, g.lower(g.conv(part(g, axis, start, 2, 2, 8, 9, 3), w, s.forward())), "Copy", "forward")
			steps(t, g.lower(g.conv(x, part(g, axis, start, 2, 3, 3, 3, 4), s.forward())), "Copy", "forward")
		}
	}
}
