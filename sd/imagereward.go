package sd

import (
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/op"
)

// Mean and standard deviation of the head's output over the pictures that ImageReward was trained on: its rewards are in units of these.
const rewardMean, rewardSD = 0.16717362830052426, 1.0333394966054072

// Score returns the rewards [batch] of pictures [batch, Side, Side, 3], as package vision prepares them, for texts: token ids [batch, tokens] by
// WordPiece, and used [batch, tokens], which is 1 for tokens and 0 for padding.
func (c ImageReward) Score(m Modules, x, ids, used *graph.Node) *graph.Node {
	states := c.States(m, x)
	h := c.Text.match(m.below(rewardText), ids, used, states)
	h = m.result("text", graph.Squeeze(graph.SliceAxis(h, 1, graph.AxisElem(0)), 1))
	for _, place := range rewardHead { // purely linear, as published
		h = m.linear(at("mlp.layers.%d", place), h)
	}
	return graph.Squeeze(graph.DivScalar(graph.AddScalar(h, -rewardMean), rewardSD), 1)
}

// States returns what the text is compared with: states of the whole picture and of its patches, [batch, Tokens, Width], by the transformer of Dosovitskiy
// et al. (2021).
func (c ImageReward) States(m Modules, x *graph.Node) *graph.Node {
	m, p := m.below(rewardPicture), c.Picture
	if d := x.Shape().Dimensions; len(d) != 4 || d[1] != p.Side || d[2] != p.Side || d[3] != 3 {
		panic(fmt.Errorf("sd: ImageReward of pictures %s: want [batch, %d, %d, 3]", x.Shape(), p.Side, p.Side))
	}
	batch := x.Shape().Dimensions[0]
	patches := graph.Reshape(m.conv("patch_embed.proj", x, p.Patch, op.Padding{}), batch, -1, p.Width)
	whole := graph.BroadcastToDims(m.parameter("cls_token", x), batch, 1, p.Width)
	x = graph.Add(graph.Concatenate([]*graph.Node{whole, patches}, 1), m.parameter("pos_embed", x))
	for i := range p.Layers {
		block := at("blocks.%d", i)
		// Queries, keys and values of all heads come from one map.
		qkv := m.linear(block+".attn.qkv", m.layerNorm(block+".norm1", x, p.Epsilon))
		part := func(i int) *graph.Node {
			y := graph.SliceAxis(qkv, -1, graph.AxisRange(i*p.Width, (i+1)*p.Width))
			return graph.Reshape(y, batch, p.Tokens(), p.Heads, p.Width/p.Heads)
		}
		h := graph.Reshape(op.Attention(part(0), part(1), part(2)), batch, p.Tokens(), p.Width)
		x = graph.Add(x, m.linear(block+".attn.proj", h))
		h = op.GELU(m.linear(block+".mlp.fc1", m.layerNorm(block+".norm2", x, p.Epsilon)))
		x = graph.Add(x, m.linear(block+".mlp.fc2", h))
	}
	return m.layerNorm("norm", x, p.Epsilon)
}

// match returns the states [batch, tokens, Width] of a text that has seen the states of a picture, by the BERT of Li et al. (2022, "BLIP"), which
// normalises after every addition.
func (b MatchEncoder) match(m Modules, ids, used, picture *graph.Node) *graph.Node {
	d := ids.Shape().Dimensions
	if len(d) != 2 || d[1] > b.Positions || !used.Shape().EqualDimensions(ids.Shape()) {
		panic(fmt.Errorf("sd: ImageReward of ids %s, used %s: want twice [batch, tokens] with at most %d tokens", ids.Shape(), used.Shape(), b.Positions))
	}
	h := m.rows("embeddings.word_embeddings.weight", ids)
	positions := graph.SliceAxis(m.parameter("embeddings.position_embeddings.weight", h), 0, graph.AxisRange(0, d[1]))
	h = m.layerNorm("embeddings.LayerNorm", graph.Add(h, graph.InsertAxes(positions, 0)), b.Epsilon)

	hidden := graph.MulScalar(graph.AddScalar(graph.ConvertDType(used, h.DType()), -1), 1e4) // −10⁴ hides padding, as published
	itself := func(q, k, v *graph.Node) *graph.Node { return op.BiasedAttention(q, k, v, hidden) }
	a := attention{query: "self.query", key: "self.key", value: "self.value", out: "output.dense", heads: b.Heads}
	add := func(name string, h, more *graph.Node) *graph.Node {
		return m.layerNorm(name+".output.LayerNorm", graph.Add(h, more), b.Epsilon)
	}
	for i := range b.Layers {
		layer := at("encoder.layer.%d", i)
		a.product = itself
		h = add(layer+".attention", h, a.of(m, layer+".attention", h, h))
		a.product = op.Attention
		h = add(layer+".crossattention", h, a.of(m, layer+".crossattention", h, picture))
		h = add(layer, h, m.linear(layer+".output.dense", op.GELU(m.linear(layer+".intermediate.dense", h))))
	}
	return h
}
