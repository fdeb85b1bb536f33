package own

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// classes is a classifier of the pictures in a folder. One under evaluate is another one than that of the same folder under rewards.
type classes struct {
	name        string // among the networks
	dir, sha256 string
	judges      bool // it is under evaluate
	classes     []string
	train, test data.Images
}

// heldOut is the place of the pictures, of so many in a row of the same class, that a classifier is tested on.
const heldOut = 5

// loadClasses reads the pictures of a classifier, unless another reward has the same.
func (p *Problem) loadClasses(i int, t *Term) error {
	judges := i >= len(p.Rewards)
	c := p.classifier(t.Classifier, judges)
	if c == nil {
		shape := p.size()
		all, names, err := data.ReadClasses(t.Classifier, shape[0], shape[1], shape[2])
		if err != nil {
			return err
		}
		c = &classes{dir: t.Classifier, sha256: t.SHA256, judges: judges, classes: names}
		if c.name = "classifier"; judges {
			c.name = "judge"
		}
		if n := len(p.networks); n > 0 && p.networks[n-1].judges == judges {
			c.name = fmt.Sprintf("%s_%d", c.name, n+1)
		}
		c.split(all)
		p.networks = append(p.networks, c)
	}
	if !slices.Contains(c.classes, t.Class) {
		return fmt.Errorf("%w: class is %q, but the folders in %s are %s", experiment.ErrConfig, t.Class, t.Classifier, strings.Join(c.classes, ", "))
	}
	return nil
}

// classifier returns that of a folder, nil if there is none yet.
func (p *Problem) classifier(dir string, judges bool) *classes {
	for _, c := range p.networks {
		if c.dir == dir && c.judges == judges {
			return c
		}
	}
	return nil
}

// split holds every fifth picture of each class back.
func (c *classes) split(all data.Images) {
	c.train, c.test = all, all
	c.train.Pixels, c.train.Labels, c.train.N = nil, nil, 0
	c.test.Pixels, c.test.Labels, c.test.N = nil, nil, 0
	seen := map[int]int{}
	for i, label := range all.Labels {
		to := &c.train
		if seen[label]++; seen[label]%heldOut == 0 {
			to = &c.test
		}
		to.Pixels, to.Labels, to.N = append(to.Pixels, all.At(i)...), append(to.Labels, label), to.N+1
	}
}

// network is the classifier as something to train.
func (c *classes) network(p *Problem) experiment.Network {
	shape := p.size()
	return p.Classifier.Network(c.name, c.train, shape, len(c.classes), func(row []float32, i int, key noise.Key, step, place int) {
		copy(row, c.train.At(i))
		if p.Base.Flip && key.Sub("flip").Uniform(uint64(step), uint32(place)) < 0.5 {
			mirror(row, shape[1], shape[2])
		}
	}, []any{p.Classifier, p.Base.Flip, shape, c.sha256})
}

// net is the trained classifier.
func (c *classes) net(p *Problem, l *experiment.Lab) nn.CNN {
	return p.Classifier.In(l.Engine.Scope(nn.Averaged("/"+c.name)), p.size()[2], len(c.classes))
}

// right returns the share of the pictures held back that a classifier is right about.
func (c *classes) right(ctx context.Context, p *Problem, l *experiment.Lab) (float64, error) {
	predicted, err := nn.Predict(ctx, l.Engine, c.net(p, l), c.test.Pixels, c.test.N, p.Batch, p.size()...)
	return metric.Accuracy(predicted, c.test.Labels), err
}
