package experiment

import (
	"context"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/steer"
)

// toyRun is one seed of the toy.
type toyRun struct {
	*toyProblem
	seed    uint64
	key     noise.Key
	engine  *engine.Engine // holds the base model; methods work on forks of it
	base    diffusion.Model
	observe Observer
	folder  *Folder
	first   bool // the seed whose checkpoints and samples are kept
	// importance is what that method learned, for importance_smc.
	importance *outcome
}

// outcome is what a method produced, before it is measured.
type outcome struct {
	engine  *engine.Engine
	control diffusion.Control
	samples []float32 // [Samples, dim]
	// weights of the paths behind the samples; unset for particles that were resampled on the way
	diagnostics *finetune.Diagnostics
	logZ, ess   float64
	seconds     float64
}

// method runs one method on a fork of the run's engine.
func (r *toyRun) method(ctx context.Context, name string) (*outcome, error) {
	start := time.Now()
	e := r.engine.Fork()
	var err error
	o := &outcome{engine: e}
	key := r.key.Sub(name)
	switch name {
	case "base":
		err = r.draw(ctx, o, key)
	case "guidance":
		if o.control, err = r.tuneGuidance(ctx, e, key.Sub("tune")); err == nil {
			err = r.draw(ctx, o, key)
		}
	case "smc_twisted":
		s := r.sampler(e, r.base, steer.Twisted{Reward: r.reward, Scale: 1})
		s.Twist = steer.LogTwist(r.reward, nil)
		err = r.particles(ctx, o, s, key, 1)
	case "smc_fk":
		s := r.sampler(e, r.base, nil)
		s.Twist = steer.LogTwist(r.reward, nil)
		err = r.particles(ctx, o, s, key, 1)
	case "importance_smc":
		o.engine, o.control = r.importance.engine, r.importance.control
		err = r.particles(ctx, o, r.sampler(o.engine, r.base, o.control), key, r.ImportanceSMC.Particles)
		o.seconds = r.importance.seconds
	default:
		if err = r.fineTune(ctx, o, name, key); err == nil {
			err = r.draw(ctx, o, key)
		}
		if name == "importance" {
			r.importance = o
		}
	}
	o.seconds += time.Since(start).Seconds()
	return o, err
}

// draw samples P^h and takes what the path weights say.
func (r *toyRun) draw(ctx context.Context, o *outcome, key noise.Key) error {
	paths, err := r.sampler(o.engine, r.base, o.control).Run(ctx, key.Sub("samples"), 0, r.Samples, nil)
	if err != nil {
		return err
	}
	weighted, err := finetune.Weigh(ctx, paths, r.reward)
	if err != nil {
		return err
	}
	d := weighted.Diagnostics()
	o.samples, o.diagnostics, o.logZ, o.ess = paths.X, &d, float64(d.LogZ), float64(d.ESS)
	return nil
}

// particles draws by sequential Monte Carlo, with factor particles per returned sample.
func (r *toyRun) particles(ctx context.Context, o *outcome, s *diffusion.Sampler, key noise.Key, factor int) error {
	p, err := steer.SMC{Sampler: s, Reward: r.reward, Threshold: r.SMC.Threshold}.Run(ctx, key.Sub("samples"), factor*r.Samples)
	if err != nil {
		return err
	}
	o.samples = p.Resample(r.Samples, key.Sub("final"))
	o.logZ, o.ess = p.LogZ, metric.ESS(p.LogW)/float64(p.N)
	return nil
}

// tuneGuidance picks the guidance scale of highest mean reward.
func (r *toyRun) tuneGuidance(ctx context.Context, e *engine.Engine, key noise.Key) (diffusion.Control, error) {
	scale, err := steer.TuneScale(r.Guidance.Scales, func(scale float64) (float64, error) {
		paths, err := r.sampler(e, r.base, steer.Guidance{Reward: r.reward, Scale: scale}).Run(ctx, key, 0, r.Guidance.Paths, nil)
		if err != nil {
			return 0, err
		}
		rewards, err := r.reward.Rewards(ctx, paths.X, paths.N)
		mean, _ := metric.MeanSE(rewards)
		return mean, err
	})
	return steer.Guidance{Reward: r.reward, Scale: scale}, err
}

// fineTune runs Algorithm 1 with the selector and objective of a method, and leaves the averaged h in o.
func (r *toyRun) fineTune(ctx context.Context, o *outcome, name string, key noise.Key) error {
	e, path := o.engine, "/h/"+name
	loop := r.loop(name)
	training := loop.Training

	h := r.control(e, path, r.key.Sub("h")) // the same initial h for every method
	sampler := r.sampler(e, r.base, h)
	var selector finetune.Selector = finetune.Relaxed{Rate: loop.Acceptance}
	var objective finetune.Objective
	var err error
	switch name {
	case "vargrad":
		objective, err = finetune.NewVarGrad(sampler, h, training.Optimizer, loop.Steps)
	case "online":
		objective, err = finetune.NewBackprop(sampler, h, training, r.Process.steps(loop.Steps), r.reward)
	default:
		objective, err = finetune.NewSupervised(sampler, h, training, loop.KL)
	}
	if err != nil {
		return err
	}
	switch name {
	case "reward_only":
		selector = finetune.RewardOnly{Rate: loop.Acceptance}
	case "raft":
		selector = finetune.BestOf{K: loop.BestOf}
	case "cem":
		selector = finetune.Elite{Rate: loop.Acceptance}
	}
	o.control = finetune.Averaged(e, h)
	var prefill []float32
	if loop.Prefill > 0 {
		paths, err := r.sampler(e, r.base, nil).Run(ctx, key.Sub("prefill"), 0, loop.Prefill, nil)
		if err != nil {
			return err
		}
		prefill = paths.X
	}
	return (&finetune.FineTuning{Sampler: sampler, Reward: r.reward, Selector: selector, Objective: objective,
		Buffer: &finetune.Buffer{Capacity: loop.Buffer, Dim: r.dim()}, Iterations: loop.Iterations, Paths: loop.Paths,
		Key: key, Prefill: prefill, Observe: func(ev finetune.Event) {
			r.observe(Event{Seed: r.seed, Stage: name, Done: ev.Iteration, Total: ev.Iterations, Iteration: &ev})
		}}).Run(ctx)
}
