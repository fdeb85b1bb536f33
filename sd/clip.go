package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Texts returns embeddings [batch, Projection] of token ids [batch, Positions]. They have length 1, so that the scalar product with that of a picture is
// CLIP's score of the pair, in [−1, 1]; others give 100 times as much, or 2.5 times without what is negative (Hessel et al. 2021).
func (c CLIP) Texts(m Modules, ids *graph.Node) *graph.Node {
	states := c.Text.Apply(m.below("text_model."), ids, 0)
	return unit(m.linear("text_projection", c.Text.Pooled(ids, states)))
}

// Pictures returns embeddings [batch, Projection], of length 1, of pictures [batch, Side, Side, 3] as package vision prepares them. The diversity of
// pictures is 1 less the mean scalar product over all pairs.
func (c CLIP) Pictures(m Modules, x *graph.Node) *graph.Node {
	states := c.Picture.apply(m.below("vision_model."), x)
	whole := graph.Squeeze(graph.SliceAxis(states, 1, graph.AxisElem(0)), 1)
	return unit(m.linear("visual_projection", m.layerNorm("vision_model.post_layernorm", whole, c.Picture.Epsilon)))
}

// apply returns the states [batch, Tokens, Width] of a picture, that of the whole first.
func (p PictureEncoder) apply(m Modules, x *graph.Node) *graph.Node {
	if d := x.Shape().Dimensions; len(d) != 4 || d[1] != p.Side || d[2] != p.Side || d[3] != 3 {
		panic(fmt.Errorf("sd: picture encoder of pictures %s: want [batch, %d, %d, 3]", x.Shape(), p.Side, p.Side))
	}
	batch := x.Shape().Dimensions[0]
	patches := m.conv("embeddings.patch_embedding", x, p.Patch, op.Padding{})
	whole := graph.BroadcastToDims(graph.Reshape(m.parameter("embeddings.class_embedding", x), 1, 1, p.Width), batch, 1, p.Width)
	x = graph.Concatenate([]*graph.Node{whole, graph.Reshape(patches, batch, -1, p.Width)}, 1)
	x = graph.Add(x, graph.InsertAxes(m.parameter("embeddings.position_embedding.weight", x), 0))
	layers := transformer{heads: p.Heads, epsilon: p.Epsilon, activation: activation(p.QuickGELU), product: op.Attention}
	return m.result("states", layers.of(m, "encoder", p.Layers, m.layerNorm("pre_layrnorm", x, p.Epsilon)))
}

// unit returns x [batch, width] with rows of length 1.
func unit(x *graph.Node) *graph.Node {
	return graph.Div(x, graph.Sqrt(graph.ReduceAndKeep(graph.Square(x), graph.ReduceSum, -1)))
}
