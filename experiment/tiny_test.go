package experiment_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/experiment"
	_ "github.com/doob-diffusion/doob/experiment/mnist"
	_ "github.com/doob-diffusion/doob/experiment/superres"
	_ "github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// All tests share a store of trained networks, but those that set their own.
func TestMain(m *testing.M) {
	os.Exit(oracle.Store(m))
}

// plain is a toy in three dimensions: without pictures of samples, which take longer than all else.
var plain = []string{"prior.means=[[0, 0, 0], [1, 0, 0], [0, 1, 1]]", "reward={weights: [1], means: [[1, 0, 0]]}"}

// policies are settings of the policy-gradient methods that take little time.
var policies = []string{"dpok={iterations: 2, paths: 8, updates: 3, batch: 10, buffer: 8, transitions: 30, value: {width: 8, batch: 16}}",
	"ddpo={iterations: 2, paths: 8, updates: 2, batch: 10, buffer: 8, window: 12}"}

func files(kind string) string {
	if kind == "toy" {
		return "testdata/tiny.yaml"
	}
	return "testdata/tiny_" + kind + ".yaml"
}

// tiny is a problem with the tiny settings, and others over them.
func tiny(t *testing.T, kind string, sets ...string) experiment.Problem {
	t.Helper()
	p, err := experiment.New(kind, "", files(kind), sets)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// done is a run that has ended.
type done struct {
	folder string
	report *experiment.Report
	events []experiment.Event
}

// run runs a problem in a new folder.
func run(t *testing.T, p experiment.Problem, backend string) (d done) {
	t.Helper()
	d.folder = filepath.Join(t.TempDir(), "run")
	var err error
	if d.report, err = experiment.Run(t.Context(), p, d.folder, backend, func(ev experiment.Event) { d.events = append(d.events, ev) }); err != nil {
		t.Fatal(err)
	}
	return d
}

// resume goes on with a run in a folder.
func resume(t *testing.T, folder string, sets ...string) done {
	t.Helper()
	d := done{folder: folder}
	var err error
	if d.report, err = experiment.Resume(t.Context(), folder, sets, func(ev experiment.Event) { d.events = append(d.events, ev) }); err != nil {
		t.Fatal(err)
	}
	return d
}

// stopped runs a problem in a new folder until so many events were seen.
func stopped(t *testing.T, p experiment.Problem, backend string, after int) (folder string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	folder = filepath.Join(t.TempDir(), "run")
	_, err := experiment.Run(ctx, p, folder, backend, func(experiment.Event) {
		if after--; after == 0 {
			cancel()
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return folder
}

// results counts the results in events, by seed/task/stage.
func results(events []experiment.Event) map[string]int {
	n := map[string]int{}
	for _, ev := range events {
		if ev.Result != nil {
			n[strings.Join([]string{string(rune('0' + ev.Seed)), ev.Task, ev.Stage}, "/")]++
		}
	}
	return n
}

// recorded are the results in events.jsonl.
func recorded(t *testing.T, folder string) map[string]int {
	t.Helper()
	var events []experiment.Event
	for line := range strings.Lines(oracle.Read(t, filepath.Join(folder, "events.jsonl"))) {
		var ev experiment.Event
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	return results(events)
}

// outcome is what a run has left, without times and what tells of the way to it: report, tensors of checkpoints, pictures.
func outcome(t *testing.T, folder string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for name, content := range tree(t, folder) {
		switch {
		case strings.HasSuffix(name, ".safetensors") && name != "checkpoint/state.safetensors":
			f, err := checkpoint.Load(filepath.Join(folder, name))
			if err != nil {
				t.Fatal(err)
			}
			delete(f.Tensors, "seconds")
			out[name] = f.Tensors
		case strings.HasSuffix(name, ".png"):
			out[name] = content
		case name == "report.json":
			out[name] = timeless(readJSON(t, filepath.Join(folder, name)))
		}
	}
	return out
}

// same compares what two runs have left.
func same(t *testing.T, what string, want, got map[string]any) {
	t.Helper()
	if d := cmp.Diff(slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got))); d != "" {
		t.Errorf("%s: files (-want +got)\n%s", what, d)
	}
	for name, content := range want {
		if got[name] == nil || cmp.Equal(content, got[name]) {
			continue
		}
		if strings.HasSuffix(name, ".json") {
			t.Errorf("%s: %s (-want +got)\n%s", what, name, cmp.Diff(content, got[name]))
		} else {
			t.Errorf("%s: %s differs", what, name)
		}
	}
}

// timeless returns JSON without times and versions.
func timeless(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for key, value := range object {
		if !strings.HasSuffix(key, "seconds") && key != "version" && key != "peak_memory" {
			out[key] = timeless(value)
		}
	}
	return out
}

func readJSON(t *testing.T, path string) (value map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(oracle.Read(t, path)), &value); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return value
}

// at returns a number of a JSON object by its path, NaN if there is none.
func at(v any, path string) float64 {
	for key := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[key]
	}
	if n, ok := v.(float64); ok {
		return n
	}
	return math.NaN()
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// edit replaces a part of a file, which must be there.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	text := oracle.Read(t, path)
	if !strings.Contains(text, old) {
		t.Fatalf("%s lacks %q:\n%s", path, old, text)
	}
	write(t, path, strings.Replace(text, old, new, 1))
}

// copied returns a copy of a run folder.
func copied(t *testing.T, folder string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// tree lists the files below dir, with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		all[filepath.ToSlash(name)] = oracle.Read(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
