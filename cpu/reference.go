package cpu

import (
	"fmt"
	"reflect"

	"github.com/gomlx/compute"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

// clone copies a flat slice.
func clone(flat any) (any, error) {
	v := reflect.ValueOf(flat)
	if v.Kind() != reflect.Slice {
		return nil, fmt.Errorf("cpu: constant of type %T: a slice is wanted", flat)
	}
	c := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
	reflect.Copy(c, v)
	return c.Interface(), nil
}

// replay builds the function's operations in g, given what its parameters and captured values are there, and returns its
// results.
func (f *function) replay(g compute.Function, known map[*value]compute.Value) ([]compute.Value, error) {
	lookup := func(values []*value) ([]compute.Value, error) {
		out := make([]compute.Value, len(values))
		for i, v := range values {
			x, ok := known[v]
			if !ok {
				return nil, fmt.Errorf("cpu: a value of shape %s is used outside of its function", v.shape)
			}
			out[i] = x
		}
		return out, nil
	}
	for _, r := range f.records {
		in, err := lookup(r.in)
		if err != nil {
			return nil, err
		}
		closures, err := r.rebuild(g, known)
		if err != nil {
			return nil, err
		}
		out, err := r.emit(g, in, closures)
		if err != nil {
			return nil, err
		}
		for i, v := range r.out {
			known[v] = out[i]
		}
	}
	return lookup(f.outs)
}

// inline builds the body of a named function in g.
func (f *function) inline(g compute.Function, in []compute.Value) ([]compute.Value, error) {
	known := map[*value]compute.Value{}
	for i, p := range f.params {
		known[p] = in[i]
	}
	return f.replay(g, known)
}

// rebuild builds a record's closures in g.
func (r *record) rebuild(g compute.Function, known map[*value]compute.Value) ([]compute.Function, error) {
	var out []compute.Function
	for _, c := range r.closures {
		closure, err := g.Closure()
		if err != nil {
			return nil, err
		}
		inner := map[*value]compute.Value{}
		for v, x := range known {
			inner[v] = x
		}
		for i, p := range c.params {
			if inner[p], err = closure.Parameter(fmt.Sprintf("p%d", i), p.shape, nil); err != nil {
				return nil, err
			}
		}
		outs, err := c.replay(closure, inner)
		if err != nil {
			return nil, err
		}
		if err := closure.Return(outs, nil); err != nil {
			return nil, err
		}
		out = append(out, closure)
	}
	return out, nil
}

// captured returns the values from outside that a record's closures use.
func (r *record) captured() []*value {
	var out []*value
	seen := map[*value]bool{}
	var visit func(f *function, own map[*value]bool)
	visit = func(f *function, own map[*value]bool) {
		for _, p := range f.params {
			own[p] = true
		}
		use := func(v *value) {
			if !own[v] && !seen[v] {
				seen[v] = true
				out = append(out, v)
			}
		}
		for _, inner := range f.records {
			for _, v := range inner.in {
				use(v)
			}
			for _, c := range inner.closures {
				visit(c, own)
			}
			for _, v := range inner.out {
				own[v] = true
			}
		}
		for _, v := range f.outs {
			use(v)
		}
	}
	for _, c := range r.closures {
		visit(c, map[*value]bool{})
	}
	return out
}

// reference compiles one operation for the stock backend. Its operands are copied there and back.
func (b *Backend) reference(r *record) (exec.External, error) {
	builder := b.stock.Builder(r.op.String())
	g := builder.Main()
	known := map[*value]compute.Value{}
	inputs := append(append([]*value{}, r.in...), r.captured()...)
	in := make([]compute.Value, len(inputs))
	buffers, flats := make([]compute.Buffer, len(inputs)), make([]any, len(inputs))
	var err error
	for i, v := range inputs {
		if in[i], err = g.Parameter(fmt.Sprintf("p%d", i), v.shape, nil); err != nil {
			return nil, err
		}
		known[v] = in[i]
		if buffers[i], flats[i], err = b.stock.NewSharedBuffer(0, v.shape); err != nil {
			return nil, err
		}
	}
	closures, err := r.rebuild(g, known)
	if err != nil {
		return nil, err
	}
	out, err := r.emit(g, in[:len(r.in)], closures)
	if err != nil {
		return nil, err
	}
	if err := g.Return(out, nil); err != nil {
		return nil, err
	}
	program, err := builder.Compile()
	if err != nil {
		return nil, err
	}
	return func(in, out []any) error {
		for i, flat := range flats {
			if err := copyFlat(flat, in[i]); err != nil {
				return err
			}
		}
		results, err := program.Execute(buffers, nil, 0)
		if err != nil {
			return err
		}
		for i, x := range results {
			flat, err := x.Data()
			if err != nil {
				return err
			}
			if err := copyFlat(out[i], flat); err != nil {
				return err
			}
			if err := x.Finalize(); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// external is [Backend.reference] for a step of a plan.
func (b *Backend) external(s *plan.Step) (exec.External, error) {
	return b.reference(s.Op.(plan.External).Record.(*record))
}
