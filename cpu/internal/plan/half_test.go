package plan

import (
	"testing"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
)

// halfParam adds a parameter of 16 bits and its conversion to float32.
func (g *graph) halfParam(dims ...int) (bits, wide *Value) {
	bits = &Value{DType: dtypes.Float16, Dims: dims}
	g.params = append(g.params, bits)
	return bits, g.node(compute.OpTypeConvertDType, nil, tensor(dims...), bits)
}

func widenings(p *Program) (n int) {
	for _, s := range p.Steps {
		if _, ok := s.Op.(*Widen); ok {
			n++
		}
	}
	return n
}

// Weights of 16 bits are read as they are by products and convolutions, forward and for the gradient of an activation.
func TestWeightsOf16BitsAreNotWidened(t *testing.T) {
	g := &graph{}
	bits, w := g.halfParam(5, 7)
	x, dy := g.param(3, 7), g.param(3, 5)
	y := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{1}, {1}}}, tensor(3, 5), x, w)
	dx := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{1}, {0}}}, tensor(3, 7), dy, w)
	turned := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{1}, {0}}}, tensor(3, 5), x, g.transpose(w, 1, 0))
	p := Lower(g.nodes, g.params, []*Value{y, dx, turned})
	if n := widenings(p); n != 0 || len(p.Steps) != 3 {
		t.Fatalf("%v, want three products", kinds(p))
	}
	for _, s := range p.Steps {
		if s.In[1] != bits {
			t.Errorf("a product reads %s%v, want the parameter of 16 bits", s.In[1].DType, s.In[1].Dims)
		}
	}

	g = &graph{}
	bits, w = g.halfParam(3, 3, 4, 6)
	pixels, dpixels := g.param(2, 8, 8, 4), g.param(2, 8, 8, 6)
	axes := compute.ConvolveAxesConfig{InputBatch: 0, InputSpatial: []int{1, 2}, InputChannels: 3, KernelSpatial: []int{0, 1}, KernelInputChannels: 2, KernelOutputChannels: 3,
		OutputBatch: 0, OutputSpatial: []int{1, 2}, OutputChannels: 3}
	same := [][2]int{{1, 1}, {1, 1}}
	y = g.node(compute.OpTypeConvGeneral, Conv{Axes: axes, Paddings: same}, tensor(2, 8, 8, 6), pixels, w)
	axes.KernelInputChannels, axes.KernelOutputChannels = 3, 2
	dx = g.node(compute.OpTypeConvGeneral, Conv{Axes: axes, Paddings: same}, tensor(2, 8, 8, 4), dpixels, g.reverse(w, 0, 1))
	p = Lower(g.nodes, g.params, []*Value{y, dx})
	if n := widenings(p); n != 0 || len(p.Steps) != 2 || p.Steps[0].In[1] != bits || p.Steps[1].In[1] != bits {
		t.Errorf("%v, want two convolutions that read 16 bits", kinds(p))
	}
}

// All else reads one copy in float32; so does a product that cannot read 16 bits.
func TestOthersShareOneWidenedCopy(t *testing.T) {
	g := &graph{}
	bits, w := g.halfParam(4, 6)
	x, z := g.param(4, 6), g.param(5, 4)
	sum, product := g.add(x, w), g.mul(w, x)
	left := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{1}, {0}}}, tensor(5, 6), z, w)
	swapped := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{0}, {1}}}, tensor(6, 5), w, z)
	outer := g.node(compute.OpTypeDotGeneral, Dot{Contract: [2][]int{{0}, {0}}}, tensor(6, 6), x, w)
	p := Lower(g.nodes, g.params, []*Value{sum, product, left, swapped, outer, w, g.reshape(g.transpose(w, 1, 0), 24)})
	if n := widenings(p); n != 1 {
		t.Errorf("%d copies in float32, want 1: %v", n, kinds(p))
	}
	for _, s := range p.Steps {
		product, ok := s.Op.(*Product)
		for i, v := range s.In {
			_, widen := s.Op.(*Widen)
			if v == bits && !widen && !(ok && i == 1 && !product.TransA) {
				t.Errorf("a %T reads 16 bits as operand %d", s.Op, i)
			}
		}
	}
	for i, v := range p.Outs {
		if v.DType != dtypes.Float32 {
			t.Errorf("output %d is %s", i, v.DType)
		}
	}
}
