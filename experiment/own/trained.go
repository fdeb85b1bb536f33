package own

import (
	"cmp"
	"fmt"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

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
	n.Train = func(g experiment.Ground, key noise.Key) (*nn.Trainer, func(step int) []any, error) {
		file, _, err := experiment.Trained(t.folder)
		if err != nil {
			return nil, nil, fmt.Errorf("prior.run: %w", err)
		}
		if sum, err := digest(file); err != nil || sum != t.sha256 {
			return nil, nil, fmt.Errorf("prior.run: %s is not what it was when this run began (%w)", file, cmp.Or(err, experiment.ErrFolder))
		}
		trainer, inputs, err := train(g, key)
		if err == nil {
			err = nn.Load(file, g.Engine, experiment.TrainedPath)
		}
		return trainer, inputs, err
	}
	return n
}
