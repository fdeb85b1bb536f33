package experiment

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// superResSeed is one repetition of fine-tuning and sampling.
type superResSeed struct {
	*superResRun
	seed  uint64
	key   noise.Key
	first bool // the seed whose checkpoints of all methods are kept, and whose samples are shown
}

// restored is what a method made of some measurements, before it is measured.
type restored struct {
	from, count int                   // of the measurements
	members     int                   // samples of each
	samples     []float32             // [measurements, members, …]
	diagnostics *finetune.Diagnostics // of the paths behind the samples; nil for those that were resampled, or have no path
	scale       float64               // of guidance, as tuned
	training    cost
	sampling    cost
}

// cost is what it took to learn, or to sample.
type cost struct {
	paths, calls int64
	seconds      float64
}

// methods runs every method with every seed, except what was done before the run was resumed.
func (r *superResRun) methods(ctx context.Context) error {
	for i := range r.Seeds {
		s := &superResSeed{superResRun: r, seed: r.Seed + uint64(i), key: seedKey(r.Seed + uint64(i)), first: i == 0}
		for _, name := range superResMethods {
			if !r.wants(name) || r.ended[stage{s.seed, "", name}] {
				continue
			}
			if err := s.method(ctx, name); err != nil {
				return fmt.Errorf("%s, seed %d: %w", name, s.seed, err)
			}
			if err := r.folder.Err(); err != nil {
				return err
			}
		}
	}
	return nil
}

// method runs one method and reports it.
func (s *superResSeed) method(ctx context.Context, name string) error {
	total := 1
	if s.learned(name) {
		total = s.loop(name).Iterations
	}
	if s.folder.Resumed(s.seed, "", name) == nil {
		s.observe(Event{Seed: s.seed, Stage: name, Total: total})
	}
	o, err := s.restore(ctx, name)
	if err != nil {
		return err
	}
	result, err := s.measure(ctx, o)
	if err != nil {
		return err
	}
	if s.first {
		x, image, columns := s.corner(o), s.image(), min(8, o.members)
		if err := report.ImageGrid(s.folder.File("samples", name+".png"), x, len(x)/s.pixels(), image[0], image[1], image[2], columns); err != nil {
			return err
		}
	}
	s.observe(Event{Seed: s.seed, Stage: name, Done: total, Total: total, Result: result})
	return nil
}

// corner returns the first samples of the first measurements, at most 8 of each: a row for each measurement.
func (s *superResSeed) corner(o *restored) []float32 {
	var out []float32
	for row := range min(8, o.count) {
		at := row * o.members * s.pixels()
		out = append(out, o.samples[at:at+min(8, o.members)*s.pixels()]...)
	}
	return out
}

// restore samples by a method, after training it if there is something to learn.
func (s *superResSeed) restore(ctx context.Context, name string) (*restored, error) {
	e := s.engine.Fork()
	var err error
	o := &restored{count: s.Measurements, members: s.Samples}
	switch name {
	case "bicubic":
		return o, s.upsample(ctx, o)
	case "dps":
		if o.scale, err = s.tuneScale(ctx, o, e); err != nil {
			return nil, err
		}
		return o, s.draw(ctx, o, e, steer.DPS{Reward: s.reward, Scale: o.scale}, s.these(0, s.Samples), 0)
	case "smc":
		return o, s.particles(ctx, o, e)
	case "importance_fast":
		h, err := s.load(e, "importance")
		if err != nil {
			return nil, err
		}
		o.training = s.book.result(s.seed, "importance").training()
		return o, s.draw(ctx, o, e, h, s.these(0, s.Samples), s.Fast)
	case "importance_single":
		o.from, o.count = s.Single, 1
		given := s.single(s.Single)
		h, err := s.fineTune(ctx, o, e, name, given)
		if err != nil {
			return nil, err
		}
		return o, s.draw(ctx, o, e, h, given, 0)
	}
	h, err := s.fineTune(ctx, o, e, name, s.training())
	if err != nil {
		return nil, err
	}
	return o, s.draw(ctx, o, e, h, s.these(0, s.Samples), 0)
}

// upsample is what can be done without a prior: bicubic upsampling, or for operators other than averages, backprojection.
func (s *superResSeed) upsample(ctx context.Context, o *restored) error {
	start := time.Now()
	o.members = 1
	defer func() { o.sampling.seconds = time.Since(start).Seconds() }()
	if factor, ok := strings.CutPrefix(s.Operator, "average-"); ok {
		f, err := strconv.Atoi(factor)
		o.samples = clipped(reward.Bicubic(s.measured, s.reward.Shape, f))
		return err
	}
	var err error
	o.samples, err = s.backproject(ctx, s.measured)
	return err
}

// clipped returns images without what bicubic interpolation and diffusion leave outside of [−1, 1].
func clipped(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		out[i] = min(1, max(-1, v))
	}
	return out
}

// draw samples P^h for the measurements, with as many steps as the process has, or n of them if n > 0.
func (s *superResSeed) draw(ctx context.Context, o *restored, e *engine.Engine, h diffusion.Control, given *diffusion.Condition, n int) error {
	start, before := time.Now(), cost{paths: e.Paths(), calls: e.NetworkCalls()}
	p, err := s.sampler(e, h, given, n).Run(ctx, s.key.Sub("samples"), 0, o.count*s.Samples, nil)
	if err != nil {
		return err
	}
	o.sampling = cost{e.Paths() - before.paths, e.NetworkCalls() - before.calls, time.Since(start).Seconds()}
	o.samples = p.X
	weighted, err := finetune.Weigh(ctx, p, s.reward)
	if err != nil {
		return err
	}
	weighted.Group = s.Samples
	d := weighted.Diagnostics()
	o.diagnostics = &d
	return nil
}

// tuneScale finds the guidance scale whose posterior means have the highest PSNR on measurements of training images.
func (s *superResSeed) tuneScale(ctx context.Context, o *restored, e *engine.Engine) (float64, error) {
	start := time.Now()
	const each = 4
	images := max(1, s.Guidance.Paths/each)
	var truth []float32
	for _, i := range batches(s.key.Sub("tune"), s.train.N, images)(0) { // photographs of one kind lie side by side
		truth = append(truth, s.train.At(i)...)
	}
	measured, err := s.reward.Measure(ctx, truth, images, s.key.Sub("tune"))
	if err != nil {
		return 0, err
	}
	given := &diffusion.Condition{Shape: s.reward.Shape, Draw: func(_ noise.Key, path int, y []float32) { copy(y, measured[path/each*len(y):]) }}
	scale, err := steer.TuneScale(s.Guidance.Scales, func(scale float64) (float64, error) {
		p, err := s.sampler(e, steer.DPS{Reward: s.reward, Scale: scale}, given, 0).Run(ctx, s.key.Sub("tune"), 0, images*each, nil)
		if err != nil {
			return 0, err
		}
		mean, _ := metric.MeanSE(metric.PSNR(clipped(means(p.X, each, s.pixels())), truth, s.pixels()))
		return mean, nil
	})
	o.training = cost{e.Paths(), e.NetworkCalls(), time.Since(start).Seconds()}
	return scale, err
}

// means returns the means of every so many consecutive rows of x [n·members, dim].
func means(x []float32, members, dim int) []float32 {
	out := make([]float32, len(x)/members)
	for i := range out {
		row, k := i/dim, i%dim
		var sum float64
		for j := range members {
			sum += float64(x[(row*members+j)*dim+k])
		}
		out[i] = float32(sum / float64(members))
	}
	return out
}

// particles is the twisted diffusion sampler, on one measurement after the other.
func (s *superResSeed) particles(ctx context.Context, o *restored, e *engine.Engine) error {
	start := time.Now()
	at := 0
	given := &diffusion.Condition{Shape: s.reward.Shape, Draw: func(_ noise.Key, _ int, y []float32) { copy(y, s.measurement(at)) }}
	anneal := reward.Anneal(s.Sigma, s.spread)
	sampler := s.sampler(e, steer.Twisted{Reward: s.reward, Scale: 1, Weight: anneal}, given, 0)
	sampler.Twist = steer.LogTwist(s.reward, anneal)
	for at = range s.Measurements {
		key := s.key.Sub("particles").At(at)
		p, err := steer.SMC{Sampler: sampler, Reward: s.reward, Threshold: s.SMC.Threshold}.Run(ctx, key, s.SMC.Particles*s.Samples)
		if err != nil {
			return err
		}
		o.samples = append(o.samples, p.Resample(s.Samples, key.Sub("final"))...)
	}
	o.sampling = cost{e.Paths(), e.NetworkCalls(), time.Since(start).Seconds()}
	return nil
}

// fineTune runs Algorithm 1 for a method, saves the averaged h and returns it.
func (s *superResSeed) fineTune(ctx context.Context, o *restored, e *engine.Engine, name string, given *diffusion.Condition) (diffusion.Control, error) {
	loop, path, key, start := s.loop(name), "/h", s.key.Sub(name), time.Now()
	h, err := s.control(e, path, s.key.Sub("h")) // the same initial h for every method
	if err != nil {
		return nil, err
	}
	average := finetune.Averaged(e, h)
	sampler, training := s.sampler(e, h, given, 0), loop.Training
	f := &finetune.FineTuning{Sampler: sampler, Reward: s.reward, Selector: finetune.Relaxed{Rate: loop.Acceptance}, Group: s.Group,
		Buffer: &finetune.Buffer{Capacity: loop.Buffer, Dim: s.pixels()}, Iterations: loop.Iterations, Paths: loop.Paths, Key: key}
	if name == "vargrad" {
		f.Objective, err = finetune.NewVarGrad(sampler, h, training.Optimizer, loop.Steps)
	} else {
		f.Objective, err = finetune.NewSupervised(sampler, h, training, loop.KL)
	}
	if err != nil {
		return nil, err
	}
	held, paths := s.sampler(e, average, s.these(0, s.Group), 0), s.Held*s.Group
	if name == "importance_single" {
		f.Group = 0
		held, paths = s.sampler(e, average, s.these(s.Single, math.MaxInt), 0), s.Samples
	}
	seconds, err := s.tune(ctx, tuning{stage: stage{s.seed, "", name}, engine: e, path: path, algorithm: f, preview: func(done int) error {
		if name == "vargrad" { // whose iterations are single steps
			return nil
		}
		return s.judge(ctx, held, paths, Event{Seed: s.seed, Stage: name, Done: done, Total: loop.Iterations})
	}})
	if err != nil {
		return nil, err
	}
	o.training = cost{e.Paths(), e.NetworkCalls(), seconds + time.Since(start).Seconds()}
	return average, s.save(e, name)
}

// judge simulates paths of the measurements that are held out, with the same noise every time, tells what their weights say,
// and shows them now and then. They count neither as paths nor as calls of the method.
func (s *superResSeed) judge(ctx context.Context, held *diffusion.Sampler, n int, ev Event) error {
	e := held.Engine
	paths, calls := e.Paths(), e.NetworkCalls()
	p, err := held.Run(ctx, s.key.Sub("held"), 0, n, nil)
	if err != nil {
		return err
	}
	weighted, err := finetune.Weigh(ctx, p, s.reward)
	if err != nil {
		return err
	}
	e.Recount(paths, calls)
	if ev.Stage == "importance" {
		weighted.Group = s.Group
	}
	d := weighted.Diagnostics()
	ev.Held = &d
	s.observe(ev)
	if !s.first || ev.Stage != "importance" || s.Previews == 0 || ev.Done%s.Previews != 0 && ev.Done != 1 {
		return nil
	}
	shown, image := min(n, 8*s.Group), s.image()
	return report.ImageGrid(s.folder.File("samples", fmt.Sprintf("importance_iteration_%03d.png", ev.Done)), p.X[:shown*s.pixels()], shown,
		image[0], image[1], image[2], s.Group)
}

// checkpointName returns the file of what a method has learned, of the run's first seed without the seed.
func (s *SuperRes) checkpointName(method string, seed uint64) string {
	if seed != s.Seed {
		method += fmt.Sprintf("_seed_%d", seed)
	}
	return method + ".safetensors"
}

// save keeps the averaged h: of all methods for the first seed, for the others what a method after it needs.
func (s *superResSeed) save(e *engine.Engine, name string) error {
	if !s.first && name != "importance" {
		return nil
	}
	metadata := s.metadata("h")
	metadata["method"], metadata["fine_tuning_seed"] = name, fmt.Sprint(s.seed)
	return saveParameters(s.folder.File("checkpoint", s.checkpointName(name, s.seed)), e, metadata, nn.Averaged("/h"))
}

// load returns the averaged h that a method has learned.
func (s *superResSeed) load(e *engine.Engine, name string) (htransform.RewardInformed, error) {
	path := nn.Averaged("/h")
	h, err := s.control(e, path, s.key)
	if err != nil {
		return h, err
	}
	return h, loadParameters(s.folder.File("checkpoint", s.checkpointName(name, s.seed)), e, path)
}

// backproject makes images of measurements, for networks, pictures, and as a baseline.
func (r *superResRun) backproject(ctx context.Context, y []float32) ([]float32, error) {
	program, err := r.engine.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{reward.Backproject(r.reward.Operator, in[0])}
	})
	if err != nil {
		return nil, err
	}
	return program.Map(ctx, y, len(y)/engine.Size(r.reward.Shape), r.Batch, r.reward.Shape...)
}
