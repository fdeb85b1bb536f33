package experiment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/nn"
)

// Trained finds the base model that a run has trained: the file with its averages, which lie below [nn.Averaged] of /base, and the configuration
// of the run.
func Trained(folder string) (file string, config []byte, err error) {
	if config, err = os.ReadFile(filepath.Join(folder, "config.yaml")); err != nil {
		return "", nil, fmt.Errorf("%w %s: it is no run folder: %w", ErrFolder, folder, err)
	}
	file = checkpointFile(folder, baseName)
	if !exists(file) {
		return "", nil, fmt.Errorf("%w %s: the run has trained no base model: doob run --resume %s goes on with it, if it is of a problem that has one", ErrFolder, folder, folder)
	}
	return file, config, nil
}

// TrainedPath is where the parameters of [Trained] lie in their file.
var TrainedPath = nn.Averaged("/" + baseName)

// KindOf returns the experiment that a configuration is of, by its key experiment; "" if it does not say.
func KindOf(file string) (string, error) {
	text, err := readFile(file)
	if err != nil {
		return "", err
	}
	var kind struct {
		Experiment string `yaml:"experiment"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return "", fmt.Errorf("%w: %s:\n%s", ErrConfig, file, yaml.FormatError(err, false, true))
	}
	return kind.Experiment, nil
}

// release ends what a problem has begun, such as programs that score samples: of problems that can be closed.
func release(p Problem, err error) error {
	if c, ok := p.(io.Closer); ok {
		return errors.Join(err, c.Close())
	}
	return err
}
