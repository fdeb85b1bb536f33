package cpu

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapes"
)

var _ compute.Builder = (*builder)(nil)

// builder records a computation. Everything that is recorded is built in a stock builder as well, the shadow: it
// validates, infers shapes, and finds common subexpressions.
type builder struct {
	notimplemented.Builder
	backend *Backend
	name    string
	shadow  compute.Builder
	main    *function
	values  map[compute.Value]*value // by the shadow's value
	done    bool
}

func newBuilder(b *Backend, name string) *builder {
	x := &builder{backend: b, name: name, shadow: b.stock.Builder(name), values: map[compute.Value]*value{}}
	x.main = &function{Function: missing, builder: x, shadow: x.shadow.Main()}
	return x
}

// Name returns the computation's name.
func (b *builder) Name() string { return b.name }

// Main returns the main function.
func (b *builder) Main() compute.Function { return b.main }

// NewFunction starts a function that others can call.
func (b *builder) NewFunction(name string) (compute.Function, error) {
	shadow, err := b.shadow.NewFunction(name)
	if err != nil {
		return nil, err
	}
	return &function{Function: missing, builder: b, shadow: shadow, name: name}, nil
}

// OpShape returns the shape of a value.
func (b *builder) OpShape(v compute.Value) (shapes.Shape, error) {
	x, ok := v.(*value)
	if !ok || x.function.builder != b {
		return shapes.Invalid(), fmt.Errorf("cpu: OpShape of a %T that this builder did not make", v)
	}
	return x.shape, nil
}

// Compile plans the main function.
func (b *builder) Compile() (compute.Executable, error) {
	if b.done {
		return nil, fmt.Errorf("cpu: %q is compiled already", b.name)
	}
	if b.main.outs == nil {
		return nil, fmt.Errorf("cpu: Return was not called on the main function of %q", b.name)
	}
	b.done = true
	return newExecutable(b)
}
