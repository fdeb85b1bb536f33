package smallworld

import (
	"context"
	"math"
	"strings"

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
	Picture: sd.PictureEncoder{Width: 64, Intermediate: 128, Layers: 2, Heads: 16, Side: world.Side, Patch: 4, Epsilon: 1e-6},
	Text:    sd.MatchEncoder{Vocabulary: len(wordPieces()) + 2, Positions: rewardLength, Width: 48, Intermediate: 96, Layers: 2, Heads: 4, Epsilon: 1e-12},
	Joint:   1,
	Head:    []int{48, 32, 16, 16, 8, 1},
}

// rewardLength is the number of tokens that ImageReward takes.
const rewardLength = 35

// preference trains a preference model on comparisons (Bradley and Terry 1952): −log of the logistic function of the difference of the two scores. So scores are
// [world.Worth] but for a constant of the caption, as far as comparisons tell. A tenth of what pictures do not tell of what they show is added: ImageReward's
// encoder has seen captioned pictures before too, and from comparisons alone this one is slow to see anything.
func (t Training) preference(ctx context.Context, name string) error {
	const steps, batch = 4000, 32
	key := t.key.Sub(name)
	m, err := sd.Create(t.engine.Scope("/"+name), Preference.Tensors(), key)
	if err != nil {
		return err
	}
	if err := widen(m); err != nil {
		return err
	}
	teller, err := sd.Create(t.engine.Scope("/"+name+"/teller"), map[string][]int{"weight": {allLogits, Preference.Picture.Width}}, key.Sub("teller"))
	if err != nil {
		return err
	}
	words, err := tokenizer.OpenWordPiece(t.file(name+"/vocab.txt"), "[DEC]", "[ENC]")
	if err != nil {
		return err
	}
	loss := func(in []*graph.Node) *graph.Node {
		whole := graph.Squeeze(graph.SliceAxis(Preference.States(m, in[0]), 1, graph.AxisElem(0)), 1)
		logits := graph.DotGeneral(whole, []int{1}, nil, engine.Parameter(teller.Scope.GetVariable("weight"), whole), []int{1}, nil)
		told := graph.MulScalar(graph.ReduceAllSum(graph.Mul(in[3], logProbabilities(logits))), 1.0/(2*batch))
		score := graph.Reshape(Preference.Score(m, in[0], in[1], in[2]), 2, batch) // of those that were preferred, and of the others
		lead := graph.Sub(graph.SliceAxis(score, 0, graph.AxisElem(0)), graph.SliceAxis(score, 0, graph.AxisElem(1)))
		return graph.Sub(graph.ReduceAllMean(graph.Log1P(graph.Exp(graph.Neg(lead)))), graph.MulScalar(told, 0.1))
	}
	scope, err := t.fit(ctx, name, "/"+name, steps, nn.Optimizer{LearningRate: 1e-3, WeightDecay: 0.01, EMA: 0.999}, loss, func(step int) []any {
		captions, x, shown := comparisons(key, step*batch, batch)
		ids, used := wordIDs(words, captions)
		return []any{engine.Rows(x, world.Side, world.Side, 3), ids, used, shown}
	})
	if err != nil {
		return err
	}
	m.Scope = scope
	return m.Save(t.file(name+"/ImageReward.safetensors"), Preference.Tensors(), checkpoint.F16, saved)
}

// widen gives the head's linear maps, which have nothing between them, a variance of 1/fan-in: of a third of that six of them would leave a score of 1/27, and
// as much of its gradients.
func widen(m sd.Modules) error {
	for v := range m.Scope.IterVariables() {
		if !strings.HasPrefix(v.Name(), "mlp.layers.") || !strings.HasSuffix(v.Name(), ".weight") {
			continue
		}
		values, err := v.Value()
		if err != nil {
			return err
		}
		var wide []float32
		values.ConstFlatData(func(flat any) {
			for _, x := range flat.([]float32) {
				wide = append(wide, x*float32(math.Sqrt(3)))
			}
		})
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(wide, values.Shape().Dimensions...)); err != nil {
			return err
		}
	}
	return nil
}

// comparisons returns n of them as two halves of a batch: first the pictures that were preferred, prepared, then the others, with the captions of both
// and what they show, [2n, allLogits].
func comparisons(key noise.Key, from, n int) (captions []string, x []float32, shown *tensors.Tensor) {
	captions, x = make([]string, 2*n), make([]float32, 2*n*pixels)
	picture, right := make([]float32, pixels), make([]float32, 2*n*allLogits)
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
			mark(right[at*allLogits:], view.Scene)
		}
	}
	return captions, x, tensors.FromFlatDataAndDimensions(right, 2*n, allLogits)
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
