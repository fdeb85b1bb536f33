package nn

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
)

// Accumulate makes every later step compute its batch in so many parts, one after the other: gradient accumulation. The memory is that of a part, the result
// that of the whole but for the order of sums. The loss must be a mean over the rows of all inputs, whose number the parts must divide.
func (t *Trainer) Accumulate(parts int) error {
	if t.parts = parts; parts <= 1 {
		return nil
	}
	for _, p := range t.parameters {
		frozen(t.engine, sum(p.Path()), tensors.FromShape(p.Shape()))
	}
	frozen(t.engine, lossSum, tensors.FromScalar(float32(0)))
	part := func(inputs []*graph.Node) (value *graph.Node, nodes, grads []*graph.Node) {
		value, nodes, grads = t.gradient(rows(inputs[1:], inputs[0], parts))
		value = graph.Add(engine.Parameter(t.engine.Params.GetVariable(lossSum), value), graph.DivScalar(value, float64(parts)))
		for i, p := range t.parameters {
			grads[i] = graph.Add(engine.Parameter(t.engine.Params.GetVariable(sum(p.Path())), value), graph.DivScalar(grads[i], float64(parts)))
		}
		return value, nodes, grads
	}
	keep := func(value *graph.Node, grads []*graph.Node) {
		t.engine.Params.GetVariable(lossSum).SetNodeValue(value)
		for i, p := range t.parameters {
			t.engine.Params.GetVariable(sum(p.Path())).SetNodeValue(grads[i])
		}
	}
	var err error
	t.first, err = t.engine.Compile(func(inputs []*graph.Node) []*graph.Node {
		value, _, grads := part(inputs)
		keep(value, grads)
		return []*graph.Node{value}
	})
	if err != nil {
		return err
	}
	t.program, err = t.engine.Compile(func(inputs []*graph.Node) []*graph.Node {
		value, nodes, grads := part(inputs[1:])
		scale := t.update(inputs[0], value, nodes, grads)
		zeros := make([]*graph.Node, len(grads))
		for i, g := range grads {
			zeros[i] = graph.ZerosLike(g)
		}
		keep(graph.ZerosLike(value), zeros)
		return []*graph.Node{value, scale}
	})
	return err
}

// lossSum is where the loss of the parts before is.
const lossSum = "/accumulated"

// sum is where the gradient of a parameter, of the parts before, is.
func sum(path string) string { return "/optimizer" + path + "/sum" }

// rows returns the rows of one part, by its number.
func rows(inputs []*graph.Node, part *graph.Node, parts int) []*graph.Node {
	out := make([]*graph.Node, len(inputs))
	for i, x := range inputs {
		dims := x.Shape().Dimensions
		if len(dims) == 0 || dims[0]%parts != 0 {
			panic(fmt.Errorf("nn: a batch of shape %s in %d parts: want a number of rows that they divide", x.Shape(), parts))
		}
		split := append([]int{parts, dims[0] / parts}, dims[1:]...)
		out[i] = graph.Reshape(graph.Gather(graph.Reshape(x, split...), graph.Reshape(part, 1)), split[1:]...)
	}
	return out
}

// run computes the loss and the update of a step, in parts if so wanted.
func (t *Trainer) run(schedule []float32, inputs []any) ([]*tensors.Tensor, error) {
	if t.parts <= 1 {
		return t.program.Run(append([]any{schedule}, inputs...)...)
	}
	last := t.parts - 1
	for part := range last {
		out, err := t.first.Run(append([]any{int32(part)}, inputs...)...)
		if err != nil {
			return nil, err
		}
		out[0].FinalizeAll()
	}
	return t.program.Run(append([]any{schedule, int32(last)}, inputs...)...)
}
