// Package doctor checks what a run needs of a machine and build.
package doctor

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Finding is what an examination says of this machine and build.
type Finding struct {
	Name, Text string
	Err        error
}

// Examine checks what a run needs: a backend that computes correctly, its speed on a problem without data, memory, a folder that can be written, and the
// store of trained networks.
func Examine(ctx context.Context, backend, dir string) []Finding {
	var findings []Finding
	add := func(name, text string, err error) { findings = append(findings, Finding{name, text, err}) }
	text, err := describe(backend)
	add("backend", text, err)
	text, err = examineMethod(ctx, backend)
	add("method", text, err)
	text, err = examineSpeed(ctx, backend)
	add("speed", text, err)
	if free, ok := machine.Memory(); ok {
		add("memory", fmt.Sprintf("%.1f GB", free/1e9)+" are available", nil)
	}
	text = dir + " can be written"
	if free, ok := machine.Disk(dir); ok {
		text += ", " + fmt.Sprintf("%.1f GB", free/1e9) + " are free"
	}
	add("folder", text, probe(dir))
	networks, err := data.Dir("networks")
	if err == nil {
		if err = os.MkdirAll(networks, 0o777); err == nil {
			err = probe(networks)
		}
	}
	if err != nil {
		err = fmt.Errorf("%w; trained networks are not kept for other runs, DOOB_DATA names another place", err)
	}
	add("store", networks+" keeps trained networks", err)
	return findings
}

// probe writes a file and removes it.
func probe(dir string) error {
	file := filepath.Join(dir, ".doob-doctor")
	if err := atomicfile.Write(file, make([]byte, 1<<20)); err != nil {
		return err
	}
	return os.Remove(file)
}

func describe(backend string) (string, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return "", err
	}
	return e.Describe(), nil
}

// examineMethod estimates a log Z that is known in closed form, from guided paths: it fails if any of networks, sampler
// and path weights is wrong.
func examineMethod(ctx context.Context, backend string) (string, error) {
	e, err := engine.Open(backend)
	if err != nil {
		return "", err
	}
	prior, err := gmm.Isotropic([]float64{1}, [][]float64{{0.3}}, 0.9)
	if err != nil {
		return "", err
	}
	likelihood, err := gmm.Isotropic([]float64{1}, [][]float64{{1.2}}, 0.6)
	if err != nil {
		return "", err
	}
	tilted, logZ, err := prior.Times(likelihood)
	if err != nil {
		return "", err
	}
	s := &diffusion.Sampler{Engine: e, Steps: diffusion.EulerMaruyama{}.Steps(diffusion.VP{}, diffusion.Times(200, 2)), Shape: []int{1},
		Base: diffusion.Mixture{Density: prior}, Control: htransform.Exact{Prior: prior, Tilted: tilted}}
	paths, err := s.Run(ctx, noise.New(1), 0, 4000, nil)
	if err != nil {
		return "", err
	}
	weighted, err := finetune.Weigh(ctx, paths, reward.Mixture{Density: likelihood})
	if err != nil {
		return "", err
	}
	got := float64(weighted.Certificate().LogZ)
	if math.Abs(got-logZ) > 0.02 {
		return "", fmt.Errorf("backend %s: log Z of a known problem is %.4f, want %.4f ± 0.02", e.Name, got, logZ)
	}
	return fmt.Sprintf("backend %s, log Z of a known problem %.4f (exact %.4f)", e.Name, got, logZ), nil
}

func examineSpeed(ctx context.Context, backend string) (string, error) {
	for _, e := range experiment.Entries() {
		p, err := experiment.New(e.Name, "", "", nil)
		if errors.Is(err, config.ErrConfig) { // it needs settings, such as a model
			continue
		}
		if err != nil {
			return "", err
		}
		if source, err := p.Load(); err != nil || source != (data.Source{}) { // it takes data, which may not be here
			continue
		}
		start := time.Now()
		plan, err := experiment.NewPlan(ctx, p, backend)
		if err != nil {
			return "", err
		}
		title, _, _ := strings.Cut(plan.Title, ":")
		return fmt.Sprintf("%s would take about %s (measured in %s)", title, plan.Duration(), time.Since(start).Round(10*time.Millisecond)), nil
	}
	return "no problem without data to measure", nil
}
