package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
)

// Load reads tensors into variables of a scope, which are not trained: those whose names want agrees to, all for nil. It holds one tensor at a time
// besides the variables. An error gives the name of the tensor; what was read before it stays.
func (w *Weights) Load(scope *model.Scope, want func(name string) bool) (Modules, error) {
	for _, name := range w.Names() {
		if want != nil && !want(name) {
			continue
		}
		t, err := w.Tensor(name)
		if err != nil {
			return Modules{}, err
		}
		value, err := parameter(t)
		if err != nil {
			return Modules{}, fmt.Errorf("tensor %s: %w", name, err)
		}
		v, err := scope.CreateVariable(name, value)
		if err != nil {
			return Modules{}, fmt.Errorf("tensor %s: %w", name, err)
		}
		v.SetTrainable(false)
	}
	return Modules{Scope: scope}, nil
}

// parameter returns a tensor in the layout that networks are computed in. Convolutions [out, in, rows, columns] become [rows, columns, in, out], those
// of kernel 1×1 linear maps [out, in]; all else stays as it is.
func parameter(t checkpoint.Tensor) (*tensors.Tensor, error) {
	values, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	shape := t.Shape
	if len(shape) == 4 {
		out, in, kernel := shape[0], shape[1], shape[2]*shape[3]
		if kernel == 1 {
			return tensors.FromFlatDataAndDimensions(values, out, in), nil
		}
		moved := make([]float32, len(values))
		for o := range out {
			for i := range in {
				for k := range kernel {
					moved[(k*in+i)*out+o] = values[(o*in+i)*kernel+k]
				}
			}
		}
		values, shape = moved, []int{shape[2], shape[3], in, out}
	}
	return tensors.FromFlatDataAndDimensions(values, shape...), nil
}
