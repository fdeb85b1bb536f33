package experiment

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Check is one finding about this machine and build.
type Check struct {
	Name, Finding string
	Err           error
}

// Examine checks what a run needs: a backend that computes correctly, its speed, and a folder that can be written.
func Examine(ctx context.Context, backend, dir string) []Check {
	var checks []Check
	add := func(name, finding string, err error) {
		checks = append(checks, Check{Name: name, Finding: finding, Err: err})
	}
	finding, err := describe(backend)
	add("backend", finding, err)
	finding, err = examineMethod(ctx, backend)
	add("method", finding, err)
	finding, err = examineSpeed(ctx, backend)
	add("speed", finding, err)
	probe := filepath.Join(dir, ".doob-doctor")
	err = atomicfile.Write(probe, make([]byte, 1<<20))
	if err == nil {
		err = os.Remove(probe)
	}
	add("folder", fmt.Sprintf("%s can be written", dir), err)
	return checks
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
	got := float64(weighted.Diagnostics().LogZ)
	if math.Abs(got-logZ) > 0.02 {
		return "", fmt.Errorf("backend %s: log Z of a known problem is %.4f, want %.4f ± 0.02", e.Name, got, logZ)
	}
	return fmt.Sprintf("backend %s, log Z of a known problem %.4f (exact %.4f)", e.Name, got, logZ), nil
}

func examineSpeed(ctx context.Context, backend string) (string, error) {
	t, err := LoadToy("quick", "", nil)
	if err != nil {
		return "", err
	}
	start := time.Now()
	plan, err := t.Plan(ctx, backend)
	if err != nil {
		return "", err
	}
	var total float64
	for _, r := range plan.Rows {
		total += r.Seconds
	}
	return fmt.Sprintf("doob run toy would take about %s (measured in %s)", duration(total), time.Since(start).Round(10*time.Millisecond)), nil
}
