package own

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/sd"
)

// Settle implements [experiment.Settler]: of a model, the noise levels are its own, h is a network beside it and not a copy, and there is no own fit, which
// would be of such a copy. What the presets say of a process with continuous times is left out.
func (p *Problem) Settle() {
	if p.Base.Model == "" {
		return
	}
	p.H.Tuned, p.Self.Paths = false, 0
	s := &p.Process
	s.Spacing = cmp.Or(s.Spacing, "trailing") // the others do not begin at pure noise
	if s.VP == (diffusion.VP{Beta0: 0.1, Beta1: 20}) && s.Power == 2 {
		s.VP, s.Power = diffusion.VP{}, 0
	}
	if s.Levels == nil { // until the model is read
		levels, err := sd.Schedule{Cosine: true, Steps: 1000}.Process()
		if err != nil {
			panic(err) // the numbers are constant
		}
		s.Levels = levels
	}
}

// loadModel reads the configuration of a model, and settles size and noise levels to be its own.
func (s *Prior) loadModel(p *Problem) (err error) {
	if s.Model, err = filepath.Abs(s.Model); err != nil { // a run may be resumed elsewhere
		return err
	}
	if p.model, err = sd.OpenUnconditional(s.Model); err != nil {
		return fmt.Errorf("prior.model: %w", err)
	}
	sum, err := digest(s.Model)
	if err != nil {
		return fmt.Errorf("prior.model: %w", err)
	}
	if s.SHA256 != "" && s.SHA256 != sum {
		return fmt.Errorf("%w: prior.model: %s is not what it was when the run began: undo the change, or begin another run with --out", experiment.ErrConfig, s.Model)
	}
	s.SHA256 = sum
	if err := s.fit(p.model.UNet); err != nil {
		return fmt.Errorf("%w: prior.model: %s %w", experiment.ErrConfig, s.Model, err)
	}
	if p.Process.Levels, err = p.model.Schedule.Process(); err != nil {
		return fmt.Errorf("prior.model: %s: %w", s.Model, err)
	}
	p.Process.ToData = p.model.Schedule.AlphaToOne
	shape, err := s.shape()
	if err != nil {
		return fmt.Errorf("prior.model: %s: %w", s.Model, err)
	}
	c := &config.Check{}
	c.Scheme("process", p.Process)
	for _, side := range shape[:2] {
		p.H.Check(c, p.Network, side)
	}
	return c.Err()
}

// fit settles the size of pictures, and whether they have colours.
func (s *Prior) fit(u sd.UNet2D) error {
	size := fmt.Sprintf("%dx%d", u.Width, u.Height)
	switch {
	case u.Channels != 1 && u.Channels != 3:
		return fmt.Errorf("is over pictures of %d channels, want 1 or 3", u.Channels)
	case s.Gray && u.Channels == 3:
		return errors.New("is over pictures with colours, but prior.gray is true: leave it out")
	case u.Width > 0 && s.Size != "" && s.Size != size:
		return fmt.Errorf("is over pictures of %s, but prior.size is %s: leave size out", size, s.Size)
	case u.Width > 0:
		s.Size = size
	}
	s.Gray = u.Channels == 1
	if shape, err := s.shape(); err == nil && (shape[0]%u.Factor() != 0 || shape[1]%u.Factor() != 0) {
		return fmt.Errorf("takes pictures whose sides are multiples of %d, but prior.size is %s", u.Factor(), cmp.Or(s.Size, defaultSize))
	}
	return nil
}

// loadWeights reads those of the model into an engine.
func (p *Problem) loadWeights(e *engine.Engine) (diffusion.Model, error) {
	w, err := p.model.Weights()
	if err != nil {
		return nil, fmt.Errorf("prior.model: %w", err)
	}
	m, err := w.Load(e.Scope("/model"), nil)
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, fmt.Errorf("prior.model: %w", err)
	}
	return sd.Unguided{UNet: p.model.UNet, Modules: m, Prediction: diffusion.Prediction(p.model.Schedule.Prediction)}, nil
}
