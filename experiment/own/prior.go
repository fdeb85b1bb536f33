package own

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Prior says where the prior comes from: pictures, on which it is trained, or a run that has trained one. With a run, pictures are only what results
// are compared with.
type Prior struct {
	Pictures string `yaml:"pictures,omitempty"` // folder, see [data.ReadFolder] for what is done to pictures of another size
	Size     string `yaml:"size,omitempty"`     // WIDTHxHEIGHT, in pixels; none means 32x32, or that of the run
	Gray     bool   `yaml:"gray,omitempty"`     // without colours
	Flip     bool   `yaml:"flip,omitempty"`     // half of the pictures that it is trained on are mirrored
	Run      string `yaml:"run,omitempty"`      // run folder
	Model    string `yaml:"model,omitempty"`    // refused, with what to do instead
	SHA256   string `yaml:"sha256,omitempty"`   // of the parameters of the run, as this one has found them
}

const defaultSize = "32x32"

// check notes what is wrong with a prior.
func (s *Prior) check(c *config.Check) {
	c.That(s.Pictures != "" || s.Run != "" || s.Model != "", "prior is empty: want pictures: DIR, on which it is trained, or run: DIR; doob init pictures writes an example")
	_, err := s.shape()
	c.That(err == nil, "prior.size: %v", err)
	if s.Model != "" {
		c.That(false, "prior.model is %s: %s", s.Model, modelHint(s.Model))
	}
}

// modelHint says what to do with a folder of a model.
func modelHint(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "model_index.json"))
	switch {
	case err != nil:
		return "there is no model_index.json: want a folder in the layout of diffusers"
	case strings.Contains(string(text), "StableDiffusion"):
		return "a Stable Diffusion is tuned by experiment: textimage, with the key model; doob init textimage writes an example"
	}
	return "this version tunes Stable Diffusion (doob init textimage), and priors that it has trained: want pictures or run"
}

// shape returns that of a sample, [height, width, channels].
func (s *Prior) shape() ([]int, error) {
	size := cmp.Or(s.Size, defaultSize)
	wide, high, ok := strings.Cut(size, "x")
	width, err := strconv.Atoi(wide)
	height, other := strconv.Atoi(high)
	if !ok || err != nil || other != nil || width < 4 || height < 4 || width > 512 || height > 512 {
		return nil, fmt.Errorf("it is %q, want WIDTHxHEIGHT with sides of 4 to 512 pixels, such as %s", size, defaultSize)
	}
	channels := 3
	if s.Gray {
		channels = 1
	}
	return []int{height, width, channels}, nil
}

// load reads a prior. Without its pictures the error is [data.ErrMissing], and what there is of a run can be sampled.
func (s *Prior) load(p *Problem) error {
	if s.Run != "" {
		if err := s.loadRun(p); err != nil {
			return err
		}
	}
	if s.Pictures == "" {
		return nil
	}
	s.Size = cmp.Or(s.Size, defaultSize)
	for _, dir := range []*string{&s.Pictures, &p.From} { // a run may be resumed elsewhere
		var err error
		if *dir != "" {
			if *dir, err = filepath.Abs(*dir); err != nil {
				return err
			}
		}
	}
	shape, err := s.shape()
	if err != nil {
		return err
	}
	p.pictures, err = data.ReadFolder(cmp.Or(p.From, s.Pictures), shape[0], shape[1], shape[2])
	if errors.Is(err, data.ErrMissing) {
		return fmt.Errorf("%w; prior.pictures names the folder of pictures, and --from of doob run and doob sample where it is now", err)
	}
	return err
}

// source describes what the prior was trained on.
func (s *Prior) source(p *Problem) data.Source {
	out := data.Source{Name: filepath.Base(cmp.Or(s.Pictures, s.Run))}
	if p.pictures.N > 0 {
		out.SHA256 = p.pictures.SHA256()
	}
	if p.run != nil {
		sum := sha256.Sum256([]byte(p.run.sha256 + out.SHA256))
		out.SHA256 = hex.EncodeToString(sum[:])
	}
	return out
}

// text says where the prior comes from, for people.
func (s *Prior) text() string {
	if s.Run != "" {
		return "the prior of " + filepath.Base(s.Run)
	}
	return "the pictures in " + filepath.Base(s.Pictures)
}

// trained is a prior that a run has trained.
type trained struct {
	folder string
	sha256 string
}

// loadRun settles the network, the process and the size to be those of the run. Where that was done, by the process that began, the other run may be gone:
// its parameters are in the folder of this one.
func (s *Prior) loadRun(p *Problem) (err error) {
	if s.SHA256 != "" {
		p.run = &trained{folder: s.Run, sha256: s.SHA256}
		return nil
	}
	if s.Run, err = filepath.Abs(s.Run); err != nil {
		return err
	}
	file, text, err := experiment.Trained(s.Run)
	if err != nil {
		return fmt.Errorf("prior.run: %w", err)
	}
	var made struct {
		Experiment string           `yaml:"experiment"`
		Data       string           `yaml:"data"`
		Network    nn.UNet          `yaml:"network"`
		Process    diffusion.Scheme `yaml:"process"`
		Prior      Prior            `yaml:"prior"`
	}
	if err := yaml.Unmarshal(text, &made); err != nil {
		return fmt.Errorf("prior.run: %s: %w", s.Run, err)
	}
	size, gray := made.Prior.Size, made.Prior.Gray
	switch {
	case made.Experiment == "own":
	case made.Experiment == "mnist", made.Experiment == "superres" && made.Data == "digits":
		size, gray = "28x28", true
	case made.Experiment == "superres" && made.Data == "flowers102":
		size, gray = "64x64", false
	default:
		return fmt.Errorf("%w: prior.run: %s is a run of %s, whose prior is not over pictures that this problem knows: want a run of own, mnist or superres", experiment.ErrConfig, s.Run, made.Experiment)
	}
	if s.Size != "" && s.Size != size {
		return fmt.Errorf("%w: prior.size is %s, but the prior of %s is over pictures of %s: leave size out", experiment.ErrConfig, s.Size, s.Run, size)
	}
	s.Size, s.Gray, p.Network, p.Process.VP = size, gray, made.Network, made.Process.VP
	if s.SHA256, err = digest(file); err != nil {
		return err
	}
	p.run = &trained{folder: s.Run, sha256: s.SHA256}
	shape, err := s.shape()
	if err != nil {
		return fmt.Errorf("prior.run: %s: its pictures have a size that is not known: %w", s.Run, err)
	}
	c := &config.Check{}
	p.H.Check(c, p.Network, shape[0])
	p.H.Check(c, p.Network, shape[1])
	return c.Err()
}

// network makes the training of a prior one without steps, that ends with the parameters of the run.
func (t *trained) network(n experiment.Network) experiment.Network {
	train := n.Train
	n.Steps, n.Settings = 0, t.sha256
	n.Train = func(g experiment.Ground, net nn.Network, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
		file, _, err := experiment.Trained(t.folder)
		if err != nil {
			return nil, nil, fmt.Errorf("prior.run: %w", err)
		}
		if sum, err := digest(file); err != nil || sum != t.sha256 {
			return nil, nil, fmt.Errorf("prior.run: %s is not what it was when this run began (%w)", file, cmp.Or(err, experiment.ErrFolder))
		}
		trainer, inputs, err := train(g, net, key)
		if err == nil {
			err = nn.Load(file, g.Engine, experiment.TrainedPath)
		}
		return trainer, inputs, err
	}
	return n
}
