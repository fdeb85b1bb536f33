package sd

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/op"
)

// Modules are the layers of a network, by their names in the files, with their parameters as [Weights.Load] leaves them. Scope is required.
//
// A network evaluated twice in one graph, with and without Addition, shares its parameters and, on backends that find common subexpressions, all that
// comes before the first addition. Since an addition sees the rows of a batch, it can also treat some of them as the base model does.
type Modules struct {
	// Scope holds the parameters, named like the tensors.
	Scope *model.Scope
	// Addition returns what is added to the result of a linear map, or of a convolution of kernel 1×1, at x [rows, in], such as scale·B·A·x of a
	// low-rank adapter: [rows, out], or nil for nothing. It is asked for every one of them by its name, such as
	// "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q".
	Addition func(name string, x *graph.Node) *graph.Node
	// Checkpoint has networks keep only what their blocks take and give. The backward pass computes the rest again, block by block: about a quarter more
	// time for a fraction of the memory. Gradients are the same. Without gradients it changes nothing, but what two evaluations share is computed twice.
	Checkpoint bool

	// prefix stands before the names of all modules, in a network that is part of another.
	prefix string
	// watch sees the result of modules, by their names; for tests.
	watch func(name string, y *graph.Node)
}

// below returns the modules whose names begin with prefix, to be called by what follows.
func (m Modules) below(prefix string) Modules {
	m.prefix += prefix
	return m
}

// has reports whether there is a parameter.
func (m Modules) has(name string) bool { return m.Scope.GetVariable(m.prefix+name) != nil }

// parameter returns a parameter, in the precision of x.
func (m Modules) parameter(name string, x *graph.Node) *graph.Node {
	return graph.ConvertDType(m.raw(name, x), x.DType())
}

// rows returns the rows of a parameter [rows, width] that whole numbers ids [...] name: [..., width], in float32.
func (m Modules) rows(name string, ids *graph.Node) *graph.Node {
	rows := graph.Gather(m.raw(name, ids), graph.InsertAxes(graph.ConvertDType(ids, dtypes.Int32), -1))
	return graph.ConvertDType(rows, dtypes.Float32) // the few that are used, not all
}

// raw returns a parameter in the graph of x, in its own precision.
func (m Modules) raw(name string, x *graph.Node) *graph.Node {
	v := m.Scope.GetVariable(m.prefix + name)
	if v == nil {
		panic(fmt.Errorf("sd: no parameter %q below %s: it was not loaded, or is of another network", m.prefix+name, m.Scope.Scope()))
	}
	return engine.Parameter(v, x)
}

// result returns y, the result of a module.
func (m Modules) result(name string, y *graph.Node) *graph.Node {
	if m.watch != nil {
		m.watch(m.prefix+name, y)
	}
	return y
}

// linear returns W·x + b for x [..., in]: [..., out]. A map may have no b.
func (m Modules) linear(name string, x *graph.Node) *graph.Node {
	d := x.Shape().Dimensions
	rows := graph.Reshape(x, -1, d[len(d)-1])
	y := graph.DotGeneral(rows, []int{1}, nil, m.parameter(name+".weight", x), []int{1}, nil)
	if m.has(name + ".bias") {
		y = graph.Add(y, graph.InsertAxes(m.parameter(name+".bias", x), 0))
	}
	if m.Addition != nil {
		if more := m.Addition(m.prefix+name, rows); more != nil {
			y = graph.Add(y, more)
		}
	}
	shape := append(append([]int{}, d[:len(d)-1]...), y.Shape().Dimensions[1])
	return m.result(name, graph.Reshape(y, shape...))
}

// segment returns fn of the channels of all inputs, computed again in the backward pass with Checkpoint.
func (m Modules) segment(fn func(x *graph.Node) *graph.Node, inputs ...*graph.Node) *graph.Node {
	joined := func(inputs []*graph.Node) *graph.Node {
		if len(inputs) == 1 {
			return fn(inputs[0])
		}
		return fn(graph.Concatenate(inputs, -1))
	}
	if m.Checkpoint {
		return op.Recomputed(joined, inputs)
	}
	return joined(inputs)
}

// conv returns the convolution of x [batch, height, width, in]. One may have no bias.
func (m Modules) conv(name string, x *graph.Node, stride int, padding op.Padding) *graph.Node {
	var bias *graph.Node
	if m.has(name + ".bias") {
		bias = m.parameter(name+".bias", x)
	}
	return m.result(name, op.Conv(x, m.parameter(name+".weight", x), bias, stride, padding))
}

// groupNorm returns the normalisation of x [batch, height, width, channels] in groups, and then SiLU if wanted.
func (m Modules) groupNorm(name string, x *graph.Node, groups int, epsilon float64, silu bool) *graph.Node {
	return op.GroupNorm(x, m.parameter(name+".weight", x), m.parameter(name+".bias", x), groups, epsilon, silu)
}

// layerNorm returns the normalisation of x [..., width] over its last axis.
func (m Modules) layerNorm(name string, x *graph.Node, epsilon float64) *graph.Node {
	return m.result(name, op.LayerNorm(x, m.parameter(name+".weight", x), m.parameter(name+".bias", x), epsilon))
}
