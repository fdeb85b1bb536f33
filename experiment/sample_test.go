package experiment

import (
	"errors"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// draw samples to a file and returns its contents.
func draw(t *testing.T, d Draw, extension string) string {
	t.Helper()
	d.Out = filepath.Join(t.TempDir(), "out"+extension)
	if _, err := Sample(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return read(t, d.Out)
}

func rows(t *testing.T, csv string, columns int) [][]float64 {
	t.Helper()
	var out [][]float64
	for line := range strings.Lines(csv) {
		var row []float64
		for field := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), ",") {
			v, err := strconv.ParseFloat(field, 32)
			if err != nil || math.IsNaN(v) {
				t.Fatalf("line %q: %v", line, err)
			}
			row = append(row, v)
		}
		if len(row) != columns {
			t.Fatalf("line %q has %d numbers, want %d", line, len(row), columns)
		}
		out = append(out, row)
	}
	return out
}

func TestSampleCSV(t *testing.T) {
	folder, _ := sharedRun(t)
	before := tree(t, folder)
	twenty := draw(t, Draw{Folder: folder, N: 20, Seed: 7}, ".csv")
	if n := len(rows(t, twenty, 2)); n != 20 {
		t.Errorf("%d rows, want 20", n)
	}
	if again := draw(t, Draw{Folder: folder, N: 20, Seed: 7}, ".csv"); again != twenty {
		t.Error("the same seed gives other samples")
	}
	if other := draw(t, Draw{Folder: folder, N: 20, Seed: 8}, ".csv"); other == twenty {
		t.Error("another seed gives the same samples")
	}
	// Sample i depends on the seed and i only, also across the border of a batch (50).
	for _, n := range []int{1, 5} {
		if few := draw(t, Draw{Folder: folder, N: n, Seed: 7}, ".csv"); !strings.HasPrefix(twenty, few) {
			t.Errorf("the first %d of 20 samples are not the %d samples", n, n)
		}
	}
	if many := draw(t, Draw{Folder: folder, N: 73, Seed: 7}, ".csv"); !strings.HasPrefix(many, twenty) {
		t.Error("the first 20 of 73 samples are not the 20 samples")
	}
	if len(tree(t, folder)) != len(before) {
		t.Error("sampling has added to the run folder")
	}
}

func TestSamplePicture(t *testing.T) {
	folder, _ := sharedRun(t)
	picture := draw(t, Draw{Folder: folder, N: 9}, ".png")
	image, err := png.Decode(strings.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	if b := image.Bounds(); b.Dx() < 100 || b.Dy() < 100 {
		t.Errorf("the picture is %v", b)
	}
	if draw(t, Draw{Folder: folder, N: 9}, ".png") != picture {
		t.Error("the same seed gives another picture")
	}
}

// Every method that has learned something can be sampled, the fine-tuned ones are not the base model, and the default is
// importance.
func TestSampleMethods(t *testing.T) {
	folder, _ := sharedRun(t)
	seen := map[string]string{}
	for _, name := range []string{"base", "importance", "reward_only", "online", "vargrad", "raft", "cem"} {
		csv := draw(t, Draw{Folder: folder, Method: name, N: 4}, ".csv")
		if twin, ok := seen[csv]; ok {
			t.Errorf("%s and %s give the same samples", name, twin)
		}
		seen[csv] = name
	}
	if csv := draw(t, Draw{Folder: folder, N: 4}, ".csv"); seen[csv] != "importance" {
		t.Errorf("without a method, it samples %q", seen[csv])
	}
	method, err := Sample(t.Context(), Draw{Folder: folder, N: 4, Out: filepath.Join(t.TempDir(), "x.csv")})
	if err != nil || method != "importance" {
		t.Errorf("the method is called %q, %v", method, err)
	}
}

// Paths are accepted by their path weights, not by their rewards alone: all whose weight is above c are kept.
func TestAcceptedByPathWeights(t *testing.T) {
	const n, share = 30, 0.25
	folder, _ := sharedRun(t)
	p, err := newToyProblem(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.Open("")
	if err != nil {
		t.Fatal(err)
	}
	base, err := p.loadBase(e, folder)
	if err != nil {
		t.Fatal(err)
	}
	s, key := p.sampler(e, base, htransform.Exact{Prior: p.prior, Tilted: p.tilted}), noise.New(2)
	kept, err := accepted(t.Context(), s, p.reward, key, n, share)
	if err != nil || len(kept) != 2*n {
		t.Fatalf("%d numbers, want %d: %v", len(kept), 2*n, err)
	}
	paths, err := s.Run(t.Context(), key, 0, n/share, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := finetune.Weigh(t.Context(), paths, p.reward)
	if err != nil {
		t.Fatal(err)
	}
	rate := finetune.Relaxed{Rate: finetune.Rate{share}}
	alpha, _, err := rate.Accept(0, w.LogW, nil)
	if err != nil {
		t.Fatal(err)
	}
	byReward, _, err := rate.Accept(0, w.Reward, nil)
	if err != nil {
		t.Fatal(err)
	}
	telling := 0
	for i, a := range alpha {
		found := false
		for row := range slices.Chunk(kept, 2) {
			found = found || slices.Equal(row, paths.X[2*i:2*i+2])
		}
		if a == 1 && !found || a == 0 && found {
			t.Errorf("path %d of α = %g: kept is %v", i, a, found)
		}
		if a == 1 && byReward[i] < 0.5 {
			telling++
		}
	}
	if telling == 0 {
		t.Error("no path is accepted by its weight that would hardly be by its reward: the test tells nothing")
	}
}

// What a checkpoint holds is what the report has measured: with the noise of the run, the same mean reward to the last
// bit comes out, for base and fine-tuned models.
func TestCheckpointIsWhatWasMeasured(t *testing.T) {
	folder, _ := sharedRun(t)
	report := readJSON(t, filepath.Join(folder, "report.json"))
	p, err := newToyProblem(tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"base", "importance", "online", "vargrad"} {
		e, err := engine.Open("")
		if err != nil {
			t.Fatal(err)
		}
		path := nn.Averaged("/base")
		base := p.baseModel(e, path, noise.Key{})
		if err := loadParameters(filepath.Join(folder, "checkpoint", "base.safetensors"), e, path); err != nil {
			t.Fatal(err)
		}
		var control diffusion.Control
		if name != "base" {
			path := nn.Averaged("/h/" + name)
			control = p.control(e, path, noise.Key{})
			if err := loadParameters(filepath.Join(folder, "checkpoint", name+".safetensors"), e, path); err != nil {
				t.Fatal(err)
			}
		}
		paths, err := p.sampler(e, base, control).Run(t.Context(), noise.New(1).Sub(name).Sub("samples"), 0, p.Samples, nil)
		if err != nil {
			t.Fatal(err)
		}
		rewards, err := p.reward.Rewards(t.Context(), paths.X, paths.N)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := metric.MeanSE(rewards); got != method(t, report, name)["reward"] {
			t.Errorf("%s: mean reward %v from the checkpoint, %v in the report", name, got, method(t, report, name)["reward"])
		}
	}
}

func TestSampleRefuses(t *testing.T) {
	folder, _ := sharedRun(t)
	out := filepath.Join(t.TempDir(), "x.csv")
	for _, c := range []struct {
		draw  Draw
		words []string
	}{
		{Draw{Folder: folder, Method: "magic", N: 1, Out: out}, []string{`"magic"`, "base", "importance", "cem"}},
		{Draw{Folder: folder, Method: "guidance", N: 1, Out: out}, []string{`no "guidance"`, "want one of"}}, // it has learned nothing
		{Draw{Folder: folder, Method: "smc_fk", N: 1, Out: out}, []string{`no "smc_fk"`}},
		{Draw{Folder: folder, Method: "../checkpoint/cem", N: 1, Out: out}, []string{"want one of"}},
		{Draw{Folder: folder, N: 0, Out: out}, []string{"0 samples", "at least 1"}},
		{Draw{Folder: folder, N: -3, Out: out}, []string{"-3 samples"}},
		{Draw{Folder: folder, N: 1, Out: "grid.jpg"}, []string{"grid.jpg", ".png or .csv"}},
		{Draw{Folder: folder, N: 1, Out: "grid"}, []string{".png or .csv"}},
		{Draw{Folder: folder, N: 1, Out: out, Backend: "abacus"}, []string{`"abacus"`}},
		{Draw{Folder: t.TempDir(), N: 1, Out: out}, []string{"run folder", "config.yaml", "no such file"}},
		{Draw{Folder: filepath.Join(folder, "report.json"), N: 1, Out: out}, []string{"run folder", "not a directory"}},
		{Draw{Folder: folder, N: 1, Out: filepath.Join(filepath.Dir(out), "no", "x.csv")}, []string{"no such file"}},
	} {
		_, err := Sample(t.Context(), c.draw)
		wantError(t, err, c.words...)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("a failed sample has left %s", out)
	}
}

// A run folder that somebody has damaged or edited.
func TestSampleFromDamage(t *testing.T) {
	edit := func(folder, old, new string) {
		path := filepath.Join(folder, "config.yaml")
		text := read(t, path)
		if !strings.Contains(text, old) {
			t.Fatalf("config.yaml lacks %q:\n%s", old, text)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(text, old, new, 1)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	truncate := func(folder, name string, n int64) {
		if err := os.Truncate(filepath.Join(folder, "checkpoint", name+".safetensors"), n); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(folder string)
		words  []string
		is     error
	}{
		{"truncated control", func(f string) { truncate(f, "importance", 3000) }, []string{"importance.safetensors"}, checkpoint.ErrCorrupt},
		{"truncated base", func(f string) { truncate(f, "base", 100) }, []string{"base.safetensors"}, checkpoint.ErrCorrupt},
		{"empty checkpoint", func(f string) { truncate(f, "importance", 0) }, []string{"importance.safetensors"}, checkpoint.ErrCorrupt},
		{"no base", func(f string) { os.Remove(filepath.Join(f, "checkpoint", "base.safetensors")) }, []string{"base.safetensors", "no such file"}, nil},
		{"base of another width", func(f string) { edit(f, "network:\n  width: 8", "network:\n  width: 9") }, []string{"base.safetensors", "shape", " 8]", " 9]"}, nil},
		{"deeper base", func(f string) { edit(f, "network:\n  width: 8\n  depth: 1", "network:\n  width: 8\n  depth: 2") }, []string{"base.safetensors", "hidden_1", "architecture"}, nil},
		{"control of another width", func(f string) { edit(f, "scale_width: 8", "scale_width: 16") }, []string{"importance.safetensors", "shape"}, nil},
		{"another dimension", func(f string) {
			toy, err := LoadToy("quick", filepath.Join(f, "config.yaml"), []string{"prior.means=[[0], [1]]", "reward={weights: [1], means: [[0]]}"})
			if err != nil {
				t.Fatal(err)
			}
			if err := (&Folder{Path: f}).writeConfig(toy); err != nil {
				t.Fatal(err)
			}
		}, []string{"base.safetensors", "shape"}, nil},
		{"unknown key", func(f string) { edit(f, "samples: 200", "sampels: 200") }, []string{"config.yaml", "sampels"}, ErrConfig},
		{"unknown kernel", func(f string) { edit(f, "kernel: euler-maruyama", "kernel: leapfrog") }, []string{`"leapfrog"`}, ErrConfig},
		{"no steps", func(f string) { edit(f, "steps: 6", "steps: 0") }, []string{"process.steps is 0"}, ErrConfig},
		{"negative width", func(f string) { edit(f, "network:\n  width: 8", "network:\n  width: -8") }, []string{"network.width is -8"}, ErrConfig},
		{"no YAML", func(f string) { edit(f, "experiment: toy", "experiment: [toy") }, []string{"config.yaml"}, nil},
		{"experiment of the future", func(f string) { edit(f, "experiment: toy", "experiment: video") }, []string{`"video"`, "unknown"}, ErrFolder},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer func() {
				if r := recover(); r != nil {
					t.Errorf("panic: %v", r)
				}
			}()
			folder := copyRun(t)
			c.damage(folder)
			out := filepath.Join(t.TempDir(), "x.csv")
			_, err := Sample(t.Context(), Draw{Folder: folder, N: 2, Out: out})
			wantError(t, err, c.words...)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is no %v", err, c.is)
			}
			if _, err := os.Stat(out); !os.IsNotExist(err) {
				t.Error("the output is there")
			}
		})
	}
}
