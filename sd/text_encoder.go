package sd

import (
	"fmt"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Apply returns the states of tokens, which the U-Net attends to: [batch, Positions, Width] for ids [batch, Positions]. They are what the layers but
// the last skip make of the tokens, normalised (skip 0 is how the models are trained; users know others as "clip skip"). Padding is a token as any
// other: each sees itself and those before it.
func (e TextEncoder) Apply(m Modules, ids *graph.Node, skip int) *graph.Node {
	if d := ids.Shape().Dimensions; len(d) != 2 || d[1] != e.Positions {
		panic(fmt.Errorf("sd: text encoder of ids %s: want [batch, %d]", ids.Shape(), e.Positions))
	}
	if skip < 0 || skip > e.Layers {
		panic(fmt.Errorf("sd: text encoder without its last %d layers: want 0 to %d", skip, e.Layers))
	}
	x := m.rows("embeddings.token_embedding.weight", ids)
	x = m.result("embeddings", graph.Add(x, graph.InsertAxes(m.parameter("embeddings.position_embedding.weight", x), 0)))
	layers := transformer{heads: e.Heads, epsilon: e.Epsilon, activation: activation(e.QuickGELU), product: op.CausalAttention}
	x = layers.of(m, "encoder", e.Layers-skip, x)
	return m.layerNorm("final_layer_norm", x, e.Epsilon)
}

// Pooled returns the state [batch, Width] of each text as a whole, that of its first end-of-text token, of states [batch, Positions, Width].
//
// Files written before transformers knew better say EOS 2, which is no end of text; there it is at the largest id, the first one of equals.
func (e TextEncoder) Pooled(ids, states *graph.Node) *graph.Node {
	ids = graph.ConvertDType(ids, dtypes.Int32)
	score := ids
	if e.EOS != 2 {
		score = graph.ConvertDType(graph.Equal(ids, graph.Scalar(ids.Graph(), dtypes.Int32, e.EOS)), dtypes.Int32)
	}
	at := graph.ArgMax(score, -1, dtypes.Int32)
	chosen := graph.OneHot(at, e.Positions, states.DType())
	return graph.Einsum("bp,bpw->bw", chosen, states)
}
