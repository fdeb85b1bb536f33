package smallworld

import (
	"context"
	"math"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/sd"
)

// denoiser trains the U-Net with the text encoder to predict the noise in latents, as Stable Diffusion was. One caption in ten is empty, so that the U-Net
// can be guided.
func (t Training) denoiser(ctx context.Context, f *sd.Folder) error {
	const steps, batch, pictures, empty = 4000, 64, 24_000, 0.1
	key := t.key.Sub("denoiser")
	weights, err := f.VAEWeights()
	if err != nil {
		return err
	}
	defer weights.Close()
	vae, err := weights.Load(t.engine.Scope("/latents"), nil)
	if err != nil {
		return err
	}
	n := max(batch, t.steps(pictures))
	means, logVariances, err := t.latents(ctx, vae, f.VAE, key, n)
	if err != nil {
		return err
	}
	words, err := f.Tokenizer()
	if err != nil {
		return err
	}
	process, err := f.Schedule.Process()
	if err != nil {
		return err
	}
	unet, err := sd.Create(t.engine.Scope("/denoiser/unet"), f.UNet.Tensors(), key.Sub("unet"))
	if err != nil {
		return err
	}
	text, err := sd.Create(t.engine.Scope("/denoiser/text"), f.Text.Tensors(), key.Sub("text"))
	if err != nil {
		return err
	}
	loss := func(in []*graph.Node) *graph.Node {
		x, level, eps, ids := in[0], in[1], in[2], in[3]
		return graph.ReduceAllMean(graph.Square(graph.Sub(f.UNet.Apply(unet, x, level, f.Text.Apply(text, ids, 0)), eps)))
	}
	side := world.Side / f.VAE.Factor()
	dim := side * side * f.VAE.Latent
	x, eps, level := make([]float32, batch*dim), make([]float32, batch*dim), make([]int32, batch)
	captions := make([]string, batch)
	scope, err := t.fit(ctx, "denoiser", "/denoiser", steps, nn.Optimizer{LearningRate: 1e-3, EMA: 0.999}, loss, func(step int) []any {
		r := key.Sub("batch").At(step).Rand()
		key.Sub("noise").Normal(eps, uint64(step), 0)
		key.Sub("latents").Normal(x, uint64(step), 0)
		for i := range batch {
			of, k := r.IntN(n), r.IntN(process.Levels())
			bar := process.Bar(k)
			signal, sigma := math.Sqrt(bar)*f.VAE.Scale, math.Sqrt(1-bar)
			for j := range dim {
				at := i*dim + j
				z := float64(means[of*dim+j]) + math.Exp(float64(logVariances[of*dim+j])/2)*float64(x[at])
				x[at] = float32(signal*z + sigma*float64(eps[at]))
			}
			_, caption := world.Example(key, of)
			if captions[i] = caption.String(); r.Float64() < empty {
				captions[i] = ""
			}
			level[i] = int32(k)
		}
		return []any{engine.Rows(x, side, side, f.VAE.Latent), level, engine.Rows(eps, side, side, f.VAE.Latent), clipIDs(words, captions)}
	})
	if err != nil {
		return err
	}
	unet.Scope, text.Scope = t.engine.Scope(scope.Scope()+"/unet"), t.engine.Scope(scope.Scope()+"/text")
	if err := text.Save(t.file("model/text_encoder/model.safetensors"), f.Text.Tensors(), checkpoint.F16, saved); err != nil {
		return err
	}
	return unet.Save(t.file("model/unet/diffusion_pytorch_model.safetensors"), f.UNet.Tensors(), checkpoint.F16, saved)
}
