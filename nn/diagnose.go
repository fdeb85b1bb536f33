package nn

import (
	"errors"
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
)

// diagnose returns the reason why a step on these inputs has no finite loss or gradient: the first tensor with a number
// that is not finite, on the way from the inputs, numbered as the loss sees them, to the gradients.
func (t *Trainer) diagnose(inputs []any, loss float64) error {
	for i, input := range inputs {
		value, err := tensors.FromAnyValue(input)
		if err == nil {
			err = finite(value)
		}
		if err != nil {
			return fmt.Errorf("input %d %w", i, err)
		}
	}
	for _, p := range t.parameters {
		value, err := p.Value()
		if err == nil {
			err = finite(value)
		}
		if err != nil {
			return fmt.Errorf("parameter %s %w", p.Path(), err)
		}
	}
	if math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("the loss is %g, of finite inputs and parameters; a lower learning rate may help", loss)
	}
	ok, err := t.finiteGradients(inputs)
	if err != nil {
		return fmt.Errorf("the gradient is not finite, at a loss of %g: %w", loss, err)
	}
	for i, p := range t.parameters {
		if ok[i] == 0 {
			return fmt.Errorf("the gradient of %s %v is not finite, at a loss of %g; a lower learning rate may help", p.Path(), p.Shape().Dimensions, loss)
		}
	}
	return fmt.Errorf("the norm of the gradient overflows, at a loss of %g; a lower learning rate may help", loss)
}

// finiteGradients returns 1 for every parameter whose gradient is finite, 0 for the others.
func (t *Trainer) finiteGradients(inputs []any) ([]int32, error) {
	program, err := t.engine.Compile(func(in []*graph.Node) []*graph.Node {
		_, _, grads := t.gradient(in)
		for i, g := range grads {
			grads[i] = graph.ConvertDType(graph.LogicalAll(graph.IsFinite(g)), dtypes.Int32)
		}
		return []*graph.Node{graph.Stack(grads, 0)}
	})
	if err != nil {
		return nil, err
	}
	out, err := program.RunPadded(0, 1, inputs...) // a diagnosis counts no network calls
	if err != nil {
		return nil, err
	}
	defer out[0].FinalizeAll()
	return tensors.CopyFlatData[int32](out[0])
}

// finite returns an error if a tensor has a number that is not finite. Labels and the like are always.
func finite(t *tensors.Tensor) error {
	if t.DType() != dtypes.Float32 {
		return nil
	}
	var found error
	err := tensors.ConstFlatData(t, func(flat []float32) {
		for _, v := range flat {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				found = fmt.Errorf("%v has %g", t.Shape().Dimensions, v)
				return
			}
		}
	})
	return errors.Join(err, found)
}
