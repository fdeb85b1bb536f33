package experiment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// MNIST fine-tunes a prior over handwritten digits to single classes and to the even and odd digits (section 4.3, C.3).
type MNIST struct {
	Experiment string                `yaml:"experiment"` // "mnist"
	Seed       uint64                `yaml:"seed"`
	Seeds      int                   `yaml:"seeds"` // of fine-tuning and sampling; prior and classifiers are those of the first
	Data       string                `yaml:"data"`  // mnist, digits (drawn ones), or auto: mnist if it is here
	Drawn      int                   `yaml:"drawn"` // digits to train on where they are drawn, and a fifth of that to test on
	From       string                `yaml:"from"`  // folder with the four files of mnist; "" means that of the store, see [data.Dir]
	Tasks      []string              `yaml:"tasks"` // single_0 … single_9, even, odd
	Methods    []string              `yaml:"methods"`
	Scale      float64               `yaml:"scale"` // of the log probability
	Process    Process               `yaml:"process"`
	Network    UNet                  `yaml:"network"` // of the prior
	H          ImageControl          `yaml:"h"`
	Classifier ClassifierConfig      `yaml:"classifier"`
	Pretrain   diffusion.Pretraining `yaml:"pretrain"`
	Pool       int                   `yaml:"pool"` // base paths, simulated once, that all tasks begin with
	Guidance   Guidance              `yaml:"guidance"`
	Importance Loop                  `yaml:"importance"`
	RewardOnly Loop                  `yaml:"reward_only"`
	RAFT       Loop                  `yaml:"raft"`
	VarGrad    Loop                  `yaml:"vargrad"`
	BestOfK    int                   `yaml:"best_of_k"`
	SMC        struct {
		Threshold float64 `yaml:"threshold"`
	} `yaml:"smc"`
	Amplified Guidance `yaml:"importance_amplified"`
	Rejection struct {
		Rate float64 `yaml:"rate"` // of the paths that are simulated
	} `yaml:"importance_rejection"`
	ImportanceSMC struct {
		Particles int `yaml:"particles"`
	} `yaml:"importance_smc"`
	Variants []Variant `yaml:"variants"` // of importance, each a method of its own
	Samples  int       `yaml:"samples"`  // of each method and task, for the metrics
	Previews int       `yaml:"previews"` // iterations between two previews of importance; 0 means none
	Batch    int       `yaml:"batch"`    // rows in one network evaluation
	Backend  string    `yaml:"backend"`  // set by Run, so that a resumed run has the same
}

// UNet is the size of a [nn.UNet].
type UNet struct {
	Width       int   `yaml:"width"`
	Multipliers []int `yaml:"multipliers"`
	Blocks      int   `yaml:"blocks"`
	Heads       int   `yaml:"heads"`
	Patch       int   `yaml:"patch"`
	// Not in the JSON by which stored networks are found if they are zero:
	Bottom     int  `yaml:"bottom" json:",omitempty"`     // blocks of the lowest level
	Checkpoint bool `yaml:"checkpoint" json:",omitempty"` // trains with less memory, see [nn.UNet]
}

// ImageControl is the size of h, and its start: the network is NN1, ScaleWidth the width of NN2. Without the reward's
// gradient there is no NN2.
type ImageControl struct {
	UNet       `yaml:",inline"`
	ScaleWidth int     `yaml:"scale_width"`
	Start      float64 `yaml:"start"` // of NN2, see [htransform.Scale]
	Gradient   bool    `yaml:"gradient"`
	Tuned      bool    `yaml:"tuned"` // NN1 is a copy of the prior to begin with, see [htransform.RewardInformed]; its size is then that of the prior
}

// ClassifierConfig is the size and training of a classifier.
type ClassifierConfig struct {
	Width    int               `yaml:"width"`
	Training nn.Classification `yaml:",inline"`
}

// Variant is importance fine-tuning with other settings: an ablation.
type Variant struct {
	Name string   `yaml:"name"`
	Set  []string `yaml:"set"` // key=value, keys below importance and h
}

// mnistMethods are the names of the report, in its order.
var mnistMethods = []string{"base", "guidance", "vargrad", "reward_only", "raft", "best_of_k", "resampled", "smc", "importance", "importance_amplified", "importance_rejection", "importance_smc"}

var mnistTitles = map[string]string{"base": "Base model", "guidance": "Classifier guidance", "importance": "Importance (this method)",
	"reward_only": "Reward-only", "vargrad": "Online (VarGrad)", "raft": "RAFT (best of K)", "best_of_k": "Best of K", "resampled": "Base model, resampled",
	"smc": "SMC, twisted", "importance_amplified": "Importance, amplified",
	"importance_rejection": "Importance + rejection", "importance_smc": "Importance + SMC"}

var imageShape = []int{28, 28, 1}

const pixels = 28 * 28

// LoadMNISTConfig reads a configuration: a preset, then a file (if named), then key=value settings.
func LoadMNISTConfig(preset, file string, sets []string) (*MNIST, error) {
	m := &MNIST{Experiment: "mnist", Seed: 1, Seeds: 1, Drawn: 20_000}
	if err := decode(m, "mnist", preset, file, sets); err != nil {
		return nil, err
	}
	return m, m.validate()
}

func (m *MNIST) validate() error {
	c := &check{}
	c.that(m.Experiment == "mnist", "experiment is %q, want mnist", m.Experiment)
	c.positive("seeds", m.Seeds)
	c.that(slices.Contains([]string{"mnist", "digits", "auto"}, m.Data), "data is %q, want mnist, digits or auto", m.Data)
	c.that(m.Drawn >= 50, "drawn is %d, want at least 50", m.Drawn)
	c.that(len(m.Tasks) > 0, "tasks is empty, want some of single_0 … single_9, even, odd")
	for i, t := range m.Tasks {
		c.that(classes(t) != nil, "tasks has %q, want single_0 … single_9, even or odd", t)
		c.that(!slices.Contains(m.Tasks[:i], t), "tasks has %s twice", t)
	}
	known := slices.Clone(mnistMethods)
	for _, v := range m.Variants {
		c.that(v.Name != "" && !strings.ContainsAny(v.Name, `/\`), "variants has the name %q, want one without slashes", v.Name)
		c.that(!slices.Contains(known, v.Name), "variants has the name %q twice, or it is that of a method", v.Name)
		known = append(known, v.Name)
		for _, s := range v.Set {
			c.that(strings.HasPrefix(s, "importance.") || strings.HasPrefix(s, "h."), "variant %q sets %s, want keys below importance or h", v.Name, s)
		}
	}
	c.that(len(m.Methods) > 0, "methods is empty, want some of %s", strings.Join(known, ", "))
	for i, name := range m.Methods {
		c.that(slices.Contains(known, name), "methods has %q, want some of %s", name, strings.Join(known, ", "))
		c.that(!slices.Contains(m.Methods[:i], name), "methods has %s twice", name)
	}
	for _, name := range []string{"importance_amplified", "importance_rejection", "importance_smc"} {
		c.that(!m.wants(name) || m.wants("importance"), "methods has %s, which needs importance", name)
	}
	c.that(m.Scale > 0, "scale is %g, want a positive number", m.Scale)
	m.Process.check(c)
	m.Network.check("network", 28, c)
	m.H.UNet.check("h", 28, c)
	c.positive("h.scale_width", m.H.ScaleWidth)
	c.that(m.Classifier.Width > 0 && m.Classifier.Width%8 == 0, "classifier.width is %d, want a multiple of 8", m.Classifier.Width)
	c.positive("classifier.steps", m.Classifier.Training.Steps)
	c.positive("classifier.batch", m.Classifier.Training.Batch)
	c.positive("pretrain.steps", m.Pretrain.Steps)
	c.positive("pretrain.batch", m.Pretrain.Batch)
	c.optimizer("classifier", m.Classifier.Training.Optimizer)
	c.optimizer("pretrain", m.Pretrain.Optimizer)
	c.times("pretrain", m.Pretrain.Times)
	for name, loop := range m.loops() {
		if m.wants(name) {
			loop.check(name, c)
			c.that(loop.Prefill == 0, "%s.prefill is %d, want 0: set pool", name, loop.Prefill)
		}
	}
	for name, g := range map[string]Guidance{"guidance": m.Guidance, "importance_amplified": m.Amplified} {
		c.that(!m.wants(name) || len(g.Scales) > 0 && g.Paths > 1, "%s needs scales, and at least 2 paths to judge each by", name)
	}
	c.that(!m.wants("best_of_k") || m.BestOfK > 0, "best_of_k is %d, want a positive number", m.BestOfK)
	c.that(!m.wants("importance_rejection") || m.Rejection.Rate > 0 && m.Rejection.Rate <= 1, "importance_rejection.rate is %g, want a number in (0, 1]", m.Rejection.Rate)
	c.that(!m.wants("importance_smc") || m.ImportanceSMC.Particles > 0, "importance_smc.particles is %d, want a positive number", m.ImportanceSMC.Particles)
	c.that(m.Pool >= 0, "pool is %d, want at least 0", m.Pool)
	c.that(m.Samples > 1, "samples is %d, want at least 2", m.Samples)
	c.that(m.Previews >= 0, "previews is %d, want at least 0", m.Previews)
	c.positive("batch", m.Batch)
	if err := c.err(); err != nil {
		return err
	}
	for _, v := range m.Variants {
		if _, err := m.variant(v.Name); err != nil {
			return err
		}
	}
	return nil
}

func (u UNet) check(key string, side int, c *check) {
	c.that(u.Width > 0 && u.Width%2 == 0, "%s.width is %d, want an even positive number", key, u.Width)
	c.that(len(u.Multipliers) > 0 && slices.Min(u.Multipliers) > 0, "%s.multipliers are %v, want positive numbers", key, u.Multipliers)
	c.that(u.Blocks >= 0, "%s.blocks is %d, want at least 0", key, u.Blocks)
	c.that(u.Bottom >= 0, "%s.bottom is %d, want at least 0", key, u.Bottom)
	c.that(u.Heads >= 0, "%s.heads is %d, want at least 0", key, u.Heads)
	factor := max(u.Patch, 1) << max(len(u.Multipliers)-1, 0)
	c.that(u.Patch >= 0 && side%factor == 0, "%s cuts %d pixels into patches of %d and halves them %d times: want a divisor of %d", key, side, u.Patch,
		len(u.Multipliers)-1, side)
	if u.Heads > 1 {
		for _, m := range u.Multipliers {
			c.that(u.Width*m%u.Heads == 0, "%s.heads is %d, want a divisor of the channels, %d", key, u.Heads, u.Width*m)
		}
	}
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

func (m *MNIST) wants(name string) bool { return slices.Contains(m.Methods, name) }

// loops returns the settings of the fine-tuning methods.
func (m *MNIST) loops() map[string]Loop {
	return map[string]Loop{"importance": m.Importance, "reward_only": m.RewardOnly, "raft": m.RAFT, "vargrad": m.VarGrad}
}

// loop returns the settings of a fine-tuning method; those of importance for a variant, in the variant's configuration.
func (m *MNIST) loop(name string) Loop {
	if loop, ok := m.loops()[name]; ok {
		return loop
	}
	return m.Importance
}

// variant returns the configuration of a fine-tuning method, and the method: for a variant, importance.
func (m *MNIST) variant(name string) (*MNIST, error) {
	for _, v := range m.Variants {
		if v.Name != name {
			continue
		}
		changed := *m
		changed.Variants = nil
		for _, set := range v.Set {
			key, value, _ := strings.Cut(set, "=")
			if err := strict(&changed, nested(key, value), fmt.Sprintf("variant %q, %s", name, set)); err != nil {
				return nil, err
			}
		}
		changed.Methods = []string{"importance"}
		return &changed, changed.validate()
	}
	return m, nil
}

// title returns a method's name for people.
func (m *MNIST) title(name string) string {
	if t, ok := mnistTitles[name]; ok {
		return t
	}
	return name
}

// learned are the methods that leave a checkpoint.
func (m *MNIST) learned(name string) bool {
	return slices.Contains(slices.Collect(maps.Keys(m.loops())), name) || slices.ContainsFunc(m.Variants, func(v Variant) bool { return v.Name == name })
}

func (m *MNIST) classifier(e *engine.Engine, path string) nn.CNN {
	return nn.CNN{Scope: e.Scope(path), In: 1, Out: 10, Width: m.Classifier.Width}
}

func (m *MNIST) prior(e *engine.Engine, path string) diffusion.Network {
	return diffusion.Network{Velocity: m.Network.net(e.Scope(path), 1, 1)}
}

// control creates an h with parameters below path.
func (m *MNIST) control(e *engine.Engine, path string, r reward.Differentiable, prior diffusion.Network, key noise.Key) (htransform.Learned, error) {
	size, in := m.H.UNet, 3
	if m.H.Tuned {
		size = m.Network
	}
	if !m.H.Gradient {
		in = 2
	}
	nn1 := size.net(e.Scope(path+"/nn1"), in, 1).Init(key, 0, 0)
	if m.H.Tuned {
		if err := nn.Copy(nn1, prior.Velocity); err != nil {
			return nil, err
		}
	}
	if !m.H.Gradient {
		return htransform.RewardFree{NN1: nn1, Tuned: m.H.Tuned}, nil
	}
	return htransform.RewardInformed{Reward: r, NN1: nn1, Tuned: m.H.Tuned, NN2: htransform.Scale(e.Scope(path+"/nn2"), m.H.ScaleWidth, m.H.Start, key)}, nil
}

func (m *MNIST) sampler(e *engine.Engine, base diffusion.Model, h diffusion.Control) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: e, Process: m.Process.Schedule, Steps: m.Process.steps(0), Shape: imageShape, Base: base,
		Control: h, Batch: m.Batch}
}
