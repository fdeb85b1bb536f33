package experiment

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/reward"
)

// SuperRes samples the posteriors of linear inverse problems, y = Ax + σξ, on photographs of flowers (section 4.2, C.2,
// Figure 2), and compares with other methods on the same measurements. On Gaussian data, where posterior means and
// covariances are known, it checks the whole chain.
type SuperRes struct {
	Experiment       string                `yaml:"experiment"` // "superres"
	Seed             uint64                `yaml:"seed"`
	Seeds            int                   `yaml:"seeds"` // of fine-tuning and sampling; prior and features are those of the first
	Data             string                `yaml:"data"`  // flowers102; digits (drawn ones); auto: flowers102 if it is here; gaussian
	Drawn            int                   `yaml:"drawn"` // digits to train on where they are drawn, and a fifth of that to test on
	From             string                `yaml:"from"`  // folder with the files of flowers102; "" means that of the store, see [data.Dir]
	Gaussian         Field                 `yaml:"gaussian"`
	Operator         string                `yaml:"operator"` // see [reward.NewOperator]
	Sigma            float64               `yaml:"sigma"`    // of the measurements
	Measurements     int                   `yaml:"measurements"`
	Samples          int                   `yaml:"samples"` // of the posterior of each measurement
	Methods          []string              `yaml:"methods"`
	Process          Process               `yaml:"process"`
	Network          UNet                  `yaml:"network"` // of the prior
	Pretrain         diffusion.Pretraining `yaml:"pretrain"`
	Flip             bool                  `yaml:"flip"` // half of the images that the prior is trained on are mirrored
	H                ImageControl          `yaml:"h"`
	Classifier       ClassifierConfig      `yaml:"classifier"` // of kinds of flowers, in whose features the Fréchet distance is measured
	Importance       Loop                  `yaml:"importance"`
	ImportanceSingle Loop                  `yaml:"importance_single"` // of one measurement
	VarGrad          Loop                  `yaml:"vargrad"`
	Group            int                   `yaml:"group"`  // paths of one measurement in an iteration, selected among themselves
	Single           int                   `yaml:"single"` // the measurement, from 0, that importance_single is about
	Fast             int                   `yaml:"fast"`   // steps of importance_fast
	Guidance         Guidance              `yaml:"guidance"`
	SMC              struct {
		Threshold float64 `yaml:"threshold"`
		Particles int     `yaml:"particles"` // simulated per returned sample
	} `yaml:"smc"`
	Held     int    `yaml:"held"`     // measurements of test images on which importance is judged after every iteration, with Group paths each
	Previews int    `yaml:"previews"` // iterations between two previews of importance; 0 means none
	Batch    int    `yaml:"batch"`    // rows in one network evaluation
	Backend  string `yaml:"backend"`  // set by Run, so that a resumed run has the same
}

// Field is Gaussian data: images of Side×Side with mean 0 and covariance SD²·exp(−d²/(2·Length²)) at distance d.
type Field struct {
	Side   int     `yaml:"side"`
	Length float64 `yaml:"length"` // pixels
	SD     float64 `yaml:"sd"`
}

// superResMethods are the names of the report, in its order.
var superResMethods = []string{"bicubic", "dps", "smc", "vargrad", "importance", "importance_fast", "importance_single"}

// LoadSuperRes reads a configuration: a preset, then a file (if named), then key=value settings.
func LoadSuperRes(preset, file string, sets []string) (*SuperRes, error) {
	s := &SuperRes{Experiment: "superres", Seed: 1, Seeds: 1, Drawn: 5000}
	if err := decode(s, "superres", preset, file, sets); err != nil {
		return nil, err
	}
	return s, s.validate()
}

func (s *SuperRes) validate() error {
	c := &check{}
	c.that(s.Experiment == "superres", "experiment is %q, want superres", s.Experiment)
	c.positive("seeds", s.Seeds)
	c.that(slices.Contains([]string{"flowers102", "digits", "auto", "gaussian"}, s.Data), "data is %q, want flowers102, digits, auto or gaussian", s.Data)
	c.that(s.Drawn >= 50, "drawn is %d, want at least 50", s.Drawn)
	if s.gaussian() {
		c.that(s.Gaussian.Side > 0 && s.Gaussian.Side <= 32, "gaussian.side is %d, want 1 to 32", s.Gaussian.Side)
		c.that(s.Gaussian.Length > 0 && s.Gaussian.SD > 0, "gaussian.length and sd are %g and %g, want positive numbers", s.Gaussian.Length, s.Gaussian.SD)
		c.that(!s.H.Tuned, "h.tuned is true, but the Gaussian prior has no network to copy")
	}
	for _, image := range s.images() {
		_, err := reward.NewOperator(s.Operator, image)
		c.that(err == nil, "operator: %v", err)
		if !s.gaussian() {
			s.Network.check("network", image[0], c)
		}
		s.H.UNet.check("h", image[0], c)
	}
	c.that(s.Sigma > 0, "sigma is %g, want a positive number", s.Sigma)
	c.positive("measurements", s.Measurements)
	c.that(s.Samples > 1, "samples is %d, want at least 2", s.Samples)
	c.that(len(s.Methods) > 0, "methods is empty, want some of %s", strings.Join(superResMethods, ", "))
	for i, name := range s.Methods {
		c.that(slices.Contains(superResMethods, name), "methods has %q, want some of %s", name, strings.Join(superResMethods, ", "))
		c.that(!slices.Contains(s.Methods[:i], name), "methods has %s twice", name)
	}
	c.that(!s.wants("importance_fast") || s.wants("importance"), "methods has importance_fast, which needs importance")
	s.Process.check(c)
	c.positive("h.scale_width", s.H.ScaleWidth)
	c.that(s.H.Gradient, "h.gradient is false: the likelihood of a measurement has a gradient, and h uses it")
	if !s.gaussian() {
		c.that(s.Classifier.Width > 0 && s.Classifier.Width%8 == 0, "classifier.width is %d, want a multiple of 8", s.Classifier.Width)
		c.positive("classifier.steps", s.Classifier.Training.Steps)
		c.positive("classifier.batch", s.Classifier.Training.Batch)
		c.optimizer("classifier", s.Classifier.Training.Optimizer)
		c.positive("pretrain.steps", s.Pretrain.Steps)
		c.positive("pretrain.batch", s.Pretrain.Batch)
		c.optimizer("pretrain", s.Pretrain.Optimizer)
		c.times("pretrain", s.Pretrain.Times)
	}
	c.positive("group", s.Group)
	for _, name := range superResMethods {
		if loop := s.loop(name); s.wants(name) && s.learned(name) {
			loop.check(name, c)
			c.that(loop.Prefill == 0, "%s.prefill is %d, want 0", name, loop.Prefill)
			c.that(s.Group > 0 && loop.Paths%s.Group == 0, "%s.paths is %d, want a multiple of group, %d", name, loop.Paths, s.Group)
		}
	}
	c.that(!s.wants("vargrad") || s.Group > 1, "group is %d, want at least 2: VarGrad needs the variance among the paths of a measurement", s.Group)
	c.that(s.Single >= 0 && s.Single < s.Measurements, "single is %d, want one of the %d measurements, from 0", s.Single, s.Measurements)
	c.that(!s.wants("importance_fast") || s.Fast > 0, "fast is %d, want a positive number of steps", s.Fast)
	c.that(!s.wants("dps") || len(s.Guidance.Scales) > 0 && s.Guidance.Paths > 1, "guidance needs scales, and at least 2 paths to judge each by")
	c.that(!s.wants("smc") || s.SMC.Particles > 0, "smc.particles is %d, want a positive number", s.SMC.Particles)
	c.that(s.Held > 0 && s.Held <= s.Measurements, "held is %d, want 1 to the number of measurements, %d", s.Held, s.Measurements)
	c.that(s.Previews >= 0, "previews is %d, want at least 0", s.Previews)
	c.positive("batch", s.Batch)
	return c.err()
}

func (s *SuperRes) gaussian() bool { return s.Data == "gaussian" }

func (s *SuperRes) wants(name string) bool { return slices.Contains(s.Methods, name) }

// images returns the shapes that an image may have: of data auto, more than one.
func (s *SuperRes) images() [][]int {
	flowers, digits := []int{64, 64, 3}, []int{28, 28, 1}
	switch s.Data {
	case "flowers102":
		return [][]int{flowers}
	case "digits":
		return [][]int{digits}
	case "gaussian":
		return [][]int{{s.Gaussian.Side, s.Gaussian.Side, 1}}
	}
	return [][]int{flowers, digits}
}

// image returns the shape of an image, once data are not auto.
func (s *SuperRes) image() []int { return s.images()[0] }

// loop returns the settings of a fine-tuning method.
func (s *SuperRes) loop(method string) Loop {
	switch method {
	case "vargrad":
		return s.VarGrad
	case "importance_single":
		return s.ImportanceSingle
	}
	return s.Importance
}

// learned are the methods that leave a checkpoint.
func (s *SuperRes) learned(method string) bool {
	return slices.Contains([]string{"vargrad", "importance", "importance_single"}, method)
}

var superResTitles = map[string]string{"bicubic": "Bicubic upsampling", "dps": "DPS-style guidance", "smc": "SMC, twisted", "vargrad": "Online (VarGrad)",
	"importance": "Importance (this method)", "importance_fast": "Importance, few steps", "importance_single": "Importance, one measurement"}

// title returns a method's name for people.
func (s *SuperRes) title(method string) string {
	switch {
	case method == "bicubic" && !strings.HasPrefix(s.Operator, "average-"):
		return "Backprojection"
	case method == "importance_fast":
		return fmt.Sprintf("Importance, %d steps", s.Fast)
	}
	return superResTitles[method]
}

// prior creates the network of the prior with its parameters below path.
func (s *SuperRes) prior(e *engine.Engine, path string) diffusion.Network {
	return diffusion.Network{Velocity: s.Network.net(e.Scope(path), s.channels(), s.channels())}
}

func (s *SuperRes) channels() int { return s.image()[2] }

// classifier creates the network whose features are used, with its parameters below path.
func (s *SuperRes) classifier(e *engine.Engine, path string) nn.CNN {
	kinds := 102
	if s.Data == "digits" {
		kinds = 10
	}
	return nn.CNN{Scope: e.Scope(path), In: s.channels(), Out: kinds, Width: s.Classifier.Width}
}

// net returns the network with its parameters in a scope.
func (u UNet) net(s *model.Scope, in, out int) nn.UNet {
	return nn.UNet{Scope: s, In: in, Out: out, Width: u.Width, Multipliers: u.Multipliers, Blocks: u.Blocks, Bottom: u.Bottom, Heads: u.Heads,
		Patch: u.Patch, Checkpoint: u.Checkpoint}
}
