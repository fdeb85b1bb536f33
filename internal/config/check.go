package config

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/nn"
)

// Check collects what is out of range, so that one run of the program shows all of it.
type Check struct{ faults []string }

// That notes a fault unless ok, once.
func (c *Check) That(ok bool, format string, args ...any) {
	if fault := fmt.Sprintf(format, args...); !ok && !slices.Contains(c.faults, fault) {
		c.faults = append(c.faults, fault)
	}
}

// Positive notes a number that is not.
func (c *Check) Positive(key string, v int) {
	c.That(v > 0, "%s is %d, want a positive number", key, v)
}

// Rows notes a number of samples in one network evaluation that is not positive, or beyond all memory.
func (c *Check) Rows(key string, n int) {
	const most = 1 << 20
	c.That(n > 0 && n <= most, "%s is %d, want a positive number up to %d", key, n, most)
}

// mostSteps is how many a simulation has at most: each is an entry of a table.
const mostSteps = 100_000

// OneOf notes a text that is none of those known.
func (c *Check) OneOf(key, got string, known ...string) {
	c.That(slices.Contains(known, got), "%s is %s", key, Unknown(got, known))
}

// Some notes an empty list, and what appears in it twice.
func (c *Check) Some(key string, list []string) {
	c.That(len(list) > 0, "%s is empty", key)
	for i, name := range list {
		c.That(!slices.Contains(list[:i], name), "%s has %s twice", key, name)
	}
}

// Scheme checks how a process is simulated.
func (c *Check) Scheme(key string, s diffusion.Scheme) {
	c.That(s.Steps > 0 && s.Steps <= mostSteps, "%s.steps is %d, want 1 to %d", key, s.Steps, mostSteps)
	c.That(s.Free >= 0 && s.Free < max(1, s.Steps), "%s.free is %d, want at least 0, and fewer than steps, %d: else nothing is controlled", key, s.Free, s.Steps)
	if s.Levels != nil {
		c.numbered(key, s)
		return
	}
	c.That(s.Spacing == "", "%s.spacing is %s, want none: only models with numbered noise levels have a choice", key, s.Spacing)
	c.That(s.Power >= 1 && !math.IsInf(s.Power, 1), "%s.power is %g, want a number of at least 1", key, s.Power)
	c.That(s.VP.Beta0 > 0 && s.VP.Beta1 > s.VP.Beta0 && !math.IsInf(s.VP.Beta1, 1), "%s.beta0 and beta1 are %g and %g, want 0 < beta0 < beta1", key, s.VP.Beta0, s.VP.Beta1)
	if _, err := diffusion.NewKernel(s.Kernel, 1, nil); err != nil {
		c.That(false, "%s.kernel: %v", key, err)
	}
	c.OneOf(key+".variance", s.Variance, "", "posterior", "beta", "analytic")
	c.That(s.Variance == "" || s.Kernel != "euler-maruyama", "%s.variance is %s, but kernel euler-maruyama has no choice of it: its steps add the noise of the SDE; leave it out, or use ddpm or ddim", key, s.Variance)
	if s.Kernel == "ddim" {
		noisy := s.Variance == "beta" || s.Variance == "analytic" // for any eta
		c.That(s.Eta >= 0 && s.Eta <= 1 && (s.Eta > 0 || noisy), "%s.eta is %g, want a number in (0, 1]: a noise-free sampler has no path weights, and above 1 steps lose variance", key, s.Eta)
		c.That(s.Steps != 1, "%s.steps is 1, want at least 2: the last step of ddim is noise-free, so that nothing could be learned", key)
	}
}

// numbered checks how a process of numbered levels is simulated.
func (c *Check) numbered(key string, s diffusion.Scheme) {
	c.That(s.Power == 0 && s.VP == diffusion.VP{}, "%s has power, beta0 or beta1, want none: the noise levels are those of the model", key)
	c.OneOf(key+".variance", s.Variance, "")
	c.That(s.Kernel == "ddpm" || s.Eta > 0, "%s.eta is %g, want a number in (0, 1]: a noise-free sampler has no path weights", key, s.Eta)
	if s.Steps > 0 {
		_, err := s.Numbered(s.Steps).Table(s.Levels)
		c.That(err == nil, "%s: %v", key, err)
	}
}

// H checks how an h starts.
func (c *Check) H(key string, h htransform.Settings) {
	c.Positive(key+".scale_width", h.ScaleWidth)
	c.That(h.Start >= 0 && h.Start <= 1000, "%s.start is %g, want 0 to 1000, about what the gradient of the reward is multiplied with before anything is learned; 0 means nearly nothing", key, h.Start)
}

// Optimizer checks the settings of an optimiser.
func (c *Check) Optimizer(key string, o nn.Optimizer) {
	c.That(o.LearningRate >= 0 && !math.IsInf(o.LearningRate, 1), "%s.learning_rate is %g, want a positive number", key, o.LearningRate)
	c.That(o.EMA >= 0 && o.EMA < 1, "%s.ema is %g, want 0 ≤ ema < 1", key, o.EMA)
	c.That(o.WeightDecay >= 0 && !math.IsInf(o.WeightDecay, 1), "%s.weight_decay is %g, want a number of at least 0", key, o.WeightDecay)
}

// Training checks the settings of a network's training on data.
func (c *Check) Training(key string, t nn.Training) {
	c.Positive(key+".steps", t.Steps)
	c.Rows(key+".batch", t.Batch)
	c.Optimizer(key, t.Optimizer)
}

// Times checks a law of the times that a network is trained at.
func (c *Check) Times(key string, l diffusion.TimeLaw) {
	c.That(l.Power == 0 || l.Power >= 1 && !math.IsInf(l.Power, 1), "%s.power is %g, want a number of at least 1", key, l.Power)
	c.That(l.SNRSD >= 0 && !math.IsInf(l.SNRSD, 1), "%s.snr_sd is %g, want a number of at least 0", key, l.SNRSD)
	c.That(math.Abs(l.SNRMean) <= 8, "%s.snr_mean is %g, want a number from −8 to 8: a log signal-to-noise ratio", key, l.SNRMean)
}

// MLP checks the size of a perceptron.
func (c *Check) MLP(key string, n nn.MLP) {
	c.Positive(key+".width", n.Width)
	c.Positive(key+".depth", n.Depth)
	c.That(n.Octaves >= 0 && n.Octaves <= 10, "%s.octaves is %d, want 0 to 10", key, n.Octaves)
	c.Fits(key, trained*float64(n.Width)*float64(n.Width)*float64(max(1, n.Depth-1)))
}

// UNet checks the size of a U-Net for images of side×side pixels.
func (c *Check) UNet(key string, u nn.UNet, side int) {
	c.That(u.Width > 0 && u.Width%2 == 0, "%s.width is %d, want an even positive number", key, u.Width)
	c.That(len(u.Multipliers) > 0 && slices.Min(u.Multipliers) > 0, "%s.multipliers are %v, want positive numbers", key, u.Multipliers)
	c.That(u.Blocks >= 0, "%s.blocks is %d, want at least 0", key, u.Blocks)
	c.That(u.Bottom >= 0, "%s.bottom is %d, want at least 0", key, u.Bottom)
	c.That(u.Heads >= 0, "%s.heads is %d, want at least 0", key, u.Heads)
	factor := max(u.Patch, 1) << max(len(u.Multipliers)-1, 0)
	c.That(u.Patch >= 0 && factor != 0 && side%factor == 0, "%s cuts %d pixels into patches of %d and halves them %d times: want a divisor of %d", key, side, u.Patch,
		len(u.Multipliers)-1, side)
	for _, m := range u.Multipliers {
		width := float64(u.Width) * float64(m)
		c.Fits(key, trained*9*width*width*float64(2*max(1, u.Blocks, u.Bottom)))
	}
	if u.Heads > 1 {
		for _, m := range u.Multipliers {
			c.That(u.Width*m%u.Heads == 0, "%s.heads is %d, want a divisor of the channels, %d", key, u.Heads, u.Width*m)
		}
	}
}

// CNN checks the size of a classifier.
func (c *Check) CNN(key string, n nn.CNN) {
	c.That(n.Width > 0 && n.Width%8 == 0, "%s.width is %d, want a multiple of 8", key, n.Width)
	c.Fits(key, trained*4*9*4*float64(n.Width)*float64(n.Width))
}

// Fits notes what cannot be held in memory, before anything of that size is made: so many float32.
func (c *Check) Fits(key string, numbers float64) {
	if available, ok := machine.Memory(); ok {
		c.That(4*numbers <= available, "%s: that takes %.3g GB of memory, and %.3g GB are available", key, 4*numbers/1e9, available/1e9)
	}
}

// trained is how many times a network is in memory while it is trained: with its gradients, two moments and averages.
const trained = 5

// Err returns all faults as one error that wraps [ErrConfig]; nil if there are none.
func (c *Check) Err() error {
	if len(c.faults) == 0 {
		return nil
	}
	slices.Sort(c.faults)
	return fmt.Errorf("%w: %s", ErrConfig, strings.Join(slices.Compact(c.faults), "\n  and "))
}
