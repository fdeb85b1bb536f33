package op

import (
	"fmt"
	"math"
	"regexp"
	"strings"

	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"
)

// function is a named function of a graph, the same one for all calls with inputs of equal shapes. What body and
// gradient do may depend only on the name and on those shapes.
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
	g := in[0].Graph()
	known, ok := g.State(functionsKey{}).(*functions)
	if !ok {
		known = &functions{defined: map[string]*graph.Function{}, gradients: map[string]function{}}
		g.AttachState(functionsKey{}, known)
	}
	key := f.name
	for _, x := range in {
		key += " " + x.Shape().String()
	}
	defined, ok := known.defined[key]
	if !ok {
		unique := fmt.Sprintf("%s__n%d", f.name, len(known.defined))
		defined = graph.NewFunction(g, unique, func(g *graph.Graph) []*graph.Node {
			parameters := make([]*graph.Node, len(in))
			for i, x := range in {
				parameters[i] = graph.Parameter(g, fmt.Sprintf("x%d", i), x.Shape())
			}
			return f.body(parameters)
		})
		known.defined[key] = defined
		known.gradients[unique] = f
	}
	return defined.Call(in...)
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
	gradients map[string]function        // by name with the serial number
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
			if f, ok := known.gradients[name]; ok {
				if f.gradient == nil {
					return f.written(node.Inputs(), dy)
				}
				return f.gradient(node.Inputs(), node, dy[0])
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
