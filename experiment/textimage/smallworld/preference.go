package smallworld

import (
	"context"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
	"github.com/doob-diffusion/doob/vision"
)

// Preference is the sizes of the preference models. That of pictures has 16 attention heads, as ImageReward must have.
var Preference = sd.ImageReward{
	Picture: sd.PictureEncoder{Width: 64, Intermediate: 128, Layers: 3, Heads: 16, Side: world.Side, Patch: 4, Epsilon: 1e-6},
	Text:    sd.MatchEncoder{Vocabulary: len(wordPieces()) + 2, Positions: rewardLength, Width: 48, Intermediate: 96, Layers: 2, Heads: 4, Epsilon: 1e-12},
	Joint:   1,
	Head:    []int{48, 32, 16, 16, 8, 1},
}

// rewardLength is the number of tokens that ImageReward takes.
const rewardLength = 35

// preference trains a preference model on comparisons (Bradley and Terry 1952): −log of the logistic function of the difference of the two scores. So scores are
// [world.Worth] but for a constant of the caption, as far as comparisons tell.
func (t Training) preference(ctx context.Context, name string) error {
	const steps, batch = 5000, 48
	key := t.key.Sub(name)
	m, err := sd.Create(t.engine.Scope("/"+name), Preference.Tensors(), key)
	if err != nil {
		return err
	}
	words, err := tokenizer.OpenWordPiece(t.file(name+"/vocab.txt"), "[DEC]", "[ENC]")
	if err != nil {
		return err
	}
	loss := func(in []*graph.Node) *graph.Node {
		score := graph.Reshape(Preference.Score(m, in[0], in[1], in[2]), 2, batch) // of those that were preferred, and of the others
		lead := graph.Sub(graph.SliceAxis(score, 0, graph.AxisElem(0)), graph.SliceAxis(score, 0, graph.AxisElem(1)))
		return graph.ReduceAllMean(graph.Log1P(graph.Exp(graph.Neg(lead))))
	}
	scope, err := t.fit(ctx, name, "/"+name, steps, nn.Optimizer{LearningRate: 1e-3, WeightDecay: 0.01, EMA: 0.999}, loss, func(step int) []any {
		captions, x := comparisons(key, step*batch, batch)
		ids, used := wordIDs(words, captions)
		return []any{engine.Rows(x, world.Side, world.Side, 3), ids, used}
	})
	if err != nil {
		return err
	}
	m.Scope = scope
	return m.Save(t.file(name+"/ImageReward.safetensors"), Preference.Tensors(), checkpoint.F16, saved)
}

// comparisons returns n of them as two halves of a batch: first the pictures that were preferred, prepared, then the others, with the captions of both.
func comparisons(key noise.Key, from, n int) (captions []string, x []float32) {
	captions, x = make([]string, 2*n), make([]float32, 2*n*pixels)
	picture := make([]float32, pixels)
	for i := range n {
		c, a, b, first := world.Comparison(key, from+i)
		if !first {
			a, b = b, a
		}
		for half, view := range []world.View{a, b} {
			at := half*n + i
			view.Draw(key.Sub("half").At(half), from+i, picture)
			copy(x[at*pixels:], vision.FromSample(picture, world.Side, world.Side).Prepare(world.Side))
			captions[at] = c.String()
		}
	}
	return captions, x
}

// wordIDs returns the tokens of captions as ImageReward takes them, [captions, 35], and which of them are no padding.
func wordIDs(w *tokenizer.WordPiece, captions []string) (ids, used *tensors.Tensor) {
	var all []int32
	var mask []float32
	for _, text := range captions {
		tokens := w.Encode(text, rewardLength)
		for i, id := range tokens.IDs {
			all = append(all, int32(id))
			if i < tokens.Used {
				mask = append(mask, 1)
			} else {
				mask = append(mask, 0)
			}
		}
	}
	return tensors.FromFlatDataAndDimensions(all, len(captions), rewardLength), tensors.FromFlatDataAndDimensions(mask, len(captions), rewardLength)
}
