package smallworld

import (
	"context"
	"encoding/json"
	"math"
	"os"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

const pixels = world.Side * world.Side * 3

// autoencoder trains the autoencoder: the mean absolute and squared errors of pixels, and a little of the Kullback–Leibler divergence of latents from N(0, I),
// as in Rombach et al. (2022) but without a discriminator. Then it measures the scale that gives latents a variance of 1.
func (t Training) autoencoder(ctx context.Context, f *sd.Folder) error {
	const steps, batch, weight = 3000, 32, 2e-4
	key := t.key.Sub("autoencoder")
	vae := f.VAE
	vae.Scale = 1
	m, err := sd.Create(t.engine.Scope("/vae"), vae.Tensors(), key)
	if err != nil {
		return err
	}
	loss := func(in []*graph.Node) *graph.Node {
		mean, logVariance := vae.Encode(m, in[0])
		off := graph.Sub(vae.Decode(m, vae.Latents(mean, logVariance, in[1])), in[0])
		kl := graph.ReduceAllMean(graph.Sub(graph.Add(graph.Square(mean), graph.Exp(logVariance)), graph.AddScalar(logVariance, 1)))
		return graph.Add(graph.Add(graph.ReduceAllMean(graph.Abs(off)), graph.ReduceAllMean(graph.Square(off))), graph.MulScalar(kl, weight/2))
	}
	x, side := make([]float32, batch*pixels), world.Side/vae.Factor()
	eps := make([]float32, batch*side*side*vae.Latent)
	scope, err := t.fit(ctx, "autoencoder", "/vae", steps, nn.Optimizer{LearningRate: 2e-3, EMA: 0.998}, loss, func(step int) []any {
		examples(x, key, step*batch)
		key.Sub("noise").Normal(eps, uint64(step), 0)
		return []any{engine.Rows(x, world.Side, world.Side, 3), engine.Rows(eps, side, side, vae.Latent)}
	})
	if err != nil {
		return err
	}
	m.Scope = scope
	means, _, err := t.latents(ctx, m, vae, key.Sub("scale"), t.steps(2048))
	if err != nil {
		return err
	}
	var sum, square float64
	for _, v := range means {
		sum, square = sum+float64(v), square+float64(v)*float64(v)
	}
	n := float64(len(means))
	vae.Scale = math.Round(1e4/math.Sqrt(square/n-sum*sum/(n*n))) / 1e4
	if err := t.setScale(vae.Scale); err != nil {
		return err
	}
	f.VAE = vae
	return m.Save(t.file("model/vae/diffusion_pytorch_model.safetensors"), vae.Tensors(), checkpoint.F16, saved)
}

// reconstructor makes of pictures [batch, Side, Side, 3] what the autoencoder keeps of them.
func reconstructor(e *engine.Engine, f *sd.Folder) (*engine.Program, error) {
	w, err := f.VAEWeights()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	m, err := w.Load(e.Scope("/reconstructor"), nil)
	if err != nil {
		return nil, err
	}
	return e.Compile(func(in []*graph.Node) []*graph.Node {
		mean, _ := f.VAE.Encode(m, in[0])
		return []*graph.Node{f.VAE.Decode(m, graph.MulScalar(mean, f.VAE.Scale))}
	})
}

// setScale writes the scale of latents into the configuration.
func (t Training) setScale(scale float64) error {
	path := t.file("model/vae/config.json")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	values := map[string]any{}
	if err := json.Unmarshal(text, &values); err != nil {
		return err
	}
	values["scaling_factor"] = scale
	if text, err = json.MarshalIndent(values, "", "  "); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}

// examples fills x with pictures of the data, from one on.
func examples(x []float32, key noise.Key, from int) {
	for i := range len(x) / pixels {
		s, _ := world.Example(key, from+i)
		s.Draw(key, from+i, x[i*pixels:(i+1)*pixels])
	}
}

// latents returns means and log variances of the latents of n pictures of the data, before they are scaled.
func (t Training) latents(ctx context.Context, m sd.Modules, vae sd.VAE, key noise.Key, n int) (means, logVariances []float32, err error) {
	x := make([]float32, n*pixels)
	examples(x, key, 0)
	for i, out := range []*[]float32{&means, &logVariances} {
		p, err := t.engine.Compile(func(in []*graph.Node) []*graph.Node {
			mean, logVariance := vae.Encode(m, in[0])
			return []*graph.Node{[]*graph.Node{mean, logVariance}[i]}
		})
		if err != nil {
			return nil, nil, err
		}
		if *out, err = p.Map(ctx, x, n, 64, world.Side, world.Side, 3); err != nil {
			return nil, nil, err
		}
	}
	return means, logVariances, nil
}
