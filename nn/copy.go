package nn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"
)

// Copy sets the parameters of a network to those of another one with the same layers, whose inputs are the first of its
// own: what the others add is zero, so that both networks are the same function of those inputs. If the layers differ, that
// is an error, and nothing is set.
func Copy(to, from Network) error {
	target, source := first(to), first(from)
	if target.layer != source.layer || target.in < source.in || len(to.Parameters()) != len(from.Parameters()) {
		return fmt.Errorf("nn: copy of a %T with %d inputs and %d parameters to a %T with %d and %d: want the same layers, and no fewer inputs",
			from, source.in, len(from.Parameters()), to, target.in, len(to.Parameters()))
	}
	values := map[*model.Variable]*tensors.Tensor{}
	for _, v := range from.Parameters() {
		name := strings.TrimPrefix(v.Path(), source.scope.Scope())
		own := target.scope.Store().GetVariable(target.scope.Scope() + name)
		if own == nil {
			return fmt.Errorf("nn: copy: there is no %s below %s: want the same layers", name, target.scope.Scope())
		}
		value, err := v.MustValue().Clone()
		if err == nil && name == source.layer {
			value, err = widen(value, source.in, target.in)
		}
		if err != nil {
			return fmt.Errorf("nn: copy of %s: %w", v.Path(), err)
		}
		if !value.Shape().Equal(own.Shape()) {
			return fmt.Errorf("nn: copy of %s %v to %s %v: want the same layers", v.Path(), v.Shape().Dimensions, own.Path(), own.Shape().Dimensions)
		}
		values[own] = value
	}
	for own, value := range values {
		if err := own.SetValue(value); err != nil {
			return fmt.Errorf("nn: copy to %s: %w", own.Path(), err)
		}
	}
	return nil
}

// entrance is where the inputs enter a network: the weights of its first layer [3, 3, in, out] or [in, out], or of several
// copies of the inputs one after the other in the place of in.
type entrance struct {
	scope *model.Scope
	layer string
	in    int // numbers of an input, or channels
}

func first(n Network) entrance {
	switch n := n.(type) {
	case UNet:
		return entrance{n.Scope, "/in/weights", n.In}
	case MLP:
		return entrance{n.Scope, "/hidden_0/weights", n.In}
	case CNN:
		return entrance{n.Scope, "/conv_0/weights", n.In}
	}
	panic(fmt.Errorf("nn: a copy of %T: want UNet, MLP or CNN", n))
}

// widen puts zeros for further inputs into weights of the first layer.
func widen(weights *tensors.Tensor, in, wanted int) (*tensors.Tensor, error) {
	values, err := tensors.CopyFlatData[float32](weights)
	if err != nil {
		return nil, err
	}
	dims := slices.Clone(weights.Shape().Dimensions)
	out := dims[len(dims)-1]
	copies := len(values) / (in * out)
	wide := make([]float32, copies*wanted*out)
	for i := range copies {
		copy(wide[i*wanted*out:], values[i*in*out:(i+1)*in*out])
	}
	dims[len(dims)-2] = dims[len(dims)-2] / in * wanted
	return tensors.FromFlatDataAndDimensions(wide, dims...), nil
}
