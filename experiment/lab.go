package experiment

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Lab is one repetition of an experiment: an engine with the trained networks, and what was learned and measured so far.
type Lab struct {
	// Engine holds the averages of the networks, below [nn.Averaged] of their names. Methods work on forks of it.
	Engine *engine.Engine
	// Key is where the randomness of networks and data comes from, which all repetitions share.
	Key noise.Key

	problem Problem
	seed    uint64
	folder  string
	fitted  *diffusion.Analytic // variance of the kernel; nil unless the scheme is fitted
	book    *book
	pool    *method.Pool
}

// target describes a task for a method, with an engine of its own. For a variant, the problem and the method are as it says.
func (l *Lab) target(ctx context.Context, task, name string) (Problem, *method.Target, method.Method, error) {
	p, m, err := variant(l.problem, name)
	if err != nil {
		return nil, nil, nil, err
	}
	t, err := p.Target(ctx, l, task)
	if err != nil {
		return nil, nil, nil, err
	}
	c := p.common()
	t.Keys = p.Keys(l.seed, task, name)
	t.Process, t.Steps, t.Training = c.Process.Process(), c.Process.Table(l.fitted), finetune.Training{Denoising: c.Denoising}
	t.Memoryless = c.Process.Memoryless().Table(l.fitted)
	t.Samples, t.PoolSize, t.Pool = c.Samples, c.Pool, l.pool
	t.Engine, t.Of = l.Engine.Fork(), p
	t.Seeds = func(path string) ([]float32, error) { return readSeeds(path, t.Shape) }
	if c.Temper != (Temper{}) {
		if t.Scaled == nil {
			return nil, nil, nil, fmt.Errorf("%w: temper: the reward of %s has a scale of its own, want none of ess, kl and factor", ErrConfig, c.Experiment)
		}
		t.Reward = t.Scaled(l.Factor(task) * cmp.Or(c.Temper.Factor, 1))
	}
	if m.About().Zero {
		t.Reward = reward.Zero{}
	}
	t.Batch = min(c.Batch, max(1, int(m.Cost(t.Work()).Rows))) // a larger one would cost as much as if it were full
	t.Fetch = func(_ context.Context, t *method.Target, name string) (diffusion.Control, method.Spent, error) {
		h, err := l.load(t, task, name)
		return h, l.book.spent(stage{l.seed, task, name}), err
	}
	return p, t, m, nil
}

// load returns the averaged h that a method has learned, on the target's engine.
func (l *Lab) load(t *method.Target, task, name string) (diffusion.Control, error) {
	p, _, err := variant(l.problem, name)
	if err != nil {
		return nil, err
	}
	h := t.H
	if p != l.problem { // a variant may have another h
		own, err := p.Target(context.Background(), l, task)
		if err != nil {
			return nil, err
		}
		h = own.H
	}
	learned, err := h(t.Engine, l.Key, t.Reward)
	if err != nil {
		return nil, err
	}
	place := nn.Averages(t.Engine)
	for _, v := range learned.Parameters() {
		value, err := v.MustValue().Clone()
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", v.Path(), err)
		}
		t.Engine.Params.VariableWithValue(nn.Averaged(v.Path()), value).SetTrainable(false)
	}
	return learned.Within(place), nn.Load(l.checkpoint(name, task), t.Engine, nn.Averaged(htransform.Path))
}

func (l *Lab) checkpoint(name, task string) string {
	return checkpointFile(l.folder, l.problem.common().fileName(name, task, l.seed))
}

// Again draws samples of a method that has ended anew: n of a task, or of as many conditions, with the noise of the run. They do not
// depend on whether the run was resumed.
func (l *Lab) Again(ctx context.Context, task, name string, n int) (*method.Samples, error) {
	_, t, m, err := l.target(ctx, task, name)
	if err != nil {
		return nil, err
	}
	if t.Given != nil {
		t.Conditions = n
	} else {
		t.Samples = n
	}
	h, err := l.control(ctx, t, task, name, m)
	if err != nil {
		return nil, err
	}
	return m.Sample(ctx, t, h)
}

// control returns what a method of the run has fitted.
func (l *Lab) control(ctx context.Context, t *method.Target, task, name string, m method.Method) (diffusion.Control, error) {
	if method.Learns(m) {
		return l.load(t, task, name)
	}
	if m, ok := m.(method.Loader); ok {
		return m.Load(ctx, t, l.book.scales(stage{l.seed, task, name}))
	}
	return nil, nil
}

// Stored returns the samples of a method, of a problem that keeps them; nil if there are none.
func (l *Lab) Stored(task, name string) ([]float32, error) {
	file := l.samplesFile(name, task)
	if !exists(file) {
		return nil, nil
	}
	f, err := checkpoint.Load(file)
	return f.Tensors["samples"].F32, err
}

func (l *Lab) samplesFile(name, task string) string {
	return filepath.Join(l.folder, "samples", l.problem.common().fileName(name, task, l.seed)+".safetensors")
}

// Learned returns the h that a method of the run has learned, nil for base, and a target to simulate so many paths of it with. It refuses more than fit
// into memory.
func (l *Lab) Learned(ctx context.Context, task, name string, paths int) (diffusion.Control, *method.Target, error) {
	learned := name != "base"
	if learned && !exists(l.checkpoint(name, task)) {
		return nil, nil, fmt.Errorf("%s has learned no h by %s", l.folder, name)
	}
	_, t, _, err := l.target(ctx, task, name)
	if err != nil {
		return nil, nil, err
	}
	work := t.Work()
	work.Samples = float64(paths)
	if err := fits(machine.Resident()+(&method.Base{}).Cost(work).Memory(work), fmt.Sprintf("simulating %d paths", paths)); err != nil {
		return nil, nil, err
	}
	if !learned {
		return nil, t, nil
	}
	h, err := l.load(t, task, name)
	return h, t, err
}

// Kind returns the name of the run's experiment.
func (l *Lab) Kind() string { return l.problem.common().Experiment }

// Seed returns that of the repetition.
func (l *Lab) Seed() uint64 { return l.seed }

// Problem returns the problem of the run.
func (l *Lab) Problem() Problem { return l.problem }

// Reopen returns the lab of the first seed of a run folder with its networks. Data are not read, and nothing is prepared.
func Reopen(ctx context.Context, folder, backend string) (*Lab, error) {
	return openLab(ctx, folder, "", backend, false)
}

// Figure returns the path of a figure of the run.
func (l *Lab) Figure(name string) string { return filepath.Join(l.folder, "figures", name) }
