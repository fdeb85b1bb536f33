package experiment

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
)

// method runs one method on one task, unless that was done before, and tells its result.
func (r *run) method(ctx context.Context, l *Lab, task, name string) error {
	at := stage{l.seed, task, name}
	settings, err := r.settings(at)
	if err != nil || r.ended(at, settings) {
		return err
	}
	fail := func(err error) error {
		what := name
		if task != "" {
			what += " of " + task
		}
		return fmt.Errorf("%s, seed %d: %w", what, l.seed, err)
	}
	_, t, m, err := l.target(ctx, task, name)
	if err != nil {
		return fail(err)
	}
	s := &work{run: r, lab: l, at: at, target: t, settings: settings, total: 1}
	if l, ok := m.(interface{ Length() int }); ok {
		s.total = l.Length()
	}
	if err := s.do(ctx, m); err != nil {
		return fail(err)
	}
	return nil
}

// work is one stage: a method on a task in a repetition.
type work struct {
	*run
	lab      *Lab
	at       stage
	target   *method.Target
	settings string
	total    int                 // iterations
	spent    func() method.Spent // since the stage began
}

func (w *work) event(done int) Event {
	return Event{Seed: w.at.seed, Task: w.at.task, Stage: w.at.name, Done: done, Total: w.total}
}

func (w *work) first() bool { return w.at.seed == w.problem.common().Seed }

// do fits and samples, and tells the result.
func (w *work) do(ctx context.Context, m method.Method) error {
	if w.folder.Resumed(w.at.seed, w.at.task, w.at.name) == nil && !exists(w.stateFile()) {
		w.observe(w.event(0))
	}
	w.target.Run = w.tune
	watched := slices.ContainsFunc(w.problem.Metrics(), func(m Metric) bool { return m.Name == peakMemory }) && machine.ResetPeak()
	if w.crew != nil {
		w.target.Spread = func(s *diffusion.Sampler, c method.Chain) method.Start { return w.crew.spread(w, m, s, c) }
	}
	w.spent = w.target.Meter()
	fitted, err := m.Fit(ctx, w.target)
	if err != nil {
		return err
	}
	training := w.spent()
	if err := w.save(m); err != nil {
		return err
	}
	sampling := w.target.Meter()
	s, err := m.Sample(ctx, w.target, fitted.Control)
	if err != nil {
		return err
	}
	s.Scale, s.Training, s.Sampling = fitted.Scale, training, sampling()
	result, err := measured(ctx, w.problem, w.lab, w.at.task, s)
	if err != nil {
		return err
	}
	ev := w.event(w.total)
	if bytes, ok := machine.Peak(); ok && watched {
		result[peakMemory] = Estimate{bytes, math.NaN()}
	}
	if w.first() {
		if ev.Picture, err = w.show(s); err != nil {
			return err
		}
	}
	ev.Result, ev.Certificate, ev.Settings = result, s.Certificate, w.settings
	w.observe(ev)
	w.done[w.at] = w.settings
	return nil
}

// measured returns all that is known of samples: what the problem measures, and what path weights and counters say.
func measured(ctx context.Context, p Problem, l *Lab, task string, s *method.Samples) (Result, error) {
	dim := len(s.X) / max(1, s.Count*s.Members)
	for i, v := range s.X {
		if v-v != 0 { // a diverged sample cannot be judged
			return nil, fmt.Errorf("sample %d of %d is not finite: it has %g", i/dim, s.Count*s.Members, v)
		}
	}
	own, err := p.Measure(ctx, l, task, s)
	if err != nil {
		return nil, err
	}
	all := s.Training.Plus(s.Sampling)
	known := map[string]float64{"paths": float64(all.Paths), "network_calls": float64(all.Calls), "seconds": all.Seconds,
		trainingPaths: float64(s.Training.Paths), trainingCalls: float64(s.Training.Calls), trainingSeconds: s.Training.Seconds}
	for i, scale := range s.Scale {
		known[scaleName(i, len(s.Scale))] = scale
	}
	out := Numbers(known)
	if s.Certificate != nil {
		maps.Copy(out, certified(*s.Certificate))
	}
	maps.Copy(out, own)
	return out, nil
}

// show writes a picture of samples, at most 8 of each of 8 conditions, or 64 without conditions, and returns its name in the folder.
func (w *work) show(s *method.Samples) (picture string, err error) {
	c, dim := w.problem.common(), len(s.X)/(s.Count*s.Members)
	name := "samples/" + c.fileName(w.at.name, w.at.task, w.at.seed)
	if c.KeepSamples {
		return "", checkpoint.Save(w.folder.File(name+".safetensors"), checkpoint.File{Tensors: map[string]checkpoint.Tensor{
			"samples": {Shape: []int{len(s.X) / dim, dim}, F32: s.X}}})
	}
	x, n, columns := s.X, min(64, s.Members), 8
	if s.Count > 1 || w.target.Given != nil {
		x, n, columns = nil, 0, min(8, s.Members)
		for i := range min(8, s.Count) {
			x = append(x, s.X[i*s.Members*dim:(i*s.Members+columns)*dim]...)
			n += columns
		}
	}
	return name + ".png", w.problem.Picture(w.folder.File(name+".png"), x[:n*dim], n, columns)
}

// save keeps the averaged h that a method has learned: of all methods for the first seed, for the others what a method after it needs.
func (w *work) save(m method.Method) error {
	if !method.Learns(m) || !w.first() && !w.needed() {
		return nil
	}
	metadata := w.metadata("h", w.problem.common().Seed, w.settings)
	metadata["task"], metadata["method"], metadata["fine_tuning_seed"] = w.at.task, w.at.name, fmt.Sprint(w.at.seed)
	metadata["evidence"] = fmt.Sprint(w.target.Evidence.State()) // what new samples are certified with
	tensors, err := nn.State(w.target.Engine, nn.Averaged(htransform.Path))
	if err != nil {
		return err
	}
	return checkpoint.Save(w.lab.checkpoint(w.at.name, w.at.task), checkpoint.File{Tensors: tensors, Metadata: metadata})
}

// needed reports whether a method of the run takes the h of this one. That of importance is kept for those to come.
func (w *work) needed() bool {
	c := w.problem.common()
	for _, name := range c.Methods {
		if m := c.Method(name); m != nil && m.About().Of == w.at.name {
			return true
		}
	}
	return w.at.name == "importance"
}

// tune runs Algorithm 1, from where an earlier process has left it, and keeps a snapshot after every iteration.
func (w *work) tune(ctx context.Context, f *finetune.FineTuning, h htransform.Learned) error {
	if err := w.recall(f); err != nil {
		return err
	}
	average := finetune.Averaged(w.target.Engine, h)
	_, single := f.Objective.(*finetune.VarGrad) // whose iterations are single steps
	preview := func(done int) error {
		if single {
			return nil
		}
		return w.preview(ctx, average, done)
	}
	if f.Start > 0 {
		w.observe(w.event(f.Start))
	} else if err := preview(0); err != nil {
		return err
	}
	f.Observe = func(it finetune.Event) {
		ev := w.event(it.Iteration)
		ev.Iteration = &it
		w.observe(ev)
	}
	f.Keep = func(done int) error {
		if err := preview(done); err != nil {
			return err
		}
		tensors, err := w.state(f)
		if err != nil {
			return err
		}
		return w.folder.Keep(snapshot{Seed: w.at.seed, Task: w.at.task, Stage: w.at.name, Done: done, Tensors: tensors})
	}
	if err := f.Run(ctx); err != nil {
		return err
	}
	return w.keepState(f)
}

// preview draws a few paths of what is learned so far, with the same noise every time, judges those for held-out conditions, and shows
// them now and then. They do not count as the method's.
func (w *work) preview(ctx context.Context, h htransform.Learned, done int) error {
	c, held := w.problem.common(), w.target.Held
	shown := w.first() && w.at.name == "importance" && c.Previews > 0 && (done%c.Previews == 0 || done == 1)
	if held == nil && !(shown && done > 0) {
		return nil
	}
	spent := w.target.Meter()
	defer func() { w.target.Excuse(spent()) }()
	const few = 10
	n, columns := few, few
	sampler, key := w.target.Sampler(h, nil, 0), w.target.Keys.Root.Sub("samples")
	if held != nil {
		n, columns = held.Paths, max(1, held.Group)
		sampler, key = w.target.Sampler(h, held.Given, 0), held.Key
	}
	p, err := sampler.Run(ctx, key, 0, n, nil)
	if err != nil {
		return err
	}
	if held != nil {
		weighted, err := finetune.Weigh(ctx, p, w.target.Reward)
		if err != nil {
			return err
		}
		weighted.Group = held.Group
		c, ev := weighted.Certificate(), w.event(done)
		ev.Held = &c
		w.observe(ev)
	}
	if !shown {
		return nil
	}
	n = min(n, 8*columns)
	ev := w.event(done)
	ev.Picture = fmt.Sprintf("samples/%s_iteration_%03d.png", c.fileName(w.at.name, w.at.task, w.at.seed), done)
	if err := w.problem.Picture(w.folder.File(ev.Picture), p.X[:n*p.Dim], n, columns); err != nil {
		return err
	}
	w.observe(ev)
	return nil
}
