// Package mnist is the class-conditional experiment of the paper (section 4.3, C.3, Table 1): a prior over handwritten digits, tilted toward
// single classes and the even and odd digits by the log probability of a classifier.
package mnist

import (
	"context"
	"embed"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

//go:embed presets
var presets embed.FS

func init() {
	experiment.Register(experiment.Entry{Name: "mnist", About: "Fine-tune a prior over handwritten digits to single digits, even and odd: Table 1.",
		New: func() experiment.Problem { return &Problem{} }, Presets: presets, Default: "quick"})
}

// Problem is a prior over digits and the probabilities of their classes. Prior and classifiers are those of the first seed.
type Problem struct {
	experiment.Common `yaml:",inline"`
	imaging.Images    `yaml:",inline"`   // mnist
	Classes           []string           `yaml:"tasks,flow"`   // single_0 … single_9, even, odd
	Scale             float64            `yaml:"scale"`        // of the log probability
	Network           nn.UNet            `yaml:"network,flow"` // of the prior
	H                 imaging.H          `yaml:"h,flow"`
	Classifier        imaging.Classifier `yaml:"classifier,flow"`
	Judge             Judge              `yaml:"judge,flow"`

	images     data.MNIST
	rewards    map[string]*reward.Graphed // by task
	base       nn.UNet
	trained    *engine.Engine // with the networks
	classifier nn.CNN
	judge      nn.Perceptron
	features   *imaging.Features
	real       map[string][]float32 // features of the test images of a task
	accuracy   struct{ classifier, judge float64 }
}

var shape = []int{28, 28, 1}

const pixels = 28 * 28

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	p.CheckImages(c, "mnist")
	c.Some("tasks", p.Classes)
	for _, t := range p.Classes {
		c.That(classes(t) != nil, "tasks has %q, want single_0 … single_9, even or odd", t)
	}
	c.That(p.Scale > 0, "scale is %g, want a positive number", p.Scale)
	c.UNet("network", p.Network, 28)
	p.H.Check(c, p.Network, 28)
	p.Classifier.Check(c)
	p.Judge.Check(c)
	c.Training("pretrain", p.Pretrain)
}

// classes returns the classes of a task, nil if there is no such task.
func classes(task string) []int {
	switch class, single := strings.CutPrefix(task, "single_"); {
	case task == "even":
		return []int{0, 2, 4, 6, 8}
	case task == "odd":
		return []int{1, 3, 5, 7, 9}
	case single:
		if n, err := strconv.Atoi(class); err == nil && len(class) == 1 {
			return []int{n}
		}
	}
	return nil
}

// Tasks implements [experiment.Problem].
func (p *Problem) Tasks() []string { return p.Classes }

// GroupOf implements [experiment.Problem]: the two columns of Table 1.
func (*Problem) GroupOf(task string) (name, title string) {
	if len(classes(task)) == 1 {
		return "single", "single"
	}
	return "even_odd", "even/odd"
}

// Load implements [experiment.Problem].
func (p *Problem) Load() (data.Source, error) {
	var err error
	p.images.Train, p.images.Test, err = p.Read("mnist", func(dir string) (train, test data.Images, err error) {
		images, err := data.LoadMNIST(dir)
		return images.Train, images.Test, err
	})
	if err != nil {
		return data.Source{}, err
	}
	return data.Source{Name: p.Data, SHA256: p.images.Train.SHA256()}, nil
}

// Networks implements [experiment.Problem]: the classifier that is the reward, another that judges the samples, and the prior.
func (p *Problem) Networks() []experiment.Network {
	train := p.images.Train
	copied := func(row []float32, i int, _ noise.Key, _, _ int) { copy(row, train.At(i)) }
	prior := p.Prior(func(s *model.Scope) nn.Network { return imaging.Net(p.Network, s, 1, 1) }, shape, p.rows, p.Network)
	return p.WithSelf([]experiment.Network{p.Classifier.Network("classifier", train, shape, 10, copied, p.Classifier), p.Judge.Network("judge", train), prior},
		experiment.OwnFit{Shape: shape, Data: p.rows, Tuned: p.H.Tuned, NN1: p.nn1, Settings: []any{p.H.Size(p.Network)}, Base: func(trained *engine.Engine) diffusion.Model {
			return diffusion.Network{Velocity: p.prior(trained)}
		}})
}

// rows returns what fills in n training images for every step.
func (p *Problem) rows(key noise.Key, n int) func(rows []float32, step int) {
	next := data.StepBatches(key.Sub("batches"), p.images.Train.N, n)
	return func(rows []float32, step int) {
		for i, j := range next(step) {
			copy(rows[i*pixels:], p.images.Train.At(j))
		}
	}
}

// prior is the network of the base model, trained on an engine.
func (p *Problem) prior(trained *engine.Engine) nn.UNet {
	return imaging.Net(p.Network, trained.Scope(nn.Averaged("/base")), 1, 1)
}

// nn1 is NN1 of so many inputs in a scope.
func (p *Problem) nn1(s *model.Scope, inputs int) nn.Network {
	return imaging.Net(p.H.Size(p.Network), s, inputs, 1)
}

// Prepare implements [experiment.Problem].
func (p *Problem) Prepare(_ context.Context, l *experiment.Lab) error {
	p.classifier = p.Classifier.In(l.Engine.Scope(nn.Averaged("/classifier")), 1, 10)
	p.judge = p.Judge.In(l.Engine.Scope(nn.Averaged("/judge")))
	p.base, p.trained = p.prior(l.Engine), l.Engine
	p.rewards = map[string]*reward.Graphed{}
	var err error
	for _, task := range p.Classes {
		if p.rewards[task], err = reward.NewClass(l.Engine, p.classifier, classes(task), p.Scale, shape, p.Batch); err != nil {
			return err
		}
	}
	p.features, err = imaging.NewFeatures(l.Engine, p.classifier, shape, p.Batch)
	return err
}

// Keys implements [experiment.Problem]: within a seed, all tasks and methods share the noise of their samples.
func (p *Problem) Keys(seed uint64, task, _ string) method.Keys {
	key := noise.New(seed).Sub("repetition")
	own := key.Sub(task)
	return method.Keys{Root: key, Start: own.Sub("h"), Loop: own.Sub("importance"), Particles: key.Sub("particles")}
}

// Target implements [experiment.Problem].
func (p *Problem) Target(_ context.Context, _ *experiment.Lab, task string) (*method.Target, error) {
	base, r := p.base, p.rewards[task]
	return &method.Target{Base: diffusion.Network{Velocity: base}, Shape: shape, Data: p.rows, Reward: r, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
			return p.H.New(e, key, htransform.Parts{Base: base, Self: p.Own(p.trained, p.nn1), Reward: r, NN1: p.nn1})
		},
		Trial: func(ctx context.Context, paths int) (method.Trial, error) { return p.trial(ctx, task, paths) }}, nil
}

// trial judges a scale by sample quality, as the paper does for guidance: the Fréchet distance to training images of the classes.
func (p *Problem) trial(ctx context.Context, task string, paths int) (method.Trial, error) {
	want, err := p.features.Of(ctx, only(p.images.Train, classes(task), 1000))
	return method.Trial{Paths: paths, Quality: func(ctx context.Context, x []float32) (float64, error) {
		distance, err := p.features.Distance(ctx, x, want)
		return -distance, err
	}}, err
}

// only returns the pixels of the first n images of some classes.
func only(im data.Images, classes []int, n int) []float32 {
	var out []float32
	for i := range im.N {
		if slices.Contains(classes, im.Labels[i]) && len(out) < n*pixels {
			out = append(out, im.At(i)...)
		}
	}
	return out
}
