// Package superres samples the posteriors of linear inverse problems, y = Ax + σξ, on photographs of flowers (section 4.2, C.2, Figure 2), and
// restores pictures with what was learned. On Gaussian data, where posterior means and covariances are known, it checks the whole chain.
package superres

import (
	"context"
	"embed"
	"fmt"
	"slices"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/experiment/restore"
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
	experiment.Register(experiment.Entry{Name: "superres", About: "Sample the posteriors of inverse problems on photographs of flowers: Figure 2.",
		New: func() experiment.Problem { return &Problem{} }, Presets: presets, Default: "quick",
		Methods: func() []method.Method { return []method.Method{&Bicubic{}, &Single{}} }})
}

// Problem is the measurements of test images, and a prior over such images. Prior, features and measurements are those of the first seed.
type Problem struct {
	experiment.Common `yaml:",inline"`
	imaging.Images    `yaml:",inline"`   // flowers102, or gaussian
	Gaussian          Field              `yaml:"gaussian,flow,omitempty"`
	Operator          string             `yaml:"operator"` // see [reward.NewOperator]
	Sigma             float64            `yaml:"sigma"`    // of the measurements
	Measurements      int                `yaml:"measurements"`
	Network           nn.UNet            `yaml:"network,flow"` // of the prior
	Flip              bool               `yaml:"flip"`         // half of the images that the prior is trained on are mirrored
	H                 imaging.H          `yaml:"h,flow"`
	Classifier        imaging.Classifier `yaml:"classifier,flow"` // of kinds of flowers, in whose features the Fréchet distance is measured
	Group             int                `yaml:"group"`           // paths of one measurement in an iteration, selected among themselves
	Held              int                `yaml:"held"`            // measurements of test images on which h is judged after every iteration, with Group paths each

	train, test data.Images
	base        diffusion.Model
	trained     *engine.Engine // with the networks
	reward      *reward.Inverse
	spread      float64   // ‖A‖²: AAᵀ ≈ spread·I, or less
	clean       []float32 // Ax of training images, without noise: what fine-tuning measures
	truth       []float32 // [Measurements, …]
	measured    []float32 // [Measurements, …], of truth
	features    *imaging.Features
	real        []float32       // features of the test images
	exact       *exactPosterior // of Gaussian data
}

var _ restore.Prior = (*Problem)(nil)

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	p.CheckImages(c, "flowers102", "gaussian")
	if p.gaussian() {
		c.That(p.Gaussian.Side > 0 && p.Gaussian.Side <= 32, "gaussian.side is %d, want 1 to 32", p.Gaussian.Side)
		c.That(p.Gaussian.Length > 0 && p.Gaussian.SD > 0, "gaussian.length and sd are %g and %g, want positive numbers", p.Gaussian.Length, p.Gaussian.SD)
		c.That(!p.H.Tuned, "h.tuned is true, but the Gaussian prior has no network to copy")
	}
	for _, image := range p.images() {
		_, err := reward.NewOperator(p.Operator, image)
		c.That(err == nil, "operator: %v", err)
		if !p.gaussian() {
			c.UNet("network", p.Network, image[0])
		}
		p.H.Check(c, p.Network, image[0])
	}
	c.That(p.Sigma > 0, "sigma is %g, want a positive number", p.Sigma)
	c.Positive("measurements", p.Measurements)
	c.Fits("measurements", float64(p.Measurements)*float64(p.Gaussian.Side*p.Gaussian.Side))
	c.That(p.H.Gradient, "h.gradient is false: the likelihood of a measurement has a gradient, and h uses it")
	if !p.gaussian() {
		p.Classifier.Check(c)
		c.Training("pretrain", p.Pretrain)
	}
	c.Positive("group", p.Group)
	for _, name := range p.Methods {
		if l, ok := p.Method(name).(interface{ Sizes() (paths, prefill int) }); ok {
			paths, _ := l.Sizes()
			c.That(p.Group > 0 && paths%p.Group == 0, "%s.paths is %d, want a multiple of group, %d", name, paths, p.Group)
		}
	}
	c.That(!slices.Contains(p.Methods, "vargrad") || p.Group > 1, "group is %d, want at least 2: VarGrad needs the variance among the paths of a measurement", p.Group)
	if s, ok := p.Method("importance_single").(*Single); ok && slices.Contains(p.Methods, "importance_single") {
		c.That(s.Measurement >= 0 && s.Measurement < p.Measurements, "importance_single.measurement is %d, want one of the %d measurements, from 0", s.Measurement, p.Measurements)
	}
	c.That(p.Held > 0 && p.Held <= p.Measurements, "held is %d, want 1 to the number of measurements, %d", p.Held, p.Measurements)
}

// Offers implements [experiment.Problem].
func (*Problem) Offers() method.Needs {
	return method.Gradient | method.Likelihood | method.Learning
}

func (p *Problem) gaussian() bool { return p.Data == "gaussian" }

// images returns the shapes that an image may have: of data auto, more than one.
func (p *Problem) images() [][]int {
	flowers, digits := []int{64, 64, 3}, []int{28, 28, 1}
	switch p.Data {
	case "flowers102":
		return [][]int{flowers}
	case "digits":
		return [][]int{digits}
	case "gaussian":
		return [][]int{{p.Gaussian.Side, p.Gaussian.Side, 1}}
	}
	return [][]int{flowers, digits}
}

// image returns the shape of an image, once data are not auto.
func (p *Problem) image() []int { return p.images()[0] }

func (p *Problem) channels() int { return p.image()[2] }

// pixels returns the numbers in an image.
func (p *Problem) pixels() int { return engine.Size(p.image()) }

// Load implements [experiment.Problem].
func (p *Problem) Load() (data.Source, error) {
	if err := p.read(); err != nil {
		return data.Source{}, err
	}
	if p.test.N < p.Measurements {
		return data.Source{}, fmt.Errorf("%w: measurements is %d, but there are %d test images", experiment.ErrConfig, p.Measurements, p.test.N)
	}
	return data.Source{Name: p.Data, SHA256: p.train.SHA256()}, nil
}

func (p *Problem) read() (err error) {
	if p.gaussian() {
		p.train, p.test = p.Gaussian.images(learnable, noise.New(0).Sub("train")), p.Gaussian.images(p.Measurements, noise.New(0).Sub("test"))
		return nil
	}
	p.train, p.test, err = p.Read("flowers102", func(dir string) (train, test data.Images, err error) {
		flowers, err := data.LoadFlowers(dir)
		return flowers.Train, flowers.Test, err
	})
	return err
}

// Networks implements [experiment.Problem]: the classifier whose features are used, and the prior.
func (p *Problem) Networks() []experiment.Network {
	own := experiment.OwnFit{Shape: p.image(), Data: p.rows, Fits: experiment.FitsNN1{Net: p.nn1, Tuned: p.H.Tuned}, Settings: []any{p.H.Tuned, []any{p.H.Size(p.Network), p.Gaussian}},
		Base: func(trained *engine.Engine) (diffusion.Model, error) { return p.model(trained), nil }}
	if p.gaussian() {
		return p.WithSelf(nil, own)
	}
	prior := p.Prior(func(s *model.Scope) nn.Network { return imaging.Net(p.Network, s, p.channels(), p.channels()) }, p.image(), p.rows, p.Network, p.Flip)
	return p.WithSelf([]experiment.Network{p.Classifier.Network("classifier", p.train, p.image(), p.kinds(), p.picture, []any{p.Classifier, p.Flip}), prior}, own)
}

// rows returns what fills in n training images for every step.
func (p *Problem) rows(key noise.Key, n int) func(rows []float32, step int) {
	next := data.StepBatches(key.Sub("batches"), p.train.N, n)
	return func(rows []float32, step int) {
		for i, j := range next(step) {
			p.picture(rows[i*p.pixels():], j, key, step, i)
		}
	}
}

// kinds is the number of classes of the classifier.
func (p *Problem) kinds() int {
	if p.Data == "digits" {
		return 10
	}
	return 102
}

// picture copies training image j, mirrored for half of all places i in the batches if the run flips.
func (p *Problem) picture(dst []float32, j int, key noise.Key, step, i int) {
	copy(dst, p.train.At(j))
	if !p.Flip || key.Sub("flip").Uniform(uint64(step), uint32(i)) < 0.5 {
		return
	}
	width, channels := p.train.Width, p.train.Channels
	for row := range slices.Chunk(dst[:p.pixels()], width*channels) {
		for x := range width / 2 {
			for c := range channels {
				a, b := x*channels+c, (width-1-x)*channels+c
				row[a], row[b] = row[b], row[a]
			}
		}
	}
}

// Keys implements [experiment.Problem]: within a seed, all methods share the noise of their samples.
func (p *Problem) Keys(seed uint64, _, name string) method.Keys {
	key := noise.New(seed).Sub("repetition")
	return method.Keys{Root: key, Start: key.Sub("h"), Loop: key.Sub(name), Particles: key.Sub("particles")}
}

// Target implements [experiment.Problem]: one h serves all measurements (56).
func (p *Problem) Target(_ context.Context, l *experiment.Lab, _ string) (*method.Target, error) {
	key := p.Keys(l.Seed(), "", "").Root
	return &method.Target{Base: p.base, Self: p.Self.On(), Shape: p.image(), Data: p.rows, Reward: p.reward, Anneal: reward.Anneal(p.Sigma, p.spread), H: p.newH,
		Conditions: p.Measurements, Given: p.these, Learn: p.training(), Group: p.Group,
		Held: &method.Held{Given: p.these(0, p.Group), Key: key.Sub("held"), Paths: p.Held * p.Group, Group: p.Group},
		Trial: func(ctx context.Context, paths int) (method.Trial, error) {
			return p.trial(ctx, key.Sub("tune"), paths)
		}}, nil
}

// nn1 is NN1 of so many inputs in a scope.
func (p *Problem) nn1(s *model.Scope, inputs int) nn.Network {
	return imaging.Net(p.H.Size(p.Network), s, inputs*p.channels(), p.channels())
}

// newH creates h (56). Its reward is the likelihood, or none.
func (p *Problem) newH(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
	parts := htransform.Parts{Reward: r, Self: p.Own(p.trained, p.nn1), NN1: p.nn1, Weight: htransform.Likelihood(p.Sigma, p.spread),
		Show: func(y *graph.Node) *graph.Node { return reward.Backproject(p.reward.Operator, y) }}
	if base, ok := p.base.(diffusion.Network); ok {
		parts.Base = base.Velocity
	}
	return p.H.New(e, key, parts)
}
