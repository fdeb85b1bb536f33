package op

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// Kernels is what a backend implements that has kernels of its own for ops of this package, as package cpu does. It gets
// them as named functions. Any other backend gets their bodies in the place of the calls: it could not do better with a
// function, and some cannot hold all operations in one (XLA: reductions).
type Kernels interface {
	// HasKernel reports whether the backend has one for an op by its name without attributes, such as "group_norm".
	HasKernel(op string) bool
}

// function is an operation with a gradient of its own: a named function of the graph, the same one for all calls with
// inputs of equal shapes, or only its body, see [Kernels]. What body and gradient do may depend only on the name and on
// those shapes.
//
// Scalars are cached per graph, not per function, so a body that calls graph.Scalar, AddScalar, OneMinus and the like
// fails when another function used the same number before: bodies take theirs from [number].
type function struct {
	// name is the op with its attributes.
	name string
	// body computes the outputs with plain graph operations.
	body func(in []*graph.Node) []*graph.Node
	// gradient returns the gradients of the inputs from that of the only output y, in the calling function of the
	// graph; nil where body serves: for what is seldom differentiated, as is a gradient.
	gradient func(in []*graph.Node, y, dy *graph.Node) []*graph.Node
}

// call returns the outputs of the function.
func (f function) call(in ...*graph.Node) []*graph.Node {
	op, _, _ := strings.Cut(f.name, "__")
	if k, ok := in[0].Graph().Backend().(Kernels); ok && k.HasKernel(op) {
		return f.define(f.name, len(in), f.body, in).Call(in...)
	}
	out := f.body(in)
	if f.gradient == nil {
		return out
	}
	// A function that returns its last parameters and costs nothing: autodiff comes to it before the body, and goes on
	// with the gradients of the inputs. They are the last because the stock backend fails where the last are not used.
	n := len(in)
	all := append(slices.Clone(in), out...)
	return f.define("differentiated__"+f.name, n, func(all []*graph.Node) []*graph.Node { return all[n:] }, all).Call(all...)
}

// define returns the function of the graph with a name, and so with body, for inputs of these shapes. Its gradient is
// that of f, whose inputs are the first n.
func (f function) define(name string, n int, body func(in []*graph.Node) []*graph.Node, in []*graph.Node) *graph.Function {
	g := in[0].Graph()
	known, ok := g.State(functionsKey{}).(*functions)
	if !ok {
		known = &functions{defined: map[string]*graph.Function{}, gradients: map[string]derivation{}}
		g.AttachState(functionsKey{}, known)
	}
	key := name
	for _, x := range in {
		key += " " + x.Shape().String()
	}
	defined, ok := known.defined[key]
	if !ok {
		unique := fmt.Sprintf("%s__n%d", name, len(known.defined))
		defined = graph.NewFunction(g, unique, func(g *graph.Graph) []*graph.Node {
			parameters := make([]*graph.Node, len(in))
			for i, x := range in {
				parameters[i] = graph.Parameter(g, fmt.Sprintf("x%d", i), x.Shape())
			}
			return body(parameters)
		})
		known.defined[key] = defined
		known.gradients[unique] = derivation{f, n}
	}
	return defined
}

// written returns the gradients of the inputs from those of all outputs by autodiff of the body, written out once more.
func (f function) written(in, dy []*graph.Node) []*graph.Node {
	leaves := make([]*graph.Node, len(in))
	for i, x := range in {
		leaves[i] = graph.Identity(graph.StopGradient(x)) // one input may depend on another
	}
	var total *graph.Node
	for i, y := range f.body(leaves) {
		if part := graph.ReduceAllSum(graph.Mul(y, dy[i])); total == nil {
			total = part
		} else {
			total = graph.Add(total, part)
		}
	}
	return graph.Gradient(total, leaves...)
}

// functions are those of one graph.
type functions struct {
	defined   map[string]*graph.Function // by name and shapes of the inputs
	gradients map[string]derivation      // by name with the serial number
}

// derivation is how calls of a function of the graph are differentiated: as f of their first n inputs.
type derivation struct {
	f function
	n int
}

// of returns the gradients of the inputs of a call from those of its outputs; none for inputs after the first n.
func (d derivation) of(call *graph.Node, dy []*graph.Node) []*graph.Node {
	all := make([]*graph.Node, len(call.Inputs()))
	in := call.Inputs()[:d.n]
	if d.f.gradient == nil {
		copy(all, d.f.written(in, dy))
	} else {
		copy(all, d.f.gradient(in, call, dy[0]))
	}
	return all
}

type functionsKey struct{}

// called finds the name of the called function in a node's description, the only place that shows it.
var called = regexp.MustCompile(`\bCall\((\w+), \d+ inputs\)`)

// GoMLX has one table of gradients by type of node, without an entry for calls of functions.
func init() {
	previous := graph.VJPRegistration[graph.NodeTypeCall]
	graph.VJPRegistration[graph.NodeTypeCall] = func(node *graph.Node, dy []*graph.Node, shape shapes.Shape) []*graph.Node {
		var name string
		if match := called.FindStringSubmatch(node.String()); match != nil {
			name = match[1]
		}
		known, _ := node.Graph().State(functionsKey{}).(*functions)
		if known != nil {
			if d, ok := known.gradients[name]; ok {
				return d.of(node, dy)
			}
		}
		if previous == nil {
			panic(fmt.Errorf("op: no gradient for a call of %q: it is no function of package op (%s)", name, node))
		}
		return previous(node, dy, shape)
	}
}

// name joins an op and its attributes, keys and values in turn.
func name(op string, attributes ...any) string {
	var s strings.Builder
	s.WriteString(op)
	for i := 0; i < len(attributes); i += 2 {
		switch v := attributes[i+1].(type) {
		case int:
			fmt.Fprintf(&s, "__%s%d", attributes[i], v)
		case bool:
			fmt.Fprintf(&s, "__%s%d", attributes[i], map[bool]int{true: 1}[v])
		case float64:
			fmt.Fprintf(&s, "__%s%08x", attributes[i], math.Float32bits(float32(v)))
		default:
			panic(fmt.Errorf("op: attribute %v of %s is a %T, want int, bool or float64", attributes[i], op, v))
		}
	}
	return s.String()
}

// number returns a scalar constant in the precision of x, for the body of a function.
func number(x *graph.Node, v float64) *graph.Node {
	return graph.Reshape(graph.ConstAs(x, []float64{v}))
}

// sum returns the sum of x over axes, which stay with size 1.
func sum(x *graph.Node, axes ...int) *graph.Node {
	return graph.ReduceAndKeep(x, graph.ReduceSum, axes...)
}
