package mnist

import (
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Judge is the size and training of the classifier that judges samples. It is of another kind than that of the reward: what pleases one
// convolutional network without being a digit may well please another, that differs by its seed, too. It sees training images at random places.
type Judge struct {
	nn.Perceptron `yaml:",inline"`
	Shift         int         `yaml:"shift"` // training images are moved by up to so many pixels in both directions
	Training      nn.Training `yaml:",inline"`
}

// Check checks its settings.
func (j Judge) Check(c *config.Check) {
	c.MLP("judge", nn.MLP{Width: j.Width, Depth: j.Depth})
	c.That(j.Shift >= 0 && j.Shift < 14, "judge.shift is %d, want 0 to 13 pixels", j.Shift)
	c.Training("judge", j.Training)
}

// In returns the judge in a scope.
func (j Judge) In(s *model.Scope) nn.Perceptron {
	n := j.Perceptron
	n.Scope, n.In, n.Out = s, pixels, 10
	return n
}

// Network is the judge as something to train on images.
func (j Judge) Network(name string, images data.Images) experiment.Network {
	return imaging.Classification(name, images, shape, j.Training, func(s *model.Scope) nn.Classifier { return j.In(s) },
		func(row []float32, i int, key noise.Key, step, place int) {
			// One number of [0, 1) says where, of (2·Shift+1)² places.
			side := 2*j.Shift + 1
			at := int(key.Sub("shift").Uniform(uint64(step), uint32(place)) * float64(side*side))
			moved(row, images.At(i), at%side-j.Shift, at/side-j.Shift)
		}, j)
}

// moved copies an image right and down by so many pixels. Black comes in from the other side.
func moved(dst, src []float32, right, down int) {
	const side = 28
	for y := range side {
		for x := range side {
			dst[y*side+x] = -1
			if u, v := x-right, y-down; u >= 0 && u < side && v >= 0 && v < side {
				dst[y*side+x] = src[v*side+u]
			}
		}
	}
}
