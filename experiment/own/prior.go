package own

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/config"
)

// Prior says where the prior comes from: pictures, on which it is trained, a run that has trained one, or a model that others have trained. With a run or a
// model, pictures are only what results are compared with.
type Prior struct {
	Pictures string `yaml:"pictures,omitempty"` // folder, see [data.ReadFolder] for what is done to pictures of another size
	Size     string `yaml:"size,omitempty"`     // WIDTHxHEIGHT, in pixels; none means 32x32, or that of the run or the model
	Gray     bool   `yaml:"gray,omitempty"`     // without colours
	Flip     bool   `yaml:"flip,omitempty"`     // half of the pictures that it is trained on are mirrored
	Run      string `yaml:"run,omitempty"`      // run folder
	Model    string `yaml:"model,omitempty"`    // folder of an unconditional model in the layout of diffusers, see [sd.Unconditional]
	SHA256   string `yaml:"sha256,omitempty"`   // of the parameters of the run or of the model, as this one has found them
}

const defaultSize = "32x32"

// check notes what is wrong with a prior.
func (s *Prior) check(c *config.Check) {
	c.That(s.Pictures != "" || s.Run != "" || s.Model != "", "prior is empty: want pictures: DIR, on which it is trained, run: DIR or model: DIR; doob init pictures writes an example")
	c.That(s.Run == "" || s.Model == "", "prior has run %s and model %s, want one of them", s.Run, s.Model)
	_, err := s.shape()
	c.That(err == nil, "prior.size: %v", err)
}

// trained reports whether the prior is trained in this run.
func (s *Prior) trained() bool { return s.Run == "" && s.Model == "" }

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
	if s.Model != "" {
		if err := s.loadModel(p); err != nil {
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
	out := data.Source{Name: filepath.Base(cmp.Or(s.Pictures, s.Run, s.Model))}
	if p.pictures.N > 0 {
		out.SHA256 = p.pictures.SHA256()
	}
	if !s.trained() {
		sum := sha256.Sum256([]byte(s.SHA256 + out.SHA256))
		out.SHA256 = hex.EncodeToString(sum[:])
	}
	return out
}

// text says where the prior comes from, for people.
func (s *Prior) text() string {
	if s.Run != "" {
		return "the prior of " + filepath.Base(s.Run)
	}
	if s.Model != "" {
		return filepath.Base(s.Model)
	}
	return "the pictures in " + filepath.Base(s.Pictures)
}
