package experiment

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"

	"github.com/doob-diffusion/doob/report"
)

// Report is the result of an experiment.
type Report interface {
	// Table is the result for people.
	Table() report.Table
}

var (
	_ Report = (*ToyReport)(nil)
	_ Report = (*MNISTReport)(nil)
	_ Report = (*SuperResReport)(nil)
)

// Resume continues a run that was stopped, in its folder, to the same checkpoints as if it never had been. The toy begins
// anew: its stages are short, and it is exact in that too. Backend is that of a toy; others go on with their own.
func Resume(ctx context.Context, folder, backend string, observe Observer) (Report, error) {
	if exists(filepath.Join(folder, "report.json")) {
		return nil, fmt.Errorf("%w %s: the run is complete", ErrFolder, folder)
	}
	f, past, err := ReopenFolder(folder)
	if err != nil {
		return nil, err
	}
	run, err := readConfig(folder)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	switch run := run.(type) {
	case *Toy:
		if err := f.Restart(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return result(run.run(ctx, f, backend, observe))
	case *MNIST:
		return result(run.resume(ctx, f, past, observe))
	case *SuperRes:
		return result(run.resume(ctx, f, past, observe))
	}
	panic(fmt.Sprintf("experiment: %T cannot be resumed", run))
}

// result keeps a nil report from becoming an interface that is not nil.
func result[R Report](rep R, err error) (Report, error) {
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// readConfig returns the [Toy], [MNIST] or [SuperRes] of a run folder.
func readConfig(folder string) (any, error) {
	file := filepath.Join(folder, "config.yaml")
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, folder, err)
	}
	var kind struct {
		Experiment string `yaml:"experiment"`
	}
	if err := yaml.Unmarshal(source, &kind); err != nil {
		return nil, fmt.Errorf("%w %s: config.yaml: %w", ErrFolder, folder, err)
	}
	switch kind.Experiment {
	case "toy":
		t := &Toy{}
		if err := strict(t, source, file); err != nil {
			return nil, err
		}
		return t, t.validate()
	case "mnist":
		m := &MNIST{}
		if err := strict(m, source, file); err != nil {
			return nil, err
		}
		return m, m.validate()
	case "superres":
		s := &SuperRes{}
		if err := strict(s, source, file); err != nil {
			return nil, err
		}
		return s, s.validate()
	}
	return nil, fmt.Errorf("%w %s: experiment %q is unknown to this version", ErrFolder, folder, kind.Experiment)
}
