package smallworld

import (
	"context"
	"path/filepath"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
	"github.com/doob-diffusion/doob/vision"
)

// encoder trains CLIP on pictures and captions of the data: of a batch, which caption is whose (Radford et al. 2021). Pictures of one caption share it.
func (t Training) encoder(ctx context.Context) error {
	const steps, batch = 1500, 64
	key := t.key.Sub("encoder")
	c, err := sd.ReadCLIP(t.file("clip"))
	if err != nil {
		return err
	}
	words, err := tokenizer.OpenCLIP(t.file("clip"))
	if err != nil {
		return err
	}
	m, err := sd.Create(t.engine.Scope("/clip"), c.Tensors(), key)
	if err != nil {
		return err
	}
	loss := func(in []*graph.Node) *graph.Node {
		scale := graph.Exp(engine.Parameter(m.Scope.GetVariable("logit_scale"), in[0]))
		cosines := graph.DotGeneral(c.Pictures(m, in[0]), []int{1}, nil, c.Texts(m, in[1]), []int{1}, nil)
		logits := graph.Mul(scale, cosines)
		cross := func(axis int) *graph.Node {
			return graph.ReduceAllSum(graph.Mul(in[2], graph.LogSoftmax(logits, axis)))
		}
		return graph.MulScalar(graph.Add(cross(0), cross(1)), -0.5/batch)
	}
	x, picture := make([]float32, batch*pixels), make([]float32, pixels)
	scope, err := t.fit(ctx, "encoder", "/clip", steps, nn.Optimizer{LearningRate: 1e-3, WeightDecay: 0.01, EMA: 0.999}, loss, func(step int) []any {
		captions := make([]string, batch)
		for i := range batch {
			s, caption := world.Example(key, step*batch+i)
			s.Draw(key, step*batch+i, picture)
			copy(x[i*pixels:], vision.FromSample(picture, world.Side, world.Side).Prepare(world.Side))
			captions[i] = caption.String()
		}
		return []any{engine.Rows(x, world.Side, world.Side, 3), clipIDs(words, captions), shared(captions)}
	})
	if err != nil {
		return err
	}
	m.Scope = scope
	return m.Save(filepath.Join(t.file("clip"), "model.safetensors"), c.Tensors(), checkpoint.F16, saved)
}

// shared returns which captions are equal, as probabilities along either axis, [captions, captions].
func shared(captions []string) *tensors.Tensor {
	n := len(captions)
	out := make([]float32, n*n)
	for i, a := range captions {
		var same float32
		for _, b := range captions {
			if a == b {
				same++
			}
		}
		for j, b := range captions {
			if a == b {
				out[i*n+j] = 1 / same
			}
		}
	}
	return tensors.FromFlatDataAndDimensions(out, n, n)
}
