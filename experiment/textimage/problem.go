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
	Scorers           []Term                  `yaml:"rewards,omitempty"`  // from outside: r is their sum, and that of reward if that is named
	Evaluate          []Term                  `yaml:"evaluate,omitempty"` // measured too, and never trained on
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
	scorers  []scorer
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
	c.That(p.small() || p.Rewards != "" || len(p.Scorers) > 0, "neither reward nor rewards is set: want a folder with ImageReward, or rewards: [{command: [python3, score.py]}], for the pictures of %s", p.Model)
	p.checkTerms(c)
	seen := map[string]string{}
	for _, prompt := range p.Prompts {
		name := slug(prompt)
		other, twice := seen[name]
		c.That(!twice && name != "", "prompts has %q, which has the name %q as %q has: want prompts that differ in more than their marks", prompt, name, other)
		seen[name] = prompt
	}
}

// Offers implements [experiment.Problem]: rewards from outside have no gradient.
func (p *Problem) Offers() method.Needs {
	offers := p.Common.Offers()
	if len(p.Scorers) > 0 {
		offers &^= method.Gradient
	}
	return offers
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
	if len(p.Scorers) > 0 {
		p.parts.reward = ""
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
	files, err := p.locate()
	if err != nil {
		return data.Source{}, err
	}
	sum, err := p.fingerprint(files)
	return data.Source{Name: filepath.Base(p.parts.model), SHA256: sum}, err
}

// fingerprint returns a hash of all files that results depend on: those of the model, of all that judges pictures, and of programs that do.
func (p *Problem) fingerprint(programs []string) (string, error) {
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
			fmt.Fprintln(sum, i, e.Name())
			if err := add(sum, filepath.Join(dir, e.Name())); err != nil {
				return "", err
			}
		}
	}
	for _, file := range programs {
		fmt.Fprintln(sum, file)
		if err := add(sum, file); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// add adds what a file has to a hash.
func add(sum io.Writer, file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(sum, f)
	return errors.Join(err, f.Close())
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
	judged, err := p.judged(task)
	if err != nil {
		return nil, err
	}
	return &method.Target{Base: base, Evaluations: p.evaluations(), Shape: p.latent, Reward: judged(1), Scaled: judged, Conditions: 1,
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

// evaluations are how many of the U-Net a call of the base model is.
func (p *Problem) evaluations() int {
	if (sd.Guided{Scale: p.Guidance}).Guides() {
		return 2
	}
	return 1
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
