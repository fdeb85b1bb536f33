package experiment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// fit obtains what the kernel's variance takes from the base model, if it takes anything: from the run folder, or else by estimating it on
// noised data. It is done once per base model. What it costs is no method's.
func (r *run) fit(ctx context.Context, l *Lab) error {
	c := r.problem.common()
	if !c.Process.Fitted() {
		return nil
	}
	fail := func(err error) error { return fmt.Errorf("process.variance is %s: %w", c.Process.Variance, err) }
	file := l.varianceFile()
	settings, err := r.settings(stage{l.priorSeed(), "", "variance"})
	if err != nil {
		return fail(err)
	}
	if f, err := checkpoint.Load(file); err != nil || f.Metadata["settings"] != settings {
		t, err := r.problem.Target(ctx, l, r.problem.Tasks()[0])
		if err != nil {
			return fail(err)
		}
		a, err := c.analytic(ctx, l.Engine.Fork(), t.Base, t.Shape, noise.New(l.priorSeed()), t.Data)
		if err != nil {
			return fail(err)
		}
		if err := checkpoint.Save(file, checkpoint.File{Metadata: r.metadata("variance", l.priorSeed(), settings), Tensors: map[string]checkpoint.Tensor{
			"log_snr": {Shape: []int{len(a.LogSNR)}, F64: a.LogSNR}, "unexplained": {Shape: []int{len(a.Left)}, F64: a.Left}}}); err != nil {
			return fail(err)
		}
	}
	l.fitted, err = loadVariance(file)
	return err
}

// analytic estimates what the kernel's variance takes from a base model, on samples of the data that rows fills in; nil if it takes nothing. It depends
// on the key of the prior only.
func (c *Common) analytic(ctx context.Context, e *engine.Engine, base diffusion.Model, shape []int, key noise.Key,
	rows func(key noise.Key, n int) func(dst []float32, step int)) (*diffusion.Analytic, error) {
	if !c.Process.Fitted() {
		return nil, nil
	}
	if rows == nil {
		return nil, fmt.Errorf("it is estimated on samples of the data, and %s gives none: want posterior or beta", c.Experiment)
	}
	key = key.Sub("variance")
	return diffusion.NewAnalytic(ctx, e, c.Process.Process(), base, shape, c.Batch, key, rows(key, c.Batch))
}

// loadVariance reads what fit has left in a run folder.
func loadVariance(file string) (*diffusion.Analytic, error) {
	f, err := checkpoint.Load(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: the run has not estimated the variance of its kernel yet, there is no %s: doob run --resume goes on with it", ErrFolder, file)
	}
	if err != nil {
		return nil, err
	}
	a := &diffusion.Analytic{LogSNR: f.Tensors["log_snr"].F64, Left: f.Tensors["unexplained"].F64}
	if len(a.LogSNR) == 0 || len(a.LogSNR) != len(a.Left) {
		return nil, fmt.Errorf("%s has %d noise levels and %d values, want as many of both: it is of another version", file, len(a.LogSNR), len(a.Left))
	}
	for name, t := range f.Tensors {
		if i := t.NotFinite(); i >= 0 {
			return nil, fmt.Errorf("%s: number %d of %s is infinite or NaN: the file is damaged", file, i+1, name)
		}
	}
	return a, nil
}

// varianceFile is where the estimate for the lab's base model lies: beside its parameters.
func (l *Lab) varianceFile() string {
	return checkpointFile(l.folder, l.problem.common().fileName("variance", "", l.priorSeed()))
}

// priorSeed is that of the lab's base model: its own if every repetition trains one.
func (l *Lab) priorSeed() uint64 {
	for _, n := range l.problem.Networks() {
		if n.EachSeed {
			return l.seed
		}
	}
	return l.problem.common().Seed
}
