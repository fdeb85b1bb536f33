package main

import (
	"context"
	"math"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// budget is the size of a run.
type budget struct{ iterations, paths, updates, samples int }

var whole = budget{iterations: 16, paths: 512, updates: 60, samples: 4096}

// toy is the grid of the toy with its exact score: 25 Gaussians, tilted to four of them.
type toy struct {
	prior, tilted *gmm.Mixture
	reward        reward.Mixture
	logZ          float64 // of the process; that of the chain is another
	steps         []diffusion.Step
}

func newToy() (t toy, err error) {
	var means [][]float64
	weights := make([]float64, 25)
	for i := range weights {
		weights[i], means = 1, append(means, []float64{float64(i%5 - 2), float64(i/5 - 2)})
	}
	if t.prior, err = gmm.Isotropic(weights, means, 0.12); err != nil {
		return t, err
	}
	if t.reward.Density, err = gmm.Isotropic([]float64{0.4, 0.3, 0.2, 0.1}, [][]float64{{-1, -1}, {1, -1}, {1, 1}, {-1, 1}}, 0.3); err != nil {
		return t, err
	}
	t.steps = diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, diffusion.Times(30, 2))
	t.tilted, t.logZ, err = t.prior.Times(t.reward.Density)
	return t, err
}

// sampler simulates with a control, and weighs for it, on paths that another one drives; on its own for nil.
func (t toy) sampler(e *engine.Engine, h, drive diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Steps: t.steps, Shape: []int{2}, Base: diffusion.Mixture{Density: t.prior}, Control: h, Drive: drive, Batch: 512}
}

// truth is the tilted law of the chain: its log Z with a standard error, and the shares of its modes.
type truth struct {
	LogZ   float64   `json:"log_z"`
	LogZSE float64   `json:"log_z_se"`
	ESS    float64   `json:"ess_fraction"`
	shares []float64 // of the cells around the means of the prior
}

// truth weighs so many paths of the h* of the process: any h has exact weights, and this one the best.
func (t toy) truth(ctx context.Context, e *engine.Engine, paths int) (truth, error) {
	const part = 1 << 15
	s := t.sampler(e, htransform.Exact{Prior: t.prior, Tilted: t.tilted}, nil)
	all := finetune.Weighted{}
	for from := 0; from < paths; from += part {
		p, err := s.Run(ctx, noise.New(1).Sub("truth"), from, min(part, paths-from), nil)
		if err != nil {
			return truth{}, err
		}
		w, err := finetune.Weigh(ctx, p, t.reward)
		if err != nil {
			return truth{}, err
		}
		all.X, all.LogW = append(all.X, w.X...), append(all.LogW, w.LogW...)
	}
	c := finetune.Evidence(all.LogW, 0)
	out := truth{LogZ: float64(c.LogZ), LogZSE: float64(c.LogZSE), ESS: float64(c.ESS), shares: make([]float64, len(t.prior.Means()))}
	for i, lw := range all.LogW {
		cell := metric.ModeWeights(all.X[2*i:2*i+2], 2, t.prior.Means())
		for j, in := range cell {
			out.shares[j] += in * math.Exp(lw-float64(c.LogZ)) / float64(len(all.LogW))
		}
	}
	return out, nil
}

// outcome is what a run comes to.
type outcome struct {
	LogZ float64 // pooled over its batches
	Last float64 // log Ẑ of the last batch alone
	TV   float64 // total variation between the modes of samples of the last h and those of the tilted law
	ESS  float64 // of those samples by the weights of their own h, as a share
}

// run learns h on batches that are so many iterations old, weighed in some way.
func (t toy) run(ctx context.Context, e *engine.Engine, b budget, staleness int, w weighing, seed uint64, shares []float64) (outcome, error) {
	key := noise.New(seed)
	h := t.control(e, "/h", key)
	s := t.sampler(e, nil, nil)
	objective, err := finetune.NewSupervised(s, h, finetune.Training{Updates: b.updates, Batch: 256, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}},
		Optimizer: nn.Optimizer{LearningRate: 6e-3, EMA: 0.99}}, 1e-4)
	if err != nil {
		return outcome{}, err
	}
	watch := &watching{Relaxed: finetune.Relaxed{Rate: finetune.Rate{0.1, 0.3}}}
	f := finetune.FineTuning{Sampler: s, Reward: t.reward, Selector: watch, Objective: objective,
		Buffer: &finetune.Buffer{Capacity: 2048, Dim: 2}, Iterations: b.iterations, Paths: b.paths, Key: key.Sub("loop"), Staleness: staleness}
	if w != own {
		f.Simulate = t.weighed(e, finetune.Averaged(e, h), w, &f)
	}
	var log finetune.Event
	f.Observe = func(ev finetune.Event) { log = ev }
	if err := f.Run(ctx); err != nil {
		return outcome{}, err
	}
	paths, err := s.Run(ctx, key.Sub("samples"), 0, b.samples, nil)
	if err != nil {
		return outcome{}, err
	}
	judged, err := finetune.Weigh(ctx, paths, t.reward)
	if err != nil {
		return outcome{}, err
	}
	return outcome{LogZ: float64(log.LogZ), Last: watch.last, ESS: metric.ESS(judged.LogW) / float64(b.samples),
		TV: metric.TotalVariation(metric.ModeWeights(paths.X, 2, t.prior.Means()), shares)}, nil
}

// watching is relaxed rejection that notes the log Ẑ of the batch it has seen last.
type watching struct {
	finetune.Relaxed
	last float64
}

// Accept implements [finetune.Selector].
func (w *watching) Accept(progress float64, logW, reward []float64) ([]float64, float64, error) {
	w.last = metric.LogMeanExp(logW)
	return w.Relaxed.Accept(progress, logW, reward)
}

// control is an h with new parameters below a path.
func (t toy) control(e *engine.Engine, path string, key noise.Key) htransform.RewardInformed {
	return htransform.RewardInformed{Reward: t.reward, NN2: htransform.Scale(e.Scope(path+"/nn2"), 16, 0, key),
		NN1: nn.MLP{Scope: e.Scope(path + "/nn1"), In: 6, Out: 2, Width: 32, Depth: 2, Octaves: 5, Timed: true}.Init(key, 0, 0)}
}
