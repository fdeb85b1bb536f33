package experiment

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// fakeDigits are images of a bright bar whose place says the class, under noise.
func fakeDigits(n int, key noise.Key) data.Images {
	im := data.Images{N: n, Height: 28, Width: 28, Channels: 1, Pixels: make([]float32, n*pixels), Labels: make([]int, n)}
	key.Normal(im.Pixels, 0, 0)
	for i := range n {
		im.Labels[i] = i % 10
		for j := range im.At(i) {
			v := float32(-1)
			if j/56 == im.Labels[i] { // two rows a class
				v = 1
			}
			im.At(i)[j] = max(-1, min(1, v+0.1*im.At(i)[j]))
		}
	}
	return im
}

func tinyMNIST(t *testing.T, sets ...string) *MNIST {
	t.Helper()
	m, err := LoadMNISTConfig("mlp", "", append([]string{"process.steps=4", "network={width: 16, depth: 1}", "h={width: 8, depth: 1, scale_width: 8}",
		"classifier={width: 16, depth: 1, steps: 60, batch: 20, learning_rate: 0.01}", "pretrain={steps: 10, batch: 16}",
		"importance={iterations: 2, paths: 20, updates: 3, batch: 10, buffer: 40}", "samples=30", "batch=10"}, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// runFake is MNIST.Run on images that are not the published ones, which the loader rightly refuses.
func runFake(t *testing.T, m *MNIST, folder string) (*mnistRun, []Event) {
	t.Helper()
	e, err := engine.Open("")
	if err != nil {
		t.Fatal(err)
	}
	f, err := CreateFolder(folder, m)
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	r := &mnistRun{MNIST: m, engine: e, key: noise.New(m.Seed), folder: f, observe: func(ev Event) { f.Event(ev); events = append(events, ev) },
		images: data.MNIST{Train: fakeDigits(200, noise.New(1)), Test: fakeDigits(100, noise.New(2))},
		report: &MNISTReport{Experiment: "mnist", Seed: m.Seed, Data: "mnist", Class: m.Class, Methods: map[string]MNISTResult{}}}
	for _, err := range []error{r.trainClassifiers(t.Context()), r.pretrain(t.Context()), r.sampleBase(t.Context()), r.fineTune(t.Context()),
		r.writeReport(), f.WriteJSON("report.json", r.report), f.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return r, events
}

func TestMNIST(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "run")
	m := tinyMNIST(t)
	done, events := runFake(t, m, folder)
	report := done.report

	files := tree(t, folder)
	want := []string{"checkpoint/", "checkpoint/base.safetensors", "checkpoint/classifier.safetensors", "checkpoint/importance.safetensors",
		"config.yaml", "events.jsonl", "figures/", "report.html", "report.json", "samples/", "samples/base.png", "samples/importance.png"}
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(files))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	// 30 images of 28 pixels, 8 a row.
	for _, name := range []string{"samples/base.png", "samples/importance.png"} {
		if image, err := png.Decode(strings.NewReader(files[name])); err != nil || image.Bounds().Dx() < 8*28 || image.Bounds().Dy() < 4*28 {
			t.Errorf("%s: %v", name, err)
		}
	}

	file := readJSON(t, filepath.Join(folder, "report.json"))
	for _, key := range []string{"experiment", "seed", "data", "class", "classifier_accuracy", "judge_accuracy", "methods", "backend", "version", "seconds"} {
		if _, ok := file[key]; !ok {
			t.Errorf("report.json lacks %q", key)
		}
	}
	for _, name := range []string{"base", "importance"} {
		r := method(t, file, name)
		for _, key := range []string{"single", "ess_fraction", "kl", "paths", "network_calls", "seconds"} {
			if r[key] == nil {
				t.Errorf("%s: %s is missing", name, key)
			}
		}
		single, _ := r["single"].(map[string]any)
		if v, ok := single["accuracy"].(float64); !ok || v < 0 || v > 1 {
			t.Errorf("%s: accuracy %v", name, single["accuracy"])
		}
	}
	if report.ClassifierAccuracy < 0.9 || report.JudgeAccuracy < 0.9 { // bars are easy
		t.Errorf("classifiers are right in %.2f and %.2f of the cases", report.ClassifierAccuracy, report.JudgeAccuracy)
	}
	// Each method by itself, as in the toy: 30 samples of 4 steps; 2·20 paths and 2·3 updates of 10 samples, with control.
	if r := report.Methods["base"]; r.Paths != 30 || r.NetworkCalls != 30*4 {
		t.Errorf("base: %d paths and %d calls, want 30 and 120", r.Paths, r.NetworkCalls)
	}
	if r := report.Methods["importance"]; r.Paths != 70 || r.NetworkCalls != 2*(70*4+2*3*10) {
		t.Errorf("importance: %d paths and %d calls, want 70 and 680", r.Paths, r.NetworkCalls)
	}

	// Accuracy is the judge's opinion of the samples, recounted.
	paths, err := m.sampler(done.engine, done.prior, nil).Run(t.Context(), noise.New(m.Seed).Sub("samples"), m.Samples, nil)
	if err != nil {
		t.Fatal(err)
	}
	judged, err := done.judge.Predict(t.Context(), done.engine, paths.X, 7)
	if err != nil {
		t.Fatal(err)
	}
	hits := len(slices.DeleteFunc(judged, func(class int) bool { return class != m.Class }))
	if got := report.Methods["base"].Single.Accuracy; float64(got) != float64(hits)/30 {
		t.Errorf("base: accuracy %v, the judge takes %d of 30 for the class", got, hits)
	}

	var stages []string
	var last Event
	for _, ev := range events {
		if ev.Stage != last.Stage {
			stages = append(stages, ev.Stage)
		} else if ev.Done < last.Done || ev.Total != last.Total {
			t.Errorf("stage %s: %d of %d after %d of %d", ev.Stage, ev.Done, ev.Total, last.Done, last.Total)
		}
		last = ev
	}
	if want := []string{"classifier", "judge", "pretrain", "base", "importance"}; !cmp.Equal(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}

	again, _ := runFake(t, tinyMNIST(t), filepath.Join(dir, "again"))
	for name, r := range report.Methods {
		s := again.report.Methods[name]
		if r.Single != s.Single || r.KL != s.KL || r.ESSFraction != s.ESSFraction {
			t.Errorf("%s: the same seed gives %+v and %+v", name, r, s)
		}
	}

	// Sampling reads all it needs from the folder, not the data.
	five := draw(t, Draw{Folder: folder, N: 5, Seed: 3}, ".csv")
	if n := len(rows(t, five, pixels)); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
	if twelve := draw(t, Draw{Folder: folder, N: 12, Seed: 3}, ".csv"); !strings.HasPrefix(twelve, five) {
		t.Error("the first 5 of 12 samples are not the 5 samples")
	}
	if base := draw(t, Draw{Folder: folder, N: 5, Seed: 3, Method: "base"}, ".csv"); base == five {
		t.Error("base and importance give the same samples")
	}
	if image, err := png.Decode(strings.NewReader(draw(t, Draw{Folder: folder, N: 5}, ".png"))); err != nil || image.Bounds().Dx() < 5*28 {
		t.Errorf("picture of five: %v", err)
	}
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Method: "classifier", Out: filepath.Join(dir, "x.csv")})
	wantError(t, err, `no "classifier"`, "base, importance")
	if err := os.Remove(filepath.Join(folder, "checkpoint", "classifier.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Out: filepath.Join(dir, "x.csv")})
	wantError(t, err, "classifier.safetensors", "no such file")
}

// The plan's paths and calls are those of the run.
func TestMNISTPlan(t *testing.T) {
	plan, err := tinyMNIST(t).Plan(t.Context(), engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]PlanRow{"pretrain": {Calls: 10 * 16}, "base": {Paths: 30, Calls: 30 * 4}, "importance": {Paths: 70, Calls: 680}}
	for _, r := range plan.Rows {
		if w := want[r.Name]; r.Paths != w.Paths || r.Calls != w.Calls {
			t.Errorf("%s: %g paths and %g calls, want %g and %g", r.Name, r.Paths, r.Calls, w.Paths, w.Calls)
		}
		delete(want, r.Name)
	}
	if len(want) > 0 {
		t.Errorf("the plan lacks %v", want)
	}
}

var mnistNames = []string{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}

// idx is an IDX file of zeros.
func idx(dims ...int) []byte {
	b, n := []byte{0, 0, 8, byte(len(dims))}, 1
	for _, d := range dims {
		b, n = binary.BigEndian.AppendUint32(b, uint32(d)), n*d
	}
	return append(b, make([]byte, n)...)
}

// Wrong data stops a run before it has written anything.
func TestMNISTData(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(idx(60000, 28, 28))
	z.Close()
	for _, c := range []struct {
		name  string
		files map[string][]byte
		words []string
		is    error
	}{
		{"none", nil, []string{"missing data files", "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}, data.ErrMissing},
		{"one missing", map[string][]byte{mnistNames[0]: nil, mnistNames[1]: nil, mnistNames[2]: nil}, []string{"missing", mnistNames[3]}, data.ErrMissing},
		{"empty", map[string][]byte{mnistNames[0]: nil, mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil}, []string{mnistNames[0], "truncated"}, nil},
		{"no IDX", map[string][]byte{mnistNames[0]: []byte("<html>404</html>"), mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil},
			[]string{mnistNames[0], "magic number", "not an IDX file"}, nil},
		{"too few", map[string][]byte{mnistNames[0]: idx(3, 28, 28), mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil},
			[]string{"[3 28 28]", "[60000 28 28]"}, nil},
		{"swapped", map[string][]byte{mnistNames[0]: idx(60000), mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil}, []string{"swapped"}, nil},
		{"altered", map[string][]byte{mnistNames[0] + ".gz": packed.Bytes(), mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil},
			[]string{mnistNames[0] + ".gz", "SHA-256"}, data.ErrChecksum},
		{"cut", map[string][]byte{mnistNames[0] + ".gz": packed.Bytes()[:packed.Len()/2], mnistNames[1]: nil, mnistNames[2]: nil, mnistNames[3]: nil},
			[]string{mnistNames[0] + ".gz", "truncated"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			m := tinyMNIST(t)
			m.From = dir
			folder := filepath.Join(t.TempDir(), "run")
			_, err := m.Run(t.Context(), folder, engine.Default, func(Event) {})
			wantError(t, err, append(c.words, dir)...)
			if c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("%v is no %v", err, c.is)
			}
			if _, err := os.Stat(folder); !os.IsNotExist(err) {
				t.Error("the run folder was made")
			}
		})
	}
	// Nobody has said where the data are, and the store is empty.
	store := t.TempDir()
	t.Setenv("DOOB_DATA", store)
	_, err := tinyMNIST(t).Run(t.Context(), filepath.Join(t.TempDir(), "run"), engine.Default, func(Event) {})
	wantError(t, err, filepath.Join(store, "mnist"), "doob data get mnist", "--from")
}
