package textimage

import (
	"cmp"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/textimage/smallworld"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/sd"
)

//go:embed presets
var presets embed.FS

func init() {
	experiment.Register(experiment.Entry{Name: "textimage", About: "Fine-tune a text-to-image model to what people prefer: Table 2.",
		New: newProblem, Presets: presets, Default: "quick"})
}

// Problem is a text-to-image model and a reward of pictures for a text. Its tasks are texts.
type Problem struct {
	experiment.Common `yaml:",inline"`
	Model             string                  `yaml:"model,omitempty"`    // folder of Stable Diffusion
	Rewards           string                  `yaml:"reward,omitempty"`   // folder of ImageReward; of the small world its own
	HeldOut           string                  `yaml:"held_out,omitempty"` // another one, that is never trained on
	CLIP              string                  `yaml:"clip,omitempty"`     // folder of CLIP, which diversity is measured in
	World             string                  `yaml:"world,omitempty"`    // or folder of a small world; without either that of the program, see package smallworld
	Prompts           []string                `yaml:"prompts"`
	Negative          string                  `yaml:"negative,omitempty"` // what to guide away from
	Guidance          float64                 `yaml:"guidance_scale"`     // up to 1 there is none
	Scale             float64                 `yaml:"scale"`              // of the reward, 1/λ
	LoRA              htransform.LoRASettings `yaml:"lora,flow"`

	parts    parts
	folder   *sd.Folder
	latent   []int // shape of one
	base     sd.Guided
	lab      *engine.Engine // with base, and own fits of it
	vae      sd.Modules
	rewards  map[string]*reward.Pictured // by task
	heldOut  map[string]*reward.Pictured
	clip     *reward.CLIP
	checker  *smallworld.Checker
	warnings []string // of what the judges do not see of prompts
	decoder  *engine.Program
}

func newProblem() experiment.Problem {
	p := &Problem{}
	levels, err := sd.Schedule{Beta0: 0.00085, Beta1: 0.012, Steps: 1000}.Process()
	if err != nil {
		panic(err) // the numbers are constant
	}
	p.Process.Levels = levels // until the model is read
	return p
}

// small reports whether the model is the small world.
func (p *Problem) small() bool { return p.Model == "" }

// Check implements [experiment.Problem].
func (p *Problem) Check(c *config.Check) {
	c.Some("prompts", p.Prompts)
	c.That(p.Scale > 0 && !math.IsInf(p.Scale, 1), "scale is %g, want a positive number", p.Scale)
	c.That(p.Guidance >= 0 && !math.IsInf(p.Guidance, 1), "guidance_scale is %g, want a number of at least 0; up to 1 there is none", p.Guidance)
	c.That(p.Negative == "" || p.Guidance > 1, "negative is %q, but guidance_scale is %g: up to 1 it has no effect", p.Negative, p.Guidance)
	c.Positive("lora.rank", p.LoRA.Rank)
	c.That(p.small() || p.World == "", "model is %q and world is %q, want at most one of them: a folder of Stable Diffusion, or one of a small world other than the program's", p.Model, p.World)
	c.That(p.small() || p.Rewards != "", "reward is not set: want a folder with ImageReward, for the pictures of %s", p.Model)
	seen := map[string]string{}
	for _, prompt := range p.Prompts {
		name := slug(prompt)
		other, twice := seen[name]
		c.That(!twice && name != "", "prompts has %q, which has the name %q as %q has: want prompts that differ in more than their marks", prompt, name, other)
		seen[name] = prompt
	}
}

// slug makes the name of a task of a prompt: its words in small letters.
func slug(prompt string) string {
	words := strings.FieldsFunc(strings.ToLower(prompt), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127) })
	name := strings.Join(words, "_")
	if runes := []rune(name); len(runes) > 60 {
		name = string(runes[:60])
	}
	return name
}

// prompt undoes slug.
func (p *Problem) prompt(task string) string {
	for _, prompt := range p.Prompts {
		if slug(prompt) == task {
			return prompt
		}
	}
	return task
}

// Tasks implements [experiment.Problem].
func (p *Problem) Tasks() []string {
	var all []string
	for _, prompt := range p.Prompts {
		all = append(all, slug(prompt))
	}
	return all
}

// GroupOf implements [experiment.Problem]: every prompt is one.
func (p *Problem) GroupOf(task string) (name, title string) { return task, p.prompt(task) }

// parts are the folders and files of all networks; "" for those that there are not.
type parts struct{ model, reward, heldOut, clip, checker string }

// place settles where the networks are.
func (p *Problem) place() (err error) {
	p.parts = parts{model: p.Model}
	if p.small() {
		dir := p.World
		if dir == "" {
			if dir, err = smallworld.Extract(); err != nil {
				return err
			}
		}
		in := func(name string) string { return filepath.Join(dir, name) }
		p.parts = parts{in("model"), in("reward"), in("held-out"), in("clip"), filepath.Join(in("checker"), "checker.safetensors")}
	}
	p.parts.reward, p.parts.heldOut, p.parts.clip = cmp.Or(p.Rewards, p.parts.reward), cmp.Or(p.HeldOut, p.parts.heldOut), cmp.Or(p.CLIP, p.parts.clip)
	return nil
}

// Load implements [experiment.Problem]: it reads the configuration of the model.
func (p *Problem) Load() (data.Source, error) {
	err := p.place()
	if err != nil {
		return data.Source{}, err
	}
	if p.folder, err = sd.Open(p.parts.model); err != nil {
		return data.Source{}, err
	}
	if p.Process.Levels, err = p.folder.Schedule.Process(); err != nil {
		return data.Source{}, err
	}
	p.Process.ToData = p.folder.Schedule.AlphaToOne
	side := p.folder.UNet.Side
	if side == 0 {
		side = 64
	}
	p.latent = []int{side, side, p.folder.UNet.Channels}
	sum, err := p.fingerprint()
	return data.Source{Name: filepath.Base(p.parts.model), SHA256: sum}, err
}

// fingerprint returns a hash of all files that results depend on: those of the model and of all that judges pictures.
func (p *Problem) fingerprint() (string, error) {
	of, err := p.folder.SHA256()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	fmt.Fprintln(sum, of)
	for i, dir := range []string{p.parts.reward, p.parts.heldOut, p.parts.clip, filepath.Dir(p.parts.checker)} {
		if dir == "" || dir == "." {
			continue
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", err
		}
		for _, e := range entries {
			if !e.Type().IsRegular() && e.Type()&fs.ModeSymlink == 0 {
				continue
			}
			f, err := os.Open(filepath.Join(dir, e.Name()))
			if err != nil {
				return "", err
			}
			fmt.Fprintln(sum, i, e.Name())
			_, err = io.Copy(sum, f)
			if err = errors.Join(err, f.Close()); err != nil {
				return "", err
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// Prepare implements [experiment.Problem]: it reads the networks, and encodes the prompts.
func (p *Problem) Prepare(_ context.Context, l *experiment.Lab) (err error) {
	if err := p.read(l.Engine); err != nil {
		return err
	}
	if p.vae, err = load(p.folder.VAEWeights, l.Engine, "/vae", p.folder.VAE.Drawing); err != nil {
		return err
	}
	p.decoder, err = l.Engine.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{p.folder.VAE.Decode(p.vae, in[0])} })
	if err != nil {
		return err
	}
	return p.judges(l)
}

// read reads the base model, once, and encodes the prompts.
func (p *Problem) read(e *engine.Engine) error {
	if p.lab != nil {
		return nil
	}
	p.lab = e
	texts := append([]string{p.Negative}, p.Prompts...)
	states, warnings, err := p.folder.Encode(e.Scope("/texts"), e, sd.Texts{Texts: texts})
	if err != nil {
		return err
	}
	for i, warning := range warnings {
		if warning != "" {
			return fmt.Errorf("%w: prompts has %q: %s", config.ErrConfig, texts[i], warning)
		}
	}
	unet, err := load(p.folder.UNetWeights, e, "/unet", nil)
	if err != nil {
		return err
	}
	unet.Checkpoint = !p.small() // one block of Stable Diffusion's has more to keep than all of the small world's
	p.base = sd.Guided{UNet: p.folder.UNet, Modules: unet, Prediction: diffusion.Prediction(p.folder.Schedule.Prediction), Scale: p.Guidance, Texts: states}
	return nil
}

// load reads the weights of a part.
func load(open func() (*sd.Weights, error), e *engine.Engine, scope string, want func(string) bool) (m sd.Modules, err error) {
	w, err := open()
	if err != nil {
		return sd.Modules{}, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.Load(e.Scope(scope), want)
}

// Target implements [experiment.Problem].
func (p *Problem) Target(_ context.Context, _ *experiment.Lab, task string) (*method.Target, error) {
	base, err := p.prompted(task)
	if err != nil {
		return nil, err
	}
	evaluations := 1
	if base.Guides() {
		evaluations = 2
	}
	scaled := func(factor float64) reward.Reward { return decoded{p, p.rewards[task], p.Scale * factor} }
	return &method.Target{Base: base, Evaluations: evaluations, Shape: p.latent, Reward: scaled(1), Scaled: scaled, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, _ reward.Reward) (htransform.Learned, error) {
			h, err := p.LoRA.New(e.Scope(htransform.Path), base, key)
			if err != nil || !p.Self.On() {
				return h, err
			}
			self, err := p.LoRA.In(p.lab.Scope(nn.Averaged("/"+experiment.OwnFitOf(task))), base)
			if err != nil {
				return nil, err
			}
			return htransform.NewNeutralLoRA(h, self.Low)
		}}, nil
}

// prompted returns the base model of a task.
func (p *Problem) prompted(task string) (sd.Guided, error) {
	for i, t := range p.Tasks() {
		if t == task {
			base := p.base
			base.Text = i + 1
			return base, nil
		}
	}
	return sd.Guided{}, fmt.Errorf("there is no prompt %q", task)
}
