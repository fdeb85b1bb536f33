package imaging

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/noise"
)

// Images says which images are learned from.
type Images struct {
	Data  string `yaml:"data"`           // the name of a data set, or "digits" (drawn ones); "auto" is the data set if it is here
	Drawn int    `yaml:"drawn"`          // digits to train on where they are drawn, and a fifth of that to test on
	From  string `yaml:"from,omitempty"` // folder with the files of the data set; "" means that of the store, see [data.Dir]
}

// CheckImages checks the settings of a problem with a data set and perhaps other images.
func (s *Images) CheckImages(c *config.Check, set string, others ...string) {
	c.OneOf("data", s.Data, slices.Concat([]string{set, "digits", "auto"}, others)...)
	c.That(s.Drawn >= 50, "drawn is %d, want at least 50", s.Drawn)
	c.Fits("drawn", 1.2*28*28*float64(s.Drawn))
}

// Read reads a data set or draws digits, and settles which of them "auto" is.
func (s *Images) Read(set string, load func(dir string) (train, test data.Images, err error)) (train, test data.Images, err error) {
	if s.Data == "digits" {
		digits := data.Digits(noise.New(0), s.Drawn, s.Drawn/5)
		return digits.Train, digits.Test, nil
	}
	dir := s.From
	if dir == "" {
		dir, err = data.Dir(set)
	} else if dir, err = filepath.Abs(dir); err == nil {
		s.From = dir // a run may be resumed elsewhere
	}
	if err == nil {
		train, test, err = load(dir)
	}
	switch missing := errors.Is(err, data.ErrMissing); {
	case missing && s.Data == "auto" && s.From == "":
		s.Data = "digits"
		return s.Read(set, load)
	case missing:
		err = fmt.Errorf("%w; doob data get %s fetches them, --from DIR names another folder, --set data=digits draws digits instead", err, set)
	case err == nil:
		s.Data = set
	}
	return train, test, err
}
