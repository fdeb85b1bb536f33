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

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/config"
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
