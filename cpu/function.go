package cpu

import (
	"fmt"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/notimplemented"
	"github.com/gomlx/compute/shapes"
	"github.com/pkg/errors"
)

var _ compute.Function = (*function)(nil)

// function records operations: the main function, one that others call, or a closure.
type function struct {
	notimplemented.Function // what this backend has never heard of
	builder                 *builder
	shadow                  compute.Function
	parent                  *function // of a closure
	name                    string
	params, outs            []*value
	names                   []string // of the parameters
	records                 []*record
}

var missing = notimplemented.Function{ErrFn: func(op compute.OpType) error {
	return errors.Wrapf(compute.ErrNotImplemented, "cpu: %s", op)
}}

// value is one result of a record, or a parameter.
type value struct {
	function *function
	shape    shapes.Shape
	shadow   compute.Value
}

// emit builds an operation in a function of the stock backend.
type emit func(f compute.Function, in []compute.Value, closures []compute.Function) ([]compute.Value, error)

// record is one operation.
type record struct {
	op       compute.OpType
	attr     any // for package plan
	in, out  []*value
	emit     emit
	constant any         // a flat slice, of a constant
	callee   *function   // of a call
	closures []*function // of While, If and Sort
}

// String names the operation in errors.
func (r *record) String() string { return r.op.String() }

// Name returns the function's name, "" for a closure.
func (f *function) Name() string {
	if f == f.builder.main {
		return compute.MainName
	}
	return f.name
}

// Builder returns the builder.
func (f *function) Builder() compute.Builder { return f.builder }

// Parent returns the function that a closure was made in, or nil.
func (f *function) Parent() compute.Function {
	if f.parent == nil {
		return nil
	}
	return f.parent
}

// Closure starts a closure, which may use this function's values.
func (f *function) Closure() (compute.Function, error) {
	shadow, err := f.shadow.Closure()
	if err != nil {
		return nil, err
	}
	return &function{Function: missing, builder: f.builder, shadow: shadow, parent: f}, nil
}

// Parameter adds a parameter.
func (f *function) Parameter(name string, shape shapes.Shape, sharding *compute.ShardingSpec) (compute.Value, error) {
	shadow, err := f.shadow.Parameter(name, shape, sharding)
	if err != nil {
		return nil, err
	}
	v := &value{function: f, shape: shape.Clone(), shadow: shadow}
	f.builder.values[shadow] = v
	f.params = append(f.params, v)
	f.names = append(f.names, name)
	return v, nil
}

// Constant adds a constant; the data are copied.
func (f *function) Constant(flat any, dims ...int) (compute.Value, error) {
	shadow, err := f.shadow.Constant(flat, dims...)
	if err != nil {
		return nil, err
	}
	if v, ok := f.builder.values[shadow]; ok {
		return v, nil
	}
	shape, err := f.shadow.Shape(shadow)
	if err != nil {
		return nil, err
	}
	own, err := clone(flat)
	if err != nil {
		return nil, err
	}
	out, err := f.results([]compute.Value{shadow})
	f.records = append(f.records, &record{op: compute.OpTypeConstant, out: out, constant: own,
		emit: func(g compute.Function, _ []compute.Value, _ []compute.Function) ([]compute.Value, error) {
			return one(g.Constant(own, shape.Dimensions...))
		}})
	return out[0], err
}

// Shape returns the shape of a value.
func (f *function) Shape(v compute.Value) (shapes.Shape, error) { return f.builder.OpShape(v) }

// Return ends the function.
func (f *function) Return(outputs []compute.Value, shardings []*compute.ShardingSpec) error {
	outs, shadows, err := f.operands(outputs)
	if err != nil {
		return fmt.Errorf("cpu: Return: %w", err)
	}
	if err := f.shadow.Return(shadows, shardings); err != nil {
		return err
	}
	f.outs = outs
	return nil
}

// operands checks values that come from outside and returns them with their shadows.
func (f *function) operands(in []compute.Value) ([]*value, []compute.Value, error) {
	values, shadows := make([]*value, len(in)), make([]compute.Value, len(in))
	for i, v := range in {
		x, ok := v.(*value)
		if !ok || x == nil || x.function.builder != f.builder {
			return nil, nil, fmt.Errorf("operand %d is a %T that this builder did not make", i, v)
		}
		values[i], shadows[i] = x, x.shadow
	}
	return values, shadows, nil
}

// results makes values of what the shadow returned.
func (f *function) results(shadows []compute.Value) ([]*value, error) {
	out := make([]*value, len(shadows))
	for i, s := range shadows {
		shape, err := f.shadow.Shape(s)
		if err != nil {
			return nil, err
		}
		out[i] = &value{function: f, shape: shape, shadow: s}
		f.builder.values[s] = out[i]
	}
	return out, nil
}

// add records an operation with one result.
func (f *function) add(op compute.OpType, attr any, in []compute.Value, build func(g compute.Function, in []compute.Value) (compute.Value, error)) (compute.Value, error) {
	out, err := f.addMany(op, attr, in, nil, func(g compute.Function, in []compute.Value, _ []compute.Function) ([]compute.Value, error) {
		return one(build(g, in))
	})
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

func one(v compute.Value, err error) ([]compute.Value, error) { return []compute.Value{v}, err }

// addMany records an operation: once in the shadow, and here unless the shadow has seen the same before.
func (f *function) addMany(op compute.OpType, attr any, in []compute.Value, closures []*function, build emit) ([]compute.Value, error) {
	values, shadows, err := f.operands(in)
	if err != nil {
		return nil, fmt.Errorf("cpu: %s: %w", op, err)
	}
	var inner []compute.Function
	for _, c := range closures {
		inner = append(inner, c.shadow)
	}
	built, err := build(f.shadow, shadows, inner)
	if err != nil {
		return nil, err
	}
	known := make([]compute.Value, 0, len(built))
	for _, s := range built {
		if v, ok := f.builder.values[s]; ok {
			known = append(known, v)
		}
	}
	if len(known) == len(built) {
		return known, nil
	}
	out, err := f.results(built)
	if err != nil {
		return nil, err
	}
	f.records = append(f.records, &record{op: op, attr: attr, in: values, out: out, emit: build, closures: closures})
	returned := make([]compute.Value, len(out))
	for i, v := range out {
		returned[i] = v
	}
	return returned, nil
}

// Call records a call of a function made by NewFunction.
func (f *function) Call(callee compute.Function, inputs ...compute.Value) ([]compute.Value, error) {
	c, ok := callee.(*function)
	if !ok || c.builder != f.builder || c.parent != nil {
		return nil, fmt.Errorf("cpu: Call of a %T that is no named function of this builder", callee)
	}
	out, err := f.addMany(compute.OpTypeCall, nil, inputs, nil, func(g compute.Function, in []compute.Value, _ []compute.Function) ([]compute.Value, error) {
		if g == f.shadow {
			return g.Call(c.shadow, in...)
		}
		return c.inline(g, in)
	})
	if err == nil && len(out) > 0 {
		f.records[len(f.records)-1].callee = c
	}
	return out, err
}

func (f *function) closuresOf(op string, functions ...compute.Function) ([]*function, error) {
	out := make([]*function, len(functions))
	for i, c := range functions {
		x, ok := c.(*function)
		if !ok || x.parent != f {
			return nil, fmt.Errorf("cpu: %s: function %d is a %T that is no closure of this function", op, i, c)
		}
		out[i] = x
	}
	return out, nil
}

// Sort records a sort.
func (f *function) Sort(comparator compute.Function, axis int, isStable bool, inputs ...compute.Value) ([]compute.Value, error) {
	c, err := f.closuresOf("Sort", comparator)
	if err != nil {
		return nil, err
	}
	return f.addMany(compute.OpTypeSort, nil, inputs, c, func(g compute.Function, in []compute.Value, c []compute.Function) ([]compute.Value, error) {
		return g.Sort(c[0], axis, isStable, in...)
	})
}

// While records a loop.
func (f *function) While(cond, body compute.Function, initialState ...compute.Value) ([]compute.Value, error) {
	c, err := f.closuresOf("While", cond, body)
	if err != nil {
		return nil, err
	}
	return f.addMany(compute.OpTypeWhile, nil, initialState, c, func(g compute.Function, in []compute.Value, c []compute.Function) ([]compute.Value, error) {
		return g.While(c[0], c[1], in...)
	})
}

// If records a branch.
func (f *function) If(pred compute.Value, trueBranch, falseBranch compute.Function) ([]compute.Value, error) {
	c, err := f.closuresOf("If", trueBranch, falseBranch)
	if err != nil {
		return nil, err
	}
	return f.addMany(compute.OpTypeIf, nil, []compute.Value{pred}, c, func(g compute.Function, in []compute.Value, c []compute.Function) ([]compute.Value, error) {
		return g.If(in[0], c[0], c[1])
	})
}
