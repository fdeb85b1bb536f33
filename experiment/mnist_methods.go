package experiment

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
)

// mnistSeed is one repetition of fine-tuning and sampling.
type mnistSeed struct {
	*mnistRun
	seed  uint64
	key   noise.Key
	first bool // the seed whose checkpoints of all methods are kept, and whose samples are shown
	base  *basePool
}

// basePool are paths of the base model. They do not depend on the task, so all tasks share them: as the first iteration of
// Algorithm 1 with h⁰ = 0, as candidates of best-of-K, and as samples of the prior. Every method is charged for those it uses.
type basePool struct {
	paths   diffusion.Paths
	calls   int64 // per path
	seconds float64
}

// mnistOutcome is what a method produced on a task, before it is measured.
type mnistOutcome struct {
	samples      []float32
	diagnostics  *finetune.Diagnostics // of the paths behind the samples; nil for those that were chosen or resampled
	ess          float64
	scale        float64
	paths, calls int64
	seconds      float64
}

// method runs one method on one task and reports it.
func (s *mnistSeed) method(ctx context.Context, t *mnistTask, name string) error {
	total := 1
	if s.learned(name) {
		m, err := s.variant(name)
		if err != nil {
			return err
		}
		total = m.loop(name).Iterations
	}
	if s.folder.Resumed(s.seed, t.name, name) == nil {
		s.observe(Event{Seed: s.seed, Task: t.name, Stage: name, Total: total})
	}
	e := s.engine.Fork()
	var err error
	start := time.Now()
	o := &mnistOutcome{ess: float64(nan)}
	switch {
	case name == "base":
		err = s.fromBase(ctx, o, t)
	case name == "best_of_k":
		err = s.bestOf(ctx, o, t)
	case name == "resampled":
		err = s.resample(ctx, o, t)
	case name == "guidance":
		err = s.guide(ctx, o, e, t)
	case name == "smc":
		sampler := s.sampler(e, s.prior, steer.Twisted{Reward: t.reward, Scale: 1})
		sampler.Twist = steer.LogTwist(t.reward, nil)
		err = s.particles(ctx, o, sampler, t, 1)
	case name == "importance_amplified":
		err = s.amplify(ctx, o, e, t)
	case name == "importance_rejection":
		err = s.reject(ctx, o, e, t)
	case name == "importance_smc":
		var h diffusion.Control
		if h, err = s.load(e, t, "importance"); err == nil {
			sampler := s.sampler(e, s.prior, h)
			sampler.Twist = steer.LogTwist(t.reward, nil)
			err = s.particles(ctx, o, sampler, t, s.ImportanceSMC.Particles)
			o.charge(s.book.result(s.seed, t.name, "importance"), s.Samples, len(s.Process.steps(0)))
		}
	default:
		var h diffusion.Control
		if h, err = s.fineTune(ctx, o, e, t, name); err == nil {
			err = s.draw(ctx, o, e, t, h)
		}
	}
	if err != nil {
		return err
	}
	o.seconds += time.Since(start).Seconds()
	o.paths, o.calls = o.paths+e.Paths(), o.calls+e.NetworkCalls()
	result := &MNISTResult{Scale: o.scale, ESSFraction: finetune.Number(o.ess), KL: nan, Paths: o.paths, NetworkCalls: o.calls, Seconds: o.seconds}
	if o.diagnostics != nil {
		result.ESSFraction, result.KL = o.diagnostics.ESS, o.diagnostics.KL
	}
	if result.MNISTMetrics, err = s.metrics(ctx, t, o.samples); err != nil {
		return err
	}
	if s.first {
		n := min(64, s.Samples)
		if err := report.ImageGrid(s.folder.File("samples", fileName(name, t.name)+".png"), o.samples[:n*pixels], n, 28, 28, 1, 8); err != nil {
			return err
		}
	}
	s.observe(Event{Seed: s.seed, Task: t.name, Stage: name, Done: total, Total: total, Result: result})
	return nil
}

// charge adds what an earlier method has cost, without the samples that it drew for its own metrics.
func (o *mnistOutcome) charge(r *MNISTResult, samples, steps int) {
	o.paths += r.Paths - int64(samples)
	o.calls += r.NetworkCalls - int64(2*samples*steps)
	o.seconds += r.Seconds
}

// basePaths returns how many base paths a seed needs.
func (m *MNIST) basePaths() int {
	n := m.Samples
	if m.wants("best_of_k") {
		n *= m.BestOfK
	}
	return max(n, m.Pool)
}

// pool returns the base paths, simulated once.
func (s *mnistSeed) pool(ctx context.Context) (*basePool, error) {
	if s.base != nil {
		return s.base, nil
	}
	n := s.basePaths()
	start := time.Now()
	e := s.engine.Fork()
	paths, err := s.sampler(e, s.prior, nil).Run(ctx, s.key.Sub("samples"), 0, n, nil)
	if err != nil {
		return nil, err
	}
	s.base = &basePool{paths: paths, calls: e.NetworkCalls() / int64(n), seconds: time.Since(start).Seconds()}
	return s.base, nil
}

// take returns the first n base paths, and charges for them.
func (s *mnistSeed) take(ctx context.Context, o *mnistOutcome, n int) (diffusion.Paths, error) {
	start := time.Now()
	p, err := s.pool(ctx)
	if err != nil {
		return diffusion.Paths{}, err
	}
	o.seconds += p.seconds*float64(n)/float64(p.paths.N) - time.Since(start).Seconds()
	o.paths, o.calls = o.paths+int64(n), o.calls+int64(n)*p.calls
	return diffusion.Paths{N: n, Dim: p.paths.Dim, X: p.paths.X[:n*p.paths.Dim], LogRatio: p.paths.LogRatio[:n], Energy: p.paths.Energy[:n]}, nil
}

func (s *mnistSeed) fromBase(ctx context.Context, o *mnistOutcome, t *mnistTask) error {
	paths, err := s.take(ctx, o, s.Samples)
	if err != nil {
		return err
	}
	return o.weigh(ctx, paths, t)
}

// weigh takes what path weights say of samples.
func (o *mnistOutcome) weigh(ctx context.Context, paths diffusion.Paths, t *mnistTask) error {
	weighted, err := finetune.Weigh(ctx, paths, t.reward)
	if err != nil {
		return err
	}
	d := weighted.Diagnostics()
	o.samples, o.diagnostics = paths.X, &d
	return nil
}

// bestOf keeps the best of every K base paths.
func (s *mnistSeed) bestOf(ctx context.Context, o *mnistOutcome, t *mnistTask) error {
	paths, err := s.take(ctx, o, s.Samples*s.BestOfK)
	if err != nil {
		return err
	}
	rewards, err := t.reward.Rewards(ctx, paths.X, paths.N)
	if err != nil {
		return err
	}
	o.samples = steer.Best(paths, rewards, s.BestOfK)
	return nil
}

// resample weighs base paths by exp r and resamples their endpoints: for many of them, samples of the tilted law itself, and so
// what the other methods would give if they had no error but that of the prior.
func (s *mnistSeed) resample(ctx context.Context, o *mnistOutcome, t *mnistTask) error {
	paths, err := s.take(ctx, o, max(s.Samples, s.Pool))
	if err != nil {
		return err
	}
	rewards, err := t.reward.Rewards(ctx, paths.X, paths.N)
	if err != nil {
		return err
	}
	o.samples = steer.Particles{Paths: paths, LogW: rewards}.Resample(s.Samples, s.key.Sub("resampled"))
	o.ess = metric.ESS(rewards) / float64(paths.N)
	return nil
}

// guide draws with classifier guidance, its scale tuned.
func (s *mnistSeed) guide(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask) error {
	return s.scaled(ctx, o, e, t, s.Guidance, func(scale float64) diffusion.Control {
		return steer.Guidance{Reward: t.reward, Scale: scale}
	})
}

// amplify draws from the h that importance has learned, times a scale tuned as that of guidance.
func (s *mnistSeed) amplify(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask) error {
	h, err := s.load(e, t, "importance")
	if err != nil {
		return err
	}
	o.charge(s.book.result(s.seed, t.name, "importance"), s.Samples, len(s.Process.steps(0)))
	return s.scaled(ctx, o, e, t, s.Amplified, func(scale float64) diffusion.Control {
		return steer.Amplified{Control: h, Scale: scale}
	})
}

// reject draws paths of the h that importance has learned, and accepts some by their weights.
func (s *mnistSeed) reject(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask) error {
	h, err := s.load(e, t, "importance")
	if err != nil {
		return err
	}
	o.charge(s.book.result(s.seed, t.name, "importance"), s.Samples, len(s.Process.steps(0)))
	o.samples, err = accepted(ctx, s.sampler(e, s.prior, h), t.reward, s.key.Sub("samples"), s.Samples, s.Rejection.Rate)
	return err
}

// scaled tunes a control for sample quality, as the paper does guidance: it draws with that of the scale whose samples have the
// least Fréchet distance to training images of the classes.
func (s *mnistSeed) scaled(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask, g Guidance, h func(scale float64) diffusion.Control) error {
	want, err := s.features.of(ctx, only(s.images.Train, t.classes, 1000))
	if err != nil {
		return err
	}
	o.scale, err = steer.TuneScale(g.Scales, func(scale float64) (float64, error) {
		paths, err := s.sampler(e, s.prior, h(scale)).Run(ctx, s.key.Sub("tune"), 0, g.Paths, nil)
		if err != nil {
			return 0, err
		}
		f, err := s.features.of(ctx, paths.X)
		return -metric.FrechetDistance(f, want, s.features.size), err
	})
	if err != nil {
		return err
	}
	return s.draw(ctx, o, e, t, h(o.scale))
}

// draw samples P^h, with the noise of the base samples.
func (s *mnistSeed) draw(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask, h diffusion.Control) error {
	paths, err := s.sampler(e, s.prior, h).Run(ctx, s.key.Sub("samples"), 0, s.Samples, nil)
	if err != nil {
		return err
	}
	return o.weigh(ctx, paths, t)
}

// particles draws by sequential Monte Carlo, with factor particles per returned sample.
func (s *mnistSeed) particles(ctx context.Context, o *mnistOutcome, sampler *diffusion.Sampler, t *mnistTask, factor int) error {
	p, err := steer.SMC{Sampler: sampler, Reward: t.reward, Threshold: s.SMC.Threshold}.Run(ctx, s.key.Sub("particles"), factor*s.Samples)
	if err != nil {
		return err
	}
	o.samples, o.ess = p.Resample(s.Samples, s.key.Sub("final")), metric.ESS(p.LogW)/float64(p.N)
	return nil
}

// fineTune runs Algorithm 1 with the selector and objective of a method, saves the averaged h and returns it.
func (s *mnistSeed) fineTune(ctx context.Context, o *mnistOutcome, e *engine.Engine, t *mnistTask, name string) (diffusion.Control, error) {
	m, err := s.variant(name)
	if err != nil {
		return nil, err
	}
	loop, path, key := m.loop(name), "/h", s.key.Sub(t.name)
	training := loop.Training
	h, err := m.control(e, path, t.reward, s.prior, key.Sub("h")) // the same initial h for every method
	if err != nil {
		return nil, err
	}
	sampler := m.sampler(e, s.prior, h)
	var selector finetune.Selector = finetune.Relaxed{Rate: loop.Acceptance}
	var objective finetune.Objective
	switch name {
	case "vargrad":
		objective, err = finetune.NewVarGrad(sampler, h, training.Optimizer, loop.Steps)
	default:
		objective, err = finetune.NewSupervised(sampler, h, training, loop.KL)
	}
	if err != nil {
		return nil, err
	}
	switch name {
	case "reward_only":
		selector = finetune.RewardOnly{Rate: loop.Acceptance}
	case "raft":
		selector = finetune.BestOf{K: loop.BestOf}
	}
	average := finetune.Averaged(e, h)
	f := &finetune.FineTuning{Sampler: sampler, Reward: t.reward, Selector: selector, Objective: objective,
		Buffer: &finetune.Buffer{Capacity: loop.Buffer, Dim: pixels}, Iterations: loop.Iterations, Paths: loop.Paths, Key: key.Sub("importance")}
	if name != "vargrad" { // whose gradient is exact only on its own h
		if m.Pool > 0 {
			first, err := s.take(ctx, o, m.Pool)
			if err != nil {
				return nil, err
			}
			f.First = &first
		}
	}
	preview := s.sampler(e, s.prior, average)
	seconds, err := s.tune(ctx, tuning{stage: stage{s.seed, t.name, name}, engine: e, path: path, algorithm: f, preview: func(done int) error {
		if !s.first || name != "importance" || m.Previews == 0 || done == 0 || done%m.Previews != 0 && done != 1 {
			return nil
		}
		return s.preview(ctx, preview, t, done)
	}})
	if err != nil {
		return nil, err
	}
	o.seconds += seconds
	return average, s.save(e, t, name)
}

// preview draws a few samples with fixed noise, which count neither as paths nor as calls of the method.
func (s *mnistSeed) preview(ctx context.Context, sampler *diffusion.Sampler, t *mnistTask, done int) error {
	const shown = 10
	paths, calls := sampler.Engine.Paths(), sampler.Engine.NetworkCalls()
	p, err := sampler.Run(ctx, s.key.Sub("samples"), 0, shown, nil)
	if err != nil {
		return err
	}
	sampler.Engine.Recount(paths, calls)
	name := fmt.Sprintf("%s_iteration_%03d.png", fileName("importance", t.name), done)
	return report.ImageGrid(s.folder.File("samples", name), p.X, shown, 28, 28, 1, shown)
}

// checkpointName returns the file of what a method has learned, of the run's first seed without the seed.
func (m *MNIST) checkpointName(method, task string, seed uint64) string {
	name := fileName(method, task)
	if seed != m.Seed {
		name += fmt.Sprintf("_seed_%d", seed)
	}
	return name + ".safetensors"
}

func fileName(method, task string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' {
			return '-'
		}
		return r
	}, method) + "_" + task
}

// save keeps the averaged h: of all methods for the first seed, for the others what a method after it needs.
func (s *mnistSeed) save(e *engine.Engine, t *mnistTask, name string) error {
	if !s.first && name != "importance" {
		return nil
	}
	metadata := s.metadata("h")
	metadata["task"], metadata["method"], metadata["fine_tuning_seed"] = t.name, name, fmt.Sprint(s.seed)
	return saveParameters(s.folder.File("checkpoint", s.checkpointName(name, t.name, s.seed)), e, metadata, nn.Averaged("/h"))
}

// load returns the averaged h that a method has learned, or as it was amplified.
func (s *mnistSeed) load(e *engine.Engine, t *mnistTask, name string) (diffusion.Control, error) {
	if name == "importance_amplified" {
		h, err := s.load(e, t, "importance")
		return steer.Amplified{Control: h, Scale: s.book.result(s.seed, t.name, name).Scale}, err
	}
	m, err := s.variant(name)
	if err != nil {
		return nil, err
	}
	path := nn.Averaged("/h")
	h, err := m.control(e, path, t.reward, s.prior, s.key)
	if err != nil {
		return nil, err
	}
	return h, loadParameters(s.folder.File("checkpoint", s.checkpointName(name, t.name, s.seed)), e, path)
}
