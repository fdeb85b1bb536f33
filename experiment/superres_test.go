package experiment

import (
	"context"
	"errors"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

func tinySuperRes(t *testing.T, sets ...string) *SuperRes {
	t.Helper()
	s, err := LoadSuperRes("quick", "testdata/tiny_superres.yaml", sets)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// superResIn runs a configuration in a new folder, with a store of its own.
func superResIn(t *testing.T, s *SuperRes) (folder string, rep *SuperResReport, events []Event) {
	t.Helper()
	t.Setenv("DOOB_DATA", t.TempDir())
	folder = filepath.Join(t.TempDir(), "run")
	rep, err := s.Run(t.Context(), folder, engine.Default, func(ev Event) { events = append(events, ev) })
	if err != nil {
		t.Fatal(err)
	}
	return folder, rep, events
}

// Everything that the recipe writes and says, once with all methods, and what can be done with the folder afterwards.
func TestSuperRes(t *testing.T) {
	s := tinySuperRes(t, "seeds=2", "seed=5")
	folder, rep, _ := superResIn(t, s)
	want := []string{"checkpoint/", "checkpoint/base.safetensors", "checkpoint/classifier.safetensors", "checkpoint/importance_seed_6.safetensors",
		"config.yaml", "events.jsonl", "figures/", "figures/methods.png", "figures/posterior.png", "figures/training.png", "report.html", "report.json",
		"samples/", "samples/importance_iteration_000.png", "samples/importance_iteration_001.png", "samples/importance_iteration_002.png"}
	for _, name := range s.Methods {
		want = append(want, "samples/"+name+".png")
		if s.learned(name) {
			want = append(want, "checkpoint/"+name+".safetensors")
		}
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(tree(t, folder)))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}

	file := readJSON(t, filepath.Join(folder, "report.json"))
	for key, n := range map[string]int{"l_sc": 4, "kl": 4, "log_z": 4, "l_sc_se": 4} {
		if v, ok := file[key].([]any); !ok || len(v) != n {
			t.Errorf("%s is %v, want %d numbers", key, file[key], n)
		}
	}
	for _, name := range s.Methods {
		r := method(t, file, name)
		for _, key := range []string{"psnr", "ssim", "residual", "crps", "fid", "network_calls", "seconds"} {
			missing := name == "bicubic" && key == "crps" || name == "importance_single" && key == "fid"
			if v, ok := r[key].(float64); ok == missing || v < 0 && key != "crps" && key != "ssim" {
				t.Errorf("%s: %s is %v", name, key, r[key])
			}
		}
	}
	// The truth measures as it was measured: 3·14² entries.
	if d := math.Abs(float64(rep.Floor.Residual) - 1); d > 4*math.Sqrt(2./(3*14*14)) {
		t.Errorf("residual of the truth is %g", rep.Floor.Residual)
	}

	// Paths and calls by hand: 4 samples of a measurement, 4 steps, and two networks wherever there is a control.
	for name, want := range map[string][3]float64{ // calls per image, paths to learn, calls to learn
		"bicubic":           {},
		"dps":               {2 * 4 * 4, 2 * 8, 2 * 2 * 8 * 4},
		"smc":               {2 * 2 * 4 * 4, 0, 0},
		"vargrad":           {2 * 4 * 4, 2 * 8, 2*2*8*4 + 2*2*(2*8)},
		"importance":        {2 * 4 * 4, 3 * 8, 2*3*8*4 + 2*3*2*8},
		"importance_fast":   {2 * 4 * 2, 3 * 8, 2*3*8*4 + 2*3*2*8},
		"importance_single": {2 * 4 * 4, 2 * 8, 2*2*8*4 + 2*2*2*8},
	} {
		r := rep.Method[name]
		if got := [3]float64{float64(r.Calls), float64(r.TrainingPaths), float64(r.TrainingCalls)}; got != want {
			t.Errorf("%s: calls per image, paths and calls to learn %v, want %v", name, got, want)
		}
	}

	evaluated, err := Evaluate(t.Context(), Evaluation{Folder: folder, Seed: 5}, func(Event) {})
	if err != nil {
		t.Fatal(err)
	}
	first := resultOf(t, folder, 5, "importance")
	for _, m := range evaluated.Methods {
		if m.Method == "importance" && m.Numbers["psnr"] != first {
			t.Errorf("PSNR of the run's own seed again: %v, want %v", m.Numbers["psnr"], first)
		}
	}
	if len(evaluated.Methods) != 3 {
		t.Errorf("%d methods are evaluated, want the 3 that were learned", len(evaluated.Methods))
	}
	for _, task := range []string{"", "2"} {
		d := Draw{Folder: folder, Task: task, N: 2, Seed: 1, Out: filepath.Join(t.TempDir(), "s.csv")}
		if name, err := Sample(t.Context(), d); err != nil || name != "importance" {
			t.Errorf("sample of measurement %q: %s, %v", task, name, err)
		}
	}
	for _, method := range []string{"base", "importance"} { // both are weighed by the measurement
		x := draw(t, Draw{Folder: folder, Method: method, Task: "2", N: 2, Seed: 1, Accept: 0.5}, ".csv")
		candidates := draw(t, Draw{Folder: folder, Method: method, Task: "2", N: 4, Seed: 1}, ".csv")
		for row := range strings.Lines(x) {
			if !strings.Contains(candidates, row) {
				t.Errorf("%s: an accepted sample is none of those that were drawn", method)
			}
		}
	}
	_, err = Sample(t.Context(), Draw{Folder: folder, Task: "3", N: 2, Out: "s.csv"})
	wantError(t, err, `no measurement "3"`, "from 0 to 2")
	restoreOwn(t, folder)
}

// resultOf reads the PSNR of a seed from the events.
func resultOf(t *testing.T, folder string, seed uint64, method string) finetune.Number {
	t.Helper()
	f, events, err := ReopenFolder(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := &superResRun{SuperRes: &SuperRes{Methods: superResMethods}, session: session{ended: map[stage]bool{}}, book: newSuperResBook(&SuperRes{})}
	for _, ev := range events {
		if err := r.past(ev); err != nil {
			t.Fatal(err)
		}
	}
	return r.book.result(seed, method).PSNR
}

// A picture of one's own, of a size that is no multiple of anything.
func restoreOwn(t *testing.T, folder string) {
	t.Helper()
	picture := filepath.Join(t.TempDir(), "own.png")
	pixels := make([]float32, 33*50)
	for i := range pixels {
		pixels[i] = float32(math.Sin(float64(i%50)/5)) / 2
	}
	if err := report.Picture(picture, pixels, 33, 50, 1); err != nil {
		t.Fatal(err)
	}
	q := Restoration{Folder: folder, Picture: picture, N: 2, Seed: 3, Out: filepath.Join(t.TempDir(), "out.png"), Spread: filepath.Join(t.TempDir(), "sd.png")}
	got, err := Restore(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	// 14×14 entries are a tile, and the next is 11 further: 3 × 5 of them cover 33×50.
	if got.Height != 66 || got.Width != 100 || got.Tiles != 15 || got.NetworkCalls != 2*2*15*4 {
		t.Errorf("restored to %+v, want 66×100 in 15 tiles with 240 calls", *got)
	}
	if im, err := readPicture(q.Out, 1); err != nil || im.Height != 66 || im.Width != 100 {
		t.Errorf("picture of %d×%d: %v", im.Height, im.Width, err)
	}
	q.Measure = true
	if got, err = Restore(t.Context(), q); err != nil || got.Height != 33 || !finite(float64(got.PSNR)) {
		t.Errorf("measured and restored to %+v, %v", got, err)
	}
	q.Picture = filepath.Join(folder, "config.yaml")
	_, err = Restore(t.Context(), q)
	if !errors.Is(err, ErrPicture) {
		t.Errorf("config.yaml as a picture: %v", err)
	}
}

// Tiles that are all right blend to the whole, whatever the size.
func TestTiling(t *testing.T) {
	for _, size := range [][2]int{{14, 14}, {5, 9}, {15, 14}, {40, 33}, {28, 100}} {
		p := data.Images{N: 1, Height: size[0], Width: size[1], Channels: 1, Pixels: make([]float32, size[0]*size[1])}
		noise.New(1).Normal(p.Pixels, 0, 0)
		whole := newTiling(p, []int{14, 14, 1})
		for i, v := range whole.blend(whole.cut(), []int{14, 14, 1}, 1) {
			if math.Abs(float64(v-p.Pixels[i])) > 1e-6 {
				t.Fatalf("%v: pixel %d is %g, want %g", size, i, v, p.Pixels[i])
			}
		}
	}
}

// A run that is stopped, at whatever event, goes on to the same checkpoints, results and figures.
func TestSuperResResume(t *testing.T) {
	sets := []string{"methods=[dps, vargrad, importance, importance_fast]"}
	whole, rep, events := superResIn(t, tinySuperRes(t, sets...))
	want := tree(t, whole)
	for _, stop := range []int{2, len(events) / 2, len(events) - 4} {
		t.Setenv("DOOB_DATA", t.TempDir())
		folder := filepath.Join(t.TempDir(), "run")
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		_, err := tinySuperRes(t, sets...).Run(ctx, folder, engine.Default, func(Event) {
			if seen++; seen == stop {
				cancel()
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("stopped at event %d of %d: %v", stop, len(events), err)
		}
		again, err := Resume(t.Context(), folder, engine.Default, func(Event) {})
		if err != nil {
			t.Fatalf("resumed after event %d of %d: %v", stop, len(events), err)
		}
		got := tree(t, folder)
		for name, content := range want {
			if (strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".png")) && got[name] != content {
				t.Errorf("stopped at event %d of %d: %s differs", stop, len(events), name)
			}
		}
		for name, m := range again.(*SuperResReport).Method {
			w := rep.Method[name]
			if m.PSNR != w.PSNR || m.Calls != w.Calls || m.TrainingCalls != w.TrainingCalls || m.FID != w.FID {
				t.Errorf("stopped at event %d of %d: %s has %+v, want %+v", stop, len(events), name, *m, *w)
			}
		}
	}
}

// Samples of the exact posterior are at the floor of its own measure; those of another law are not.
func TestExactPosterior(t *testing.T) {
	s := tinySuperRes(t, "data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1}", "sigma=0.2", "samples=200")
	train, test, err := s.load()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.newRun(&Folder{}, train, test)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := r.exact.samples(s.Samples, noise.New(1))
	mean, variance, covariance := r.exact.compare(x, 0, s.Samples)
	const se = 0.0707 // 1/√200
	if math.Abs(float64(mean)/se-1) > 0.3 || math.Abs(float64(variance)-1) > 0.1 || covariance > 0.25 {
		t.Errorf("exact samples: mean error %g (want about %g), variance %g, covariance error %g", mean, se, variance, covariance)
	}
	prior := s.Gaussian.law().Sample(s.Measurements*s.Samples, noise.New(2))
	if mean, variance, covariance = r.exact.compare(prior, 0, s.Samples); mean < 0.3 || variance < 1.3 || covariance < 0.5 {
		t.Errorf("samples of the prior: mean error %g, variance %g, covariance error %g", mean, variance, covariance)
	}
	// Given y, a sample of the posterior and the truth have one law, so the residual of samples is 1 on average too.
	residual, err := r.reward.Residual(t.Context(), r.exact.samples(1, noise.New(3)), r.measured, s.Measurements)
	if err != nil {
		t.Fatal(err)
	}
	var total float64
	for _, v := range residual {
		total += v / float64(len(residual))
	}
	if math.Abs(total-1) > 4*math.Sqrt(2./(3*4)) {
		t.Errorf("residual of exact samples is %g", total)
	}
}

// The whole chain finds a posterior that is known: a small Gaussian field, from which importance fine-tuning learns means and
// covariances for any measurement, better than what can be had without learning.
func TestSuperResGaussian(t *testing.T) {
	s := tinySuperRes(t, "data=gaussian", "gaussian={side: 6, length: 2, sd: 0.5}", "h={tuned: false, patch: 1, width: 16, scale_width: 16, start: 1.2}",
		"sigma=0.1", "measurements=8", "samples=64", "process.steps=30", "methods=[bicubic, importance]", "group=16", "batch=128",
		"importance={iterations: 4, paths: 256, updates: 50, batch: 64, buffer: 1024, acceptance: [0.3], learning_rate: 0.003, ema: 0.98, velocity: true}")
	_, rep, _ := superResIn(t, s)
	learned, plain, exact := rep.Method["importance"], rep.Method["bicubic"], rep.Floor
	if learned.MeanError > 1.6*exact.MeanError || learned.MeanError > 0.5*plain.MeanError {
		t.Errorf("mean error %g, want at most 1.6 times that of exact samples, %g, and half that of bicubic upsampling, %g", learned.MeanError, exact.MeanError, plain.MeanError)
	}
	if math.Abs(float64(learned.Variance)-1) > 0.25 || learned.Covariance > 2*exact.Covariance {
		t.Errorf("variance %g, covariance error %g, that of exact samples %g", learned.Variance, learned.Covariance, exact.Covariance)
	}
	if math.Abs(float64(learned.Residual)-1) > 0.2 {
		t.Errorf("residual %g, want 1 ± 0.2", learned.Residual)
	}
	if n := len(rep.LSC); n != 5 || rep.LSC[n-1] >= rep.LSC[0] || rep.KL[n-1] >= rep.KL[0] {
		t.Errorf("L_SC %v and KL %v, want them to fall over 4 iterations", rep.LSC, rep.KL)
	}
}

// What makes no sense is refused before anything is done.
func TestSuperResConfig(t *testing.T) {
	for set, words := range map[string][]string{
		"operator=average-3":        {"operator", "divide"},
		"operator=fog":              {"unknown operator", "average-2"},
		"sigma=0":                   {"sigma is 0"},
		"data=cats":                 {`data is "cats"`},
		"methods=[cats]":            {`"cats"`},
		"methods=[importance_fast]": {"needs importance"},
		"single=3":                  {"single is 3"},
		"group=3":                   {"importance.paths is 8", "multiple of group"},
		"group=1":                   {"VarGrad"},
		"h.gradient=false":          {"h.gradient"},
		"network.width=7":           {"network.width"},
		"samples=1":                 {"samples is 1"},
	} {
		_, err := LoadSuperRes("quick", "testdata/tiny_superres.yaml", []string{set})
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", set, err)
			continue
		}
		wantError(t, err, words...)
	}
	for _, preset := range Presets("superres") {
		if _, err := LoadSuperRes(preset, "", nil); err != nil {
			t.Errorf("preset %s: %v", preset, err)
		}
	}
	s := tinySuperRes(t, "measurements=30", "single=0")
	_, err := s.Run(t.Context(), filepath.Join(t.TempDir(), "run"), engine.Default, func(Event) {})
	wantError(t, err, "measurements is 30", "12 test images")
}
