package main

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
)

// run makes a run folder of tiny settings and what is written of it.
func run(t *testing.T, name, file string, sets ...string) (folder string, settings map[string]any, tensors map[string]checkpoint.Tensor) {
	t.Helper()
	p, err := experiment.New(name, "", filepath.Join("../../experiment/testdata", file), sets)
	if err != nil {
		t.Fatal(err)
	}
	folder, out := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "out")
	if _, err := experiment.Run(context.Background(), p, folder, "", func(experiment.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), folder, out); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(out, "problem.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &settings); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.Load(filepath.Join(out, "tensors.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return folder, settings, f.Tensors
}

// report is that of a run.
func report(t *testing.T, folder string) (r struct {
	Exact, Floor map[string]any // numbers, and their spread
	Methods      map[string]map[string]any
}) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// With what is written, the metrics of the run's samples are those of its report.
func TestToy(t *testing.T) {
	folder, settings, tensors := run(t, "toy", "tiny.yaml", "methods=[base]")
	kept, err := checkpoint.Load(filepath.Join(folder, "samples", "base.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	x := kept.Tensors["samples"].F32
	centres := slices.Collect(slices.Chunk(tensors["centres"].F64, 2))
	base := report(t, folder).Methods["base"]
	if got := metric.TotalVariation(metric.ModeWeights(x, 2, centres), tensors["cells"].F64); got != base["mode_tv"] {
		t.Errorf("mode TV %v, the report has %v", got, base["mode_tv"])
	}
	if got := metric.SlicedW2(x, tensors["exact.1"].F32, 2, 16, noise.New(0).Sub("directions")); got != base["sw2"] {
		t.Errorf("SW2 %v, the report has %v", got, base["sw2"])
	}
	if got := len(tensors["directions"].F32); got != 2*16 {
		t.Errorf("%d numbers in directions, want 16 in two dimensions", got)
	}
	if got := report(t, folder).Exact["log_z"]; got != settings["log_z"] {
		t.Errorf("log Z %v, the report has %v", settings["log_z"], got)
	}
}

// The truths and measurements are the run's: their residual is that of the report.
func TestSuperres(t *testing.T) {
	folder, settings, tensors := run(t, "superres", "tiny_superres.yaml", "methods=[bicubic]")
	got := settings["check"].(map[string]any)["residual_of_truth"]
	if want := report(t, folder).Floor["residual"]; got != want {
		t.Errorf("residual of the truths %v, the report has %v", got, want)
	}
	for name, shape := range map[string][]int{"truth": {3, 28, 28, 1}, "measured": {3, 14, 14, 1}, "tune.truth": {tuned, 28, 28, 1},
		"check.eps": {8, 28, 28, 1}, "check.samples": {3, 8, 28, 28, 1}} {
		if !slices.Equal(tensors[name].Shape, shape) {
			t.Errorf("%s has shape %v, want %v", name, tensors[name].Shape, shape)
		}
	}
	for _, v := range tensors["check.eps"].F32 {
		if math.IsNaN(float64(v)) {
			t.Fatal("ε is not finite")
		}
	}
}

func TestErrors(t *testing.T) {
	folder := t.TempDir()
	for text, want := range map[string]string{"": "no such file", "experiment: mnist\n": "want toy or superres", "experiment: [": "config.yaml"} {
		if text != "" {
			if err := os.WriteFile(filepath.Join(folder, "config.yaml"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(t.Context(), folder, t.TempDir()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("config %q: error %v, want one that says %q", text, err, want)
		}
		os.Remove(filepath.Join(folder, "config.yaml"))
	}
}
