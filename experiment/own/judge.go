package own

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// judge is a reward in use.
type judge struct {
	name   string // in results
	reward reward.Reward
}

// program returns the scorer of reward i, which is somebody's program or server. It is one for the whole run.
func (p *Problem) program(i int, t Term) *imaging.Scorer {
	if p.programs == nil {
		p.programs = map[int]*imaging.Scorer{}
	}
	if p.programs[i] == nil {
		p.programs[i] = &imaging.Scorer{Settings: t.Settings, Shape: p.size(), Where: p.key(i)}
	}
	return p.programs[i]
}

// Rehearse implements [experiment.Rehearser]: every program scores a picture of the prior's. Without such pictures there is no prior to be trained, and samples
// come soon enough.
func (p *Problem) Rehearse(ctx context.Context) error {
	for i, t := range p.terms() {
		if !t.external() || p.pictures.N == 0 {
			continue
		}
		if _, err := p.program(i, t).Rewards(ctx, p.pictures.At(0), 1); err != nil {
			return fmt.Errorf("%w (this was a picture of the prior's, to try the program before any work is done)", err)
		}
	}
	return nil
}

// open makes the rewards.
func (p *Problem) open(ctx context.Context, l *experiment.Lab) error {
	p.judges, p.inverse, p.truth = nil, nil, nil
	names := p.names()
	for i, t := range p.terms() {
		j := judge{name: names[i]}
		var err error
		if t.external() {
			j.reward = p.program(i, t)
		} else {
			j.reward, err = p.make(ctx, l, i, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", p.key(i), err)
		}
		p.judges = append(p.judges, j)
	}
	return nil
}

// make makes a reward that doob computes itself.
func (p *Problem) make(ctx context.Context, l *experiment.Lab, i int, t Term) (reward.Reward, error) {
	shape, scope := p.size(), fmt.Sprintf("/reward_%d", i)
	if t.Prompt != "" && shape[2] != 3 {
		return nil, fmt.Errorf("%w: %s is a reward of pictures with colours, and these have none", experiment.ErrConfig, t.kind())
	}
	switch t.kind() {
	case "classifier":
		c := p.classifier(t.Classifier, i >= len(p.Rewards))
		return reward.NewClass(l.Engine, c.net(p, l), []int{slices.Index(c.classes, t.Class)}, 1, shape, p.Batch)
	case "jpeg":
		return p.bytes(t.JPEG)
	case "clip":
		model, err := reward.OpenCLIP(l.Engine, scope, t.CLIP)
		if err != nil {
			return nil, err
		}
		r, _, err := model.For(t.Prompt, shape[0], shape[1])
		return r, err
	case "imagereward":
		model, err := reward.OpenImageReward(l.Engine, scope, t.ImageReward, "")
		if err != nil {
			return nil, err
		}
		r, _, err := model.For(t.Prompt, shape[0], shape[1])
		return r, err
	}
	return p.measured(ctx, l, i, t)
}

// quality is that of DDPO's JPEGs.
const quality = 95

// bytes is the size of a picture's file, in standard deviations of those of the prior's.
func (p *Problem) bytes(wanted string) (reward.Reward, error) {
	if p.pictures.N < 2 {
		return nil, errors.New("jpeg: the prior's pictures are not here, or there is only one: sizes are in standard deviations of theirs")
	}
	file := reward.JPEG{Shape: p.size(), Quality: quality}
	sizes := make([]float64, min(p.pictures.N, 2000))
	for i := range sizes {
		n, err := file.Size(p.pictures.At(i))
		if err != nil {
			return nil, err
		}
		sizes[i] = float64(n)
	}
	mean, sd := stat.MeanStdDev(sizes, nil)
	if sd == 0 {
		return nil, fmt.Errorf("jpeg: all pictures of the prior have %g bytes: want pictures that differ", mean)
	}
	if file.Mean, file.Scale = mean, 1/sd; wanted == "small" {
		file.Scale = -file.Scale
	}
	return file, nil
}

// unconditional is a reward that judges a picture by itself, by the measurement that it has.
type unconditional struct{ reward.Differentiable }

// measured is the likelihood of a measurement.
func (p *Problem) measured(ctx context.Context, l *experiment.Lab, i int, t Term) (reward.Reward, error) {
	shape := p.size()
	a, err := reward.NewOperator(t.Operator, shape)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", experiment.ErrConfig, err)
	}
	size, err := a.Shape(shape)
	if err != nil {
		return nil, err
	}
	r, err := reward.NewInverse(l.Engine, a, t.Sigma, shape, p.Batch, make([]float32, engine.Size(size)))
	if err != nil {
		return nil, err
	}
	if t.Truth != "" {
		sharp, err := data.ReadFitted(t.Truth, shape[0], shape[1], shape[2])
		if err != nil {
			return nil, err
		}
		if r.Y, err = r.Measure(ctx, sharp.Pixels, 0, 1, noise.New(p.Seed).Sub("measure").At(i)); err != nil {
			return nil, err
		}
		if p.truth == nil && i < len(p.Rewards) {
			p.truth = sharp.Pixels
		}
	} else {
		y, err := data.ReadPicture(t.Measurement, size[2])
		if err != nil {
			return nil, err
		}
		if y.Height != size[0] || y.Width != size[1] {
			return nil, fmt.Errorf("%w: %s has %d×%d pixels, but %s of pictures of %d×%d has %d×%d: scale it, or change prior.size", experiment.ErrConfig, t.Measurement,
				y.Width, y.Height, t.Operator, shape[1], shape[0], size[1], size[0])
		}
		for k, v := range y.Pixels { // what is not observed is 0
			r.Y[k] = v * r.Observed[k]
		}
	}
	if p.inverse == nil {
		p.inverse = r
		if p.spread, err = r.Norm(ctx, 50, noise.New(0).Sub("norm")); err != nil {
			return nil, err
		}
	}
	return unconditional{r}, nil
}
