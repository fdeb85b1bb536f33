package own

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
)

// files are those that a reward is made of. Their paths become absolute, since a run may be resumed elsewhere.
func (t *Term) files() (out []string, err error) {
	if t.Settings, err = t.Located(); err != nil {
		return nil, err
	}
	for _, word := range t.Command {
		if info, err := os.Stat(word); err == nil && filepath.IsAbs(word) && info.Mode().IsRegular() {
			out = append(out, word)
		}
	}
	for _, path := range []*string{&t.Classifier, &t.CLIP, &t.ImageReward, &t.Measurement, &t.Truth} {
		if *path == "" {
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
		out = append(out, *path)
	}
	return out, nil
}

// loadTerms reads what rewards are made of, and refuses files that are not those of the run.
func (p *Problem) loadTerms() error {
	p.networks = nil
	for i := range p.terms() {
		t := p.term(i)
		files, err := t.files()
		if err != nil {
			return fmt.Errorf("%s: %w", p.key(i), err)
		}
		if len(files) == 0 {
			continue
		}
		sum, err := digest(files...)
		if err != nil {
			return fmt.Errorf("%w: %s.%s: %w; want the path of %s", experiment.ErrConfig, p.key(i), t.kind(), err, t.wanted())
		}
		if t.SHA256 != "" && t.SHA256 != sum {
			return fmt.Errorf("%w: %s: %s is not what it was when the run began: undo the change, or begin another run with --out", experiment.ErrConfig, p.key(i), strings.Join(files, ", "))
		}
		if t.SHA256 = sum; t.Classifier != "" {
			if err := p.loadClasses(i, t); err != nil {
				return fmt.Errorf("%s: %w", p.key(i), err)
			}
		}
	}
	return nil
}

// wanted says what the file or folder of a reward is, for people who have named another.
func (t Term) wanted() string {
	switch t.kind() {
	case "classifier":
		return "a folder with a folder of pictures for each class"
	case "measurement", "truth":
		return "a picture"
	case "clip", "imagereward":
		return "a folder of the model, such as doob data get fetches"
	}
	return "a file that can be read"
}
