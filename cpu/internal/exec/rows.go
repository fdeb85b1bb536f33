package exec

import (
	"github.com/doob-diffusion/doob/cpu/internal/plan"
	"github.com/doob-diffusion/doob/cpu/internal/vec"
)

// rowsOf returns a shape as that of a matrix: its last axis, and all before it.
func rowsOf(dims []int) (rows, width int) {
	rows = 1
	for _, d := range dims[:len(dims)-1] {
		rows *= d
	}
	return rows, dims[len(dims)-1]
}

// layerNorm binds layer_norm of x, scale, bias, or its gradient, which takes dy, x, scale.
func (i *Instance) layerNorm(op plan.Named, in, out func(int) []float32) (func() error, error) {
	rows, width := rowsOf(op.In[0])
	f, err := vec.PrepareLayerNorm(rows, width, op.Floats["e"])
	if err != nil {
		return nil, err
	}
	if op.Name == "layer_norm" {
		return func() error { f.Forward(i.ctx, out(0), in(0), in(1), in(2)); return nil }, nil
	}
	return func() error { f.Backward(i.ctx, out(0), out(1), out(2), in(0), in(1), in(2)); return nil }, nil
}

// geglu binds geglu of x [..., 2·width], or its gradient, which takes dy [..., width] and x.
func (i *Instance) geglu(op plan.Named, in, out func(int) []float32) (func() error, error) {
	rows, width := rowsOf(op.In[len(op.In)-1])
	f, err := vec.PrepareGEGLU(rows, width/2)
	if err != nil {
		return nil, err
	}
	if op.Name == "geglu" {
		return func() error { f.Forward(i.ctx, out(0), in(0)); return nil }, nil
	}
	return func() error { f.Backward(i.ctx, out(0), in(0), in(1)); return nil }, nil
}
