package experiment

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image/png"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

func tinyMNIST(t *testing.T, sets ...string) *MNIST {
	t.Helper()
	m, err := LoadMNISTConfig("quick", "testdata/tiny_mnist.yaml", sets)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// mnistIn runs a configuration in a new folder, with a store of its own, and returns the folder and the events.
func mnistIn(t *testing.T, m *MNIST) (folder string, rep *MNISTReport, events []Event) {
	t.Helper()
	t.Setenv("DOOB_DATA", t.TempDir())
	folder = filepath.Join(t.TempDir(), "run")
	rep, err := m.Run(t.Context(), folder, engine.Default, func(ev Event) { events = append(events, ev) })
	if err != nil {
		t.Fatal(err)
	}
	return folder, rep, events
}

// Everything that the recipe writes and says, once with all methods.
func TestMNIST(t *testing.T) {
	m := tinyMNIST(t, "seeds=2", "seed=5")
	folder, rep, events := mnistIn(t, m)
	files := tree(t, folder)
	want := []string{"checkpoint/", "config.yaml", "events.jsonl", "figures/", "figures/classes.png", "figures/methods.png", "figures/training.png",
		"report.html", "report.json", "samples/"}
	for _, name := range []string{"base", "classifier", "judge"} {
		want = append(want, "checkpoint/"+name+".safetensors")
	}
	for _, task := range []string{"single_3", "even"} {
		for _, name := range m.Methods {
			want = append(want, "samples/"+name+"_"+task+".png")
			if m.learned(name) {
				want = append(want, "checkpoint/"+name+"_"+task+".safetensors")
			}
		}
		want = append(want, "checkpoint/importance_"+task+"_seed_6.safetensors", "samples/importance_"+task+"_iteration_001.png",
			"samples/importance_"+task+"_iteration_002.png")
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(files))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	if image, err := png.Decode(strings.NewReader(files["samples/importance_even.png"])); err != nil || image.Bounds().Dx() < 8*28 || image.Bounds().Dy() < 3*28 {
		t.Errorf("grid of 20 samples: %v", err)
	}

	file := readJSON(t, filepath.Join(folder, "report.json"))
	for _, key := range []string{"experiment", "data", "seed", "seeds", "backend", "version", "tasks", "methods", "floor", "classifier_accuracy", "judge_accuracy", "seconds"} {
		if _, ok := file[key]; !ok {
			t.Errorf("report.json lacks %q", key)
		}
	}
	for _, name := range m.Methods {
		r := method(t, file, name)
		for _, column := range []string{"single", "even_odd"} {
			c, _ := r[column].(map[string]any)
			se, _ := c["se"].(map[string]any)
			for _, key := range []string{"reward", "fid", "accuracy", "diversity"} {
				if _, ok := c[key].(float64); !ok {
					t.Errorf("%s: %s.%s is %v", name, column, key, c[key])
				}
				if v, ok := se[key].(float64); !ok || v < 0 {
					t.Errorf("%s: %s.se.%s is %v", name, column, key, se[key])
				}
			}
		}
	}
	if f, ok := file["floor"].(map[string]any)["fid"].(float64); !ok || f != float64(rep.Floor.Single.FID) {
		t.Errorf("floor.fid is %v, want %v", f, rep.Floor.Single.FID)
	}

	if even := rep.Floor.Tasks["even"]; len(rep.Floor.Tasks) != 2 || even != *rep.Floor.EvenOdd {
		t.Errorf("floor of the tasks is %v, of the only one in the second column %v", rep.Floor.Tasks, rep.Floor.EvenOdd)
	}

	// Paths and calls of one task, by hand: 20 samples, 4 steps, and two networks wherever there is a control.
	for name, want := range map[string][2]int{
		"base":                 {20, 20 * 4},
		"best_of_k":            {40, 40 * 4},
		"resampled":            {40, 40 * 4},
		"guidance":             {2*20 + 20, 2 * 60 * 4},
		"smc":                  {20, 2 * 20 * 4},
		"vargrad":              {2*16 + 20, 2*52*4 + 2*2*(2*16)},
		"reward_only":          {40 + 16 + 20, 40*4 + 2*36*4 + 2*2*2*8},
		"raft":                 {40 + 16 + 20, 40*4 + 2*36*4 + 2*2*2*8},
		"importance":           {40 + 2*16 + 20, 40*4 + 2*52*4 + 2*3*2*8},
		"importance_amplified": {40 + 2*16 + 2*20 + 20, 40*4 + 2*92*4 + 2*3*2*8},
		"importance_rejection": {40 + 2*16 + 67, 40*4 + 2*(2*16+67)*4 + 2*3*2*8}, // ⌈20/0.3⌉ paths
		"importance_smc":       {40 + 2*16 + 40, 40*4 + 2*72*4 + 2*3*2*8},
	} {
		for _, task := range m.Tasks {
			if scale := rep.Tasks[task][name].Scale; (scale > 0) != (name == "guidance" || name == "importance_amplified") {
				t.Errorf("%s of %s: scale %g", name, task, scale)
			}
			if r := rep.Tasks[task][name]; r.Paths != int64(want[0]) || r.NetworkCalls != int64(want[1]) {
				t.Errorf("%s of %s: %d paths and %d calls, want %d and %d", name, task, r.Paths, r.NetworkCalls, want[0], want[1])
			}
		}
	}
	plan, err := m.Plan(t.Context(), engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	planned := map[string]PlanRow{}
	for _, row := range plan.Rows {
		planned[row.Name] = row
	}
	for name, r := range rep.Methods {
		// What is charged for importance's training too is no plan of its own.
		if p := planned[name]; !strings.HasPrefix(name, "importance_") && (p.Paths != 4*float64(r.Paths) || p.Calls != 4*float64(r.NetworkCalls)) {
			t.Errorf("%s: planned %g paths and %g calls, done 4·%g and 4·%g", name, p.Paths, p.Calls, float64(r.Paths), float64(r.NetworkCalls))
		}
	}

	if p := planned["importance_amplified"]; p.Paths != 4*(2*20+20) || p.Calls != 4*2*60*4 {
		t.Errorf("importance_amplified: planned %g paths and %g calls", p.Paths, p.Calls)
	}
	if p := planned["importance_rejection"]; p.Paths != 4*67 || p.Calls != 4*2*67*4 {
		t.Errorf("importance_rejection: planned %g paths and %g calls", p.Paths, p.Calls)
	}

	// The column is the mean over tasks and seeds of what the events say, its error that of the seeds.
	bySeed := map[uint64]float64{}
	var stages []string
	for _, ev := range events {
		if r, ok := ev.Result.(*MNISTResult); ok {
			stages = append(stages, fmt.Sprintf("%d %s %s", ev.Seed, ev.Task, ev.Stage))
			if ev.Task == "single_3" && ev.Stage == "guidance" {
				bySeed[ev.Seed] = float64(r.FID)
			}
		}
	}
	c := rep.Methods["guidance"].Single
	if mean, se := (bySeed[5]+bySeed[6])/2, math.Abs(bySeed[5]-bySeed[6])/2; math.Abs(float64(c.FID)-mean) > 1e-9 || math.Abs(float64(c.SE.FID)-se) > 1e-9 {
		t.Errorf("FID %v ± %v, want %v ± %v", c.FID, c.SE.FID, mean, se)
	}
	if len(stages) != 2*2*len(m.Methods) || stages[0] != "5 single_3 base" || stages[len(stages)-1] != "6 even importance_smc" {
		t.Errorf("%d results, from %s to %s", len(stages), stages[0], stages[len(stages)-1])
	}
	table := rep.Table()
	if len(table.Rows) != 2*(len(m.Methods)+1) {
		t.Errorf("%d rows in the table", len(table.Rows))
	}

	t.Run("sample", func(t *testing.T) { sampleMNIST(t, folder) })
}

func sampleMNIST(t *testing.T, folder string) {
	five := draw(t, Draw{Folder: folder, N: 5, Seed: 3}, ".csv")
	if n := len(rows(t, five, pixels)); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
	if twelve := draw(t, Draw{Folder: folder, N: 12, Seed: 3}, ".csv"); !strings.HasPrefix(twelve, five) {
		t.Error("the first 5 of 12 samples are not the 5 samples")
	}
	for name, other := range map[string]Draw{"base": {Method: "base"}, "another task": {Task: "even"}, "another method": {Method: "raft"}, "amplified": {Amplify: 2}, "accepted": {Accept: 0.5}} {
		other.Folder, other.N, other.Seed = folder, 5, 3
		if draw(t, other, ".csv") == five {
			t.Errorf("%s gives the same samples", name)
		}
	}
	if draw(t, Draw{Folder: folder, N: 5, Seed: 3, Amplify: 1}, ".csv") != five {
		t.Error("amplification by 1 gives other samples")
	}
	candidates := draw(t, Draw{Folder: folder, N: 10, Seed: 3}, ".csv")
	chosen := strings.Split(strings.TrimSpace(draw(t, Draw{Folder: folder, N: 5, Seed: 3, Accept: 0.5}, ".csv")), "\n")
	for i, row := range chosen {
		if !strings.Contains(candidates, row+"\n") || slices.Contains(chosen[:i], row) {
			t.Errorf("accepted sample %d is none of the 10 that were drawn, or was accepted before", i)
		}
	}
	if len(chosen) != 5 {
		t.Errorf("%d accepted samples, want 5", len(chosen))
	}
	if image, err := png.Decode(strings.NewReader(draw(t, Draw{Folder: folder, N: 5}, ".png"))); err != nil || image.Bounds().Dx() < 5*28 {
		t.Errorf("picture of five: %v", err)
	}
	out := filepath.Join(t.TempDir(), "x.csv")
	_, err := Sample(t.Context(), Draw{Folder: folder, N: 5, Method: "classifier", Out: out})
	wantError(t, err, `no "classifier"`, "base, importance")
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Method: "base", Amplify: 2, Out: out})
	wantError(t, err, "no h to amplify")
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Amplify: -1, Out: out})
	wantError(t, err, "amplification by -1")
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Accept: 1.5, Out: out})
	wantError(t, err, "1.5 to accept")
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Task: "single_4", Out: out})
	wantError(t, err, `no task "single_4"`, "single_3, even")
	if err := os.Remove(filepath.Join(folder, "checkpoint", "classifier.safetensors")); err != nil {
		t.Fatal(err)
	}
	_, err = Sample(t.Context(), Draw{Folder: folder, N: 5, Out: out})
	wantError(t, err, "classifier.safetensors", "no such file")
}

// Guidance and amplification choose the scale whose samples are nearest to real images: not one that throws them far away.
func TestScaleIsThatOfTheNearestSamples(t *testing.T) {
	_, rep, _ := mnistIn(t, tinyMNIST(t, "tasks=[single_3]", "methods=[guidance, importance, importance_amplified]", "guidance.scales=[3000, 0.5, 2000]",
		"importance_amplified.scales=[3000, 1, 2000]"))
	for name, want := range map[string]float64{"guidance": 0.5, "importance_amplified": 1} {
		if got := rep.Tasks["single_3"][name].Scale; got != want {
			t.Errorf("%s: scale %g, want %g", name, got, want)
		}
	}
}

// Base paths are resampled by exp r: each appears as often as its weight says, rounded up or down, and r is the task's.
func TestResampled(t *testing.T) {
	m := tinyMNIST(t, "samples=24", "pool=24", "scale=300")
	e, err := engine.Open(engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	run := &mnistRun{MNIST: m, session: session{engine: e}}
	task := &mnistTask{}
	classifier := m.classifier(e, "/classifier")
	classifier.Init(noise.New(1), 1, 0)
	if task.reward, err = reward.NewClass(e, classifier, []int{3}, m.Scale, imageShape, m.Batch); err != nil {
		t.Fatal(err)
	}
	x := make([]float32, m.Pool*pixels)
	noise.New(2).Normal(x, 0, 0)
	s := &mnistSeed{mnistRun: run, key: noise.New(3), base: &basePool{paths: diffusion.Paths{N: m.Pool, Dim: pixels, X: x,
		LogRatio: make([]float64, m.Pool), Energy: make([]float64, m.Pool)}, calls: 4}}
	o := &mnistOutcome{}
	if err := s.resample(t.Context(), o, task); err != nil {
		t.Fatal(err)
	}
	r, err := task.reward.Rewards(t.Context(), x, m.Pool)
	if err != nil {
		t.Fatal(err)
	}
	var sum, squares float64
	for _, v := range r {
		sum, squares = sum+math.Exp(v-r[0]), squares+math.Exp(2*(v-r[0]))
	}
	if math.Abs(o.ess-sum*sum/squares/float64(m.Pool)) > 1e-9 || o.ess > 0.9 {
		t.Errorf("ESS %v, want %v, well below 1", o.ess, sum*sum/squares/float64(m.Pool))
	}
	for i, v := range r {
		want, got := float64(m.Samples)*math.Exp(v-r[0])/sum, 0
		for j := range m.Samples {
			if slices.Equal(o.samples[j*pixels:(j+1)*pixels], x[i*pixels:(i+1)*pixels]) {
				got++
			}
		}
		if math.Abs(float64(got)-want) >= 1 {
			t.Errorf("path %d appears %d times, want %.2f", i, got, want)
		}
	}
	if len(o.samples) != m.Samples*pixels || o.paths != 24 || o.calls != 96 {
		t.Errorf("%d samples, charged %d paths and %d calls", len(o.samples)/pixels, o.paths, o.calls)
	}
}

// A run that is stopped, at whatever event, goes on to the same checkpoints, results and figures.
func TestMNISTResume(t *testing.T) {
	sets := []string{"tasks=[single_3]", "methods=[vargrad, importance, importance_amplified, importance_rejection, importance_smc]", "seeds=2"}
	whole, rep, events := mnistIn(t, tinyMNIST(t, sets...))
	want := tree(t, whole)
	for _, stop := range []int{1, len(events) / 4, len(events) / 2, len(events) - 3} {
		t.Setenv("DOOB_DATA", t.TempDir())
		folder := filepath.Join(t.TempDir(), "run")
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		_, err := tinyMNIST(t, sets...).Run(ctx, folder, engine.Default, func(Event) {
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
			if strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".png") {
				if got[name] != content {
					t.Errorf("stopped at event %d of %d: %s differs", stop, len(events), name)
				}
			}
			delete(got, name)
		}
		if len(got) > 0 {
			t.Errorf("stopped at event %d of %d: there are also %v", stop, len(events), slices.Sorted(maps.Keys(got)))
		}
		for name, m := range again.(*MNISTReport).Methods {
			if w := rep.Methods[name]; m.Single.MNISTMetrics != w.Single.MNISTMetrics || m.Paths != w.Paths || m.NetworkCalls != w.NetworkCalls {
				t.Errorf("stopped at event %d of %d: %s has %+v, want %+v", stop, len(events), name, *m, *w)
			}
		}
		_, err = Resume(t.Context(), folder, engine.Default, func(Event) {})
		wantError(t, err, folder, "complete")
	}
}

// The networks of a second run come from the store, whatever else is different; those of other settings do not.
func TestStoredNetworks(t *testing.T) {
	t.Setenv("DOOB_DATA", t.TempDir())
	trained := func(sets ...string) (names []string) {
		_, err := tinyMNIST(t, append(sets, "methods=[base]")...).Run(t.Context(), filepath.Join(t.TempDir(), "run"), engine.Default, func(ev Event) {
			if ev.Task == "" && ev.Done == 0 {
				names = append(names, ev.Stage)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, c := range []struct {
		sets string
		want []string
	}{
		{"seeds=1", []string{"classifier", "judge", "base"}},
		{"scale=3", nil},
		{"pretrain.steps=9", []string{"base"}},
		{"network.width=10", []string{"base"}},
		{"classifier.learning_rate=0.02", []string{"classifier", "judge"}},
		{"drawn=210", []string{"classifier", "judge", "base"}},
		{"seed=2", []string{"classifier", "judge", "base"}},
		{"pretrain.steps=9", nil},
	} {
		if got := trained(c.sets); !slices.Equal(got, c.want) {
			t.Errorf("%s: trains %v, want %v", c.sets, got, c.want)
		}
	}
}

// A variant changes what it says, for itself only.
func TestVariants(t *testing.T) {
	m := tinyMNIST(t, "variants=[{name: one, set: ['importance.acceptance=[0.2]', 'h.start=3']}, {name: two, set: [importance.buffer=7, h.gradient=false]}]",
		"methods=[importance, one, two]")
	one, err := m.variant("one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := m.variant("two")
	if err != nil {
		t.Fatal(err)
	}
	type settings struct {
		acceptance, start float64
		buffer            int
		gradient          bool
	}
	for name, c := range map[string]struct {
		m    *MNIST
		want settings
	}{"importance": {m, settings{0.5, 0.1, 20, true}}, "one": {one, settings{0.2, 3, 20, true}}, "two": {two, settings{0.5, 0.1, 7, false}}} {
		got := settings{c.m.Importance.Acceptance[0], c.m.H.Start, c.m.Importance.Buffer, c.m.H.Gradient}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
	_, rep, _ := mnistIn(t, tinyMNIST(t, "variants=[{name: no gradient, set: [h.gradient=false]}]", "methods=[importance, no gradient]", "tasks=[odd]"))
	a, b := rep.Methods["importance"].EvenOdd, rep.Methods["no gradient"].EvenOdd
	if a.MNISTMetrics == b.MNISTMetrics {
		t.Error("the variant has the metrics of importance")
	}
	for _, c := range []struct{ set, want string }{
		{"variants=[{name: a, set: [samples=3]}]", "keys below importance or h"},
		{"variants=[{name: a, set: [importance.what=3]}]", "what"},
		{"variants=[{name: a, set: [importance.paths=0]}]", "importance.paths is 0"},
		{"variants=[{name: importance, set: []}]", "twice"},
		{"tasks=[single_10]", "single_10"},
		{"tasks=[even, even]", "even twice"},
		{"methods=[importance_smc]", "needs importance"},
		{"methods=[importance_amplified]", "needs importance"},
		{"methods=[importance_rejection]", "needs importance"},
		{"importance_rejection.rate=0", "importance_rejection.rate is 0"},
		{"importance_rejection.rate=2", "importance_rejection.rate is 2"},
		{"pool=-1", "pool is -1"},
		{"importance_amplified.scales=[]", "importance_amplified needs scales"},
		{"methods=[what]", `"what"`},
		{"network.patch=3", "divisor of 28"},
		{"classifier.width=12", "multiple of 8"},
		{"data=imagenet", "imagenet"},
	} {
		_, err := LoadMNISTConfig("quick", "testdata/tiny_mnist.yaml", []string{c.set})
		wantError(t, err, c.want)
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
			m := tinyMNIST(t, "data=auto")
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
	// Nobody has said where the data are, and the store is empty: auto draws digits, mnist is an error.
	store := t.TempDir()
	t.Setenv("DOOB_DATA", store)
	_, err := tinyMNIST(t, "data=mnist").Run(t.Context(), filepath.Join(t.TempDir(), "run"), engine.Default, func(Event) {})
	wantError(t, err, filepath.Join(store, "mnist"), "doob data get mnist", "--from", "data=digits")
	m := tinyMNIST(t, "data=auto")
	if _, err := m.load(); err != nil || m.Data != "digits" {
		t.Errorf("auto without the files: %q, %v", m.Data, err)
	}
}

// An unknown backend stops a run before it has written anything.
func TestMNISTBackend(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "run")
	_, err := tinyMNIST(t).Run(t.Context(), folder, "abacus", func(Event) {})
	wantError(t, err, "abacus")
	if exists(folder) {
		t.Error("the run folder was made")
	}
}
