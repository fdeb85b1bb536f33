// Package imaging is what problems on images have in common: classifiers and their features, the control of an image, rows and grids
// of samples.
package imaging

import (
	"context"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// H is the size of NN1, and the start of h. One that is tuned, or without a width, has the size of the base model.
type H struct {
	nn.UNet             `yaml:",inline"`
	htransform.Settings `yaml:",inline"`
}

// Size returns that of NN1, given the base model's.
func (h H) Size(base nn.UNet) nn.UNet {
	if h.Tuned || h.UNet.Width == 0 {
		return base
	}
	return h.UNet
}

// Check checks h for images of a base model.
func (h H) Check(c *config.Check, base nn.UNet, side int) {
	key := "h"
	if h.Tuned || h.UNet.Width == 0 {
		key = "network"
	}
	c.UNet(key, h.Size(base), side)
	c.H("h", h.Settings)
}

// Net returns a U-Net of a size in a scope, from images with so many channels.
func Net(size nn.UNet, s *model.Scope, in, out int) nn.UNet {
	size.Scope, size.In, size.Out = s, in, out
	return size
}

// Classifier is the size and training of a classifier.
type Classifier struct {
	nn.CNN   `yaml:",inline"`
	Training nn.Training `yaml:",inline"`
}

// Check checks its settings.
func (c Classifier) Check(check *config.Check) {
	check.CNN("classifier", c.CNN)
	check.Training("classifier", c.Training)
}

// In returns the classifier of images in a scope.
func (c Classifier) In(s *model.Scope, channels, classes int) nn.CNN {
	n := c.CNN
	n.Scope, n.In, n.Out = s, channels, classes
	return n
}

// Network is a classifier of images as something to train, see [Classification].
func (c Classifier) Network(name string, images data.Images, shape []int, classes int, draw Draw, settings any) experiment.Network {
	return Classification(name, images, shape, c.Training, func(s *model.Scope) nn.Classifier { return c.In(s, shape[2], classes) }, draw, settings)
}

// Draw copies image i into a row of a step's batch, at a place of it, changed at random as the key says.
type Draw func(row []float32, i int, key noise.Key, step, place int)

// Classification is a classifier of images of a shape as something to train.
func Classification(name string, images data.Images, shape []int, s nn.Training, net func(s *model.Scope) nn.Classifier, draw Draw, settings any) experiment.Network {
	dim := engine.Size(shape)
	return experiment.Network{Name: name, Steps: s.Steps, Settings: settings,
		Init: experiment.Fresh(func(scope *model.Scope) nn.Network { return net(scope) }, 1),
		Train: func(g experiment.Ground, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
			key = key.Sub(name)
			trainer, err := nn.NewClassifierTrainer(g.Engine, net(g.Scope), s)
			labels, rows := make([]int32, s.Batch), make([]float32, s.Batch*dim)
			next := data.StepBatches(key.Sub("batches"), images.N, s.Batch)
			return trainer, func(step int) []any {
				for i, j := range next(step) {
					draw(rows[i*dim:(i+1)*dim], j, key, step, i)
					labels[i] = int32(images.Labels[j])
				}
				return []any{engine.Rows(rows, shape...), labels}
			}, err
		}}
}

// Features are the last hidden layer of a classifier, in which Fréchet distance and diversity are measured.
type Features struct {
	Size    int
	program *engine.Program
	batch   int
	image   []int
}

// NewFeatures compiles them for images of one shape, so many at a time.
func NewFeatures(e *engine.Engine, c nn.CNN, image []int, batch int) (*Features, error) {
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.Features(in[0])} })
	return &Features{program: program, Size: c.FeatureSize(), batch: batch, image: image}, err
}

// FewSamples warns of a Fréchet distance of fewer samples than features of a classifier; nothing for 0 samples.
func FewSamples(samples int, c Classifier) []string {
	features := c.In(nil, 1, 1).FeatureSize()
	if samples < 1 || samples > features {
		return nil
	}
	return []string{fmt.Sprintf("FID is of %d samples in %d features: their covariance has at most rank %d, and the distance is biased upward by far more than the samples differ; compare methods with care, "+
		"or take more than %d samples.", samples, features, samples-1, features)}
}

// Of returns the features of images, [n, Size].
func (f *Features) Of(ctx context.Context, x []float32) ([]float32, error) {
	return f.program.Map(ctx, x, len(x)/engine.Size(f.image), f.batch, f.image...)
}

// Distance returns the Fréchet distance of images to features.
func (f *Features) Distance(ctx context.Context, x, to []float32) (float64, error) {
	own, err := f.Of(ctx, x)
	if err != nil {
		return 0, err
	}
	return metric.FrechetDistance(own, to, f.Size), nil
}
