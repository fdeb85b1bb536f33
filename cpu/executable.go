package cpu

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/pkg/errors"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/plan"
)

var _ compute.Executable = (*executable)(nil)

// executable is a planned program.
type executable struct {
	backend *Backend
	names   []string
	inputs  []shapes.Shape
	outputs []shapes.Shape
	program *plan.Program
	bytes   int64 // see Memory

	mutex    sync.Mutex
	variants []*variant
}

// variant is the program laid out for one choice of donated parameters.
type variant struct {
	donated []bool
	program *plan.Program
	layout  *plan.Layout
	gone    bool // it will not run any more; under the mutex of [workspaces]
}

func newExecutable(b *builder) (*executable, error) {
	e := &executable{backend: b.backend, names: b.main.names}
	w := &weaver{backend: b.backend}
	values := map[*value]*plan.Value{}
	var params, outs []*plan.Value
	for _, p := range b.main.params {
		e.inputs = append(e.inputs, p.shape)
		values[p] = tensor(p.shape)
		params = append(params, values[p])
	}
	if err := w.weave(b.main, values); err != nil {
		return nil, err
	}
	for _, v := range b.main.outs {
		e.outputs = append(e.outputs, v.shape)
		outs = append(outs, values[v])
	}
	e.program = plan.Lower(w.nodes, params, outs)
	// Binding finds what cannot be run, now rather than at the first execution, which may donate and so be laid out anew.
	v := e.variant(make([]bool, len(params)))
	workspace, i, err := e.backend.bind(v)
	if err != nil {
		return nil, err
	}
	e.bytes = int64(i.Bytes())
	e.backend.workspaces.put(workspace, v, i)
	return e, nil
}

func tensor(s shapes.Shape) *plan.Value {
	return &plan.Value{DType: s.DType, Dims: s.Dimensions}
}

// weaver turns records into the nodes of a plan, with the bodies of called functions in the place of the calls.
type weaver struct {
	backend *Backend
	nodes   []*plan.Node
}

func (w *weaver) weave(f *function, values map[*value]*plan.Value) error {
	for _, r := range f.records {
		inputs := r.in
		if len(r.closures) > 0 {
			inputs = append(slices.Clone(r.in), r.captured()...)
		}
		in := make([]*plan.Value, len(inputs))
		for i, v := range inputs {
			if in[i] = values[v]; in[i] == nil {
				return fmt.Errorf("cpu: %s: operand %d of shape %s belongs to another function", r.op, i, v.shape)
			}
		}
		attr := r.attr
		if r.callee != nil {
			named, ok := kernel(r)
			if !ok {
				inner := map[*value]*plan.Value{}
				for i, p := range r.callee.params {
					inner[p] = in[i]
				}
				if err := w.weave(r.callee, inner); err != nil {
					return err
				}
				for i, v := range r.out {
					values[v] = inner[r.callee.outs[i]]
				}
				continue
			}
			attr = named
		}
		n := &plan.Node{Op: r.op, Attr: attr, In: in, Record: r}
		for _, v := range r.out {
			values[v] = tensor(v.shape)
			n.Out = append(n.Out, values[v])
		}
		if r.constant != nil {
			n.Out[0].Const = r.constant
			continue
		}
		if folded, err := w.fold(r, n); err != nil {
			return err
		} else if !folded {
			w.nodes = append(w.nodes, n)
		}
	}
	return nil
}

// fold computes a small operation on constants once and for all, if the stock backend would have to run it every time.
func (w *weaver) fold(r *record, n *plan.Node) (bool, error) {
	const limit = 1 << 16 // elements
	if len(n.Out) != 1 || n.Out[0].Size() > limit || len(r.closures) > 0 || r.callee != nil || n.Out[0].DType.IsPacked() {
		return false, nil
	}
	own := n.Op != compute.OpTypeIota
	in := make([]any, len(n.In))
	for i, v := range n.In {
		if in[i] = v.Const; v.Const == nil {
			return false, nil
		}
		own = own && v.DType == dtypes.Float32
	}
	if own {
		return false, nil
	}
	run, err := w.backend.reference(r)
	if err != nil {
		return false, err
	}
	flat := dtypes.MakeAnySlice(n.Out[0].DType, n.Out[0].Size())
	if err := run(in, []any{flat}); err != nil {
		return false, err
	}
	n.Out[0].Const = flat
	return true, nil
}

// kernel reads the name of a called function: an operation and its numbers, separated by two underscores, such as
// group_norm__g32__e3727c5ac__s1__n7, and reports whether there is a kernel for it. A number of eight hexadecimal digits is
// the bits of a float32; the last part only makes the name unique.
func kernel(r *record) (plan.Named, bool) {
	parts := strings.Split(r.callee.name, "__")
	n := plan.Named{Name: parts[0], Ints: map[string]int{}, Floats: map[string]float64{}}
	if len(parts) < 2 || !exec.Knows(n.Name) {
		return n, false
	}
	for _, p := range parts[1 : len(parts)-1] {
		if len(p) < 2 {
			return n, false
		}
		if bits, err := strconv.ParseUint(p[1:], 16, 32); err == nil && len(p) == 9 {
			// The shortest decimal is what was meant: 0.999, not the float32 next to it.
			f := math.Float32frombits(uint32(bits))
			n.Floats[p[:1]], _ = strconv.ParseFloat(strconv.FormatFloat(float64(f), 'g', -1, 32), 64)
		} else if i, err := strconv.Atoi(p[1:]); err == nil {
			n.Ints[p[:1]] = i
		} else {
			return n, false
		}
	}
	for _, v := range slices.Concat(r.in, r.out) {
		if v.shape.DType != dtypes.Float32 || v.shape.Size() == 0 {
			return n, false
		}
	}
	rank := r.in[0].shape.Rank()
	switch n.Name {
	case "attention", "attention_grad", "causal_attention", "causal_attention_grad", "biased_attention", "biased_attention_grad",
		"upsample", "upsample_grad":
		return n, rank == 4
	case "group_norm", "group_norm_grad":
		return n, rank >= 2
	case "softmax", "softmax_grad", "layer_norm", "layer_norm_grad", "geglu", "geglu_grad":
		return n, rank >= 1
	}
	return n, true
}

func (e *executable) variant(donated []bool) *variant {
	for _, v := range e.variants {
		if slices.Equal(v.donated, donated) {
			return v
		}
	}
	v := &variant{donated: slices.Clone(donated), program: e.program, layout: plan.Arrange(e.program, donated)}
	e.variants = append(e.variants, v)
	e.backend.workspaces.collect(e, v)
	return v
}

// Finalize frees the program's memory, unless other programs run in it too.
func (e *executable) Finalize() {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	for _, v := range e.variants {
		e.backend.workspaces.forget(v)
	}
	e.variants, e.program = nil, nil
}

// Memory returns the bytes that one execution takes besides parameters and results, about. They are kept for the next one, of this program or another
// one; executions at the same time take as much each.
func (e *executable) Memory() int64 { return e.bytes }

// Inputs returns names and shapes of the parameters.
func (e *executable) Inputs() ([]string, []shapes.Shape) { return e.names, e.inputs }

// Outputs returns the shapes of the results.
func (e *executable) Outputs() []shapes.Shape { return e.outputs }

// Execute runs the program. Executions may run at the same time. A panic in a kernel is returned as an error.
func (e *executable) Execute(inputs []compute.Buffer, donate []bool, device compute.DeviceNum) (results []compute.Buffer, err error) {
	if device != 0 {
		return nil, fmt.Errorf("cpu: device %d: there is only device 0", device)
	}
	if len(inputs) != len(e.inputs) || len(donate) != 0 && len(donate) != len(inputs) {
		return nil, fmt.Errorf("cpu: %d inputs, %d of them with a donation: the program has %d parameters", len(inputs), len(donate), len(e.inputs))
	}
	if len(donate) == 0 {
		donate = make([]bool, len(inputs))
	}
	given := make([]*buffer, len(inputs))
	params := make([]exec.Memory, len(inputs))
	for i, x := range inputs {
		b, ok := x.(*buffer)
		if !ok || b == nil || b.backend != e.backend {
			return nil, fmt.Errorf("cpu: input %d (%s) is a %T of another backend", i, e.names[i], x)
		}
		if b.flat == nil {
			return nil, fmt.Errorf("cpu: input %d (%s) was finalized or donated", i, e.names[i])
		}
		if !b.shape.Equal(e.inputs[i]) {
			return nil, fmt.Errorf("cpu: input %d (%s) has shape %s, want %s", i, e.names[i], b.shape, e.inputs[i])
		}
		given[i], params[i] = b, exec.Of(b.flat)
	}
	if i := shared(given, donate); i >= 0 {
		return nil, fmt.Errorf("cpu: input %d (%s) is a donated buffer that is another input too", i, e.names[i])
	}

	e.mutex.Lock()
	if e.program == nil {
		e.mutex.Unlock()
		return nil, errors.New("cpu: the program was finalized")
	}
	v := e.variant(donate)
	e.mutex.Unlock()
	workspace, instance, err := e.backend.bind(v)
	if err != nil {
		return nil, err
	}

	outs := make([]*buffer, len(e.outputs))
	memory := make([]exec.Memory, len(outs))
	for i, shape := range e.outputs {
		if d := v.layout.Donor[i]; d >= 0 {
			outs[i] = &buffer{backend: e.backend, shape: shape, flat: given[d].flat, memory: given[d].memory}
			given[d].flat, given[d].memory = nil, nil
		} else {
			outs[i] = e.backend.newBuffer(shape)
		}
		memory[i] = exec.Of(outs[i].flat)
	}
	defer func() {
		if r := recover(); r != nil {
			results, err = nil, errors.Errorf("cpu: panic during execution: %v", r)
		}
		for i, b := range given {
			if donate[i] {
				_ = b.Finalize() // cannot fail
			}
		}
	}()
	if err := instance.Run(params, memory); err != nil {
		return nil, err
	}
	// A workspace in which a program failed is not used again: what it was doing is unknown.
	e.backend.workspaces.put(workspace, v, instance)
	results = make([]compute.Buffer, len(outs))
	for i, b := range outs {
		results[i] = b
	}
	return results, nil
}

// shared returns an input that is the same buffer as a donated one, whose memory it would lose, or −1.
func shared(given []*buffer, donate []bool) int {
	twice := -1
	for i, b := range given {
		if donate[i] {
			if b.donated {
				twice = i
			}
			b.donated = true
		}
	}
	for i, b := range given {
		if !donate[i] && b.donated {
			twice = i
		}
	}
	for i, b := range given {
		if donate[i] {
			b.donated = false
		}
	}
	return twice
}
