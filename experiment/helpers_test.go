package experiment

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/doob-diffusion/doob/engine"
)

const tinyFile = "testdata/tiny.yaml"

// tiny loads the tiny configuration of the toy with settings over it.
func tiny(t *testing.T, sets ...string) *Toy {
	t.Helper()
	toy, err := LoadToy("quick", tinyFile, sets)
	if err != nil {
		t.Fatal(err)
	}
	return toy
}

// plainToy is a tiny toy in three dimensions: without the picture of the samples, which takes longer than all else.
func plainToy(t *testing.T, sets ...string) *Toy {
	t.Helper()
	return tiny(t, append([]string{"prior.means=[[0, 0, 0], [1, 0, 0], [0, 1, 1]]", "reward={weights: [1], means: [[1, 0, 0]]}"}, sets...)...)
}

// run runs a toy in a new folder and returns the folder, and the report as a program that reads the file sees it.
func run(t *testing.T, toy *Toy, observe Observer) (folder string, report map[string]any) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "run")
	if observe == nil {
		observe = func(Event) {}
	}
	if _, err := toy.Run(context.Background(), folder, engine.Default, observe); err != nil {
		t.Fatal(err)
	}
	return folder, readJSON(t, filepath.Join(folder, "report.json"))
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal([]byte(read(t, path)), &value); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return value
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// shared is one run of the whole tiny toy, which many tests look at and none changes.
var shared struct {
	once   sync.Once
	folder string
	events []Event
}

func sharedRun(t *testing.T) (folder string, events []Event) {
	t.Helper()
	shared.once.Do(func() {
		dir, err := os.MkdirTemp("", "doob-experiment")
		if err != nil {
			t.Fatal(err)
		}
		folder := filepath.Join(dir, "run")
		if _, err := tiny(t).Run(context.Background(), folder, engine.Default, func(ev Event) { shared.events = append(shared.events, ev) }); err != nil {
			t.Fatal(err)
		}
		shared.folder = folder
	})
	if shared.folder == "" {
		t.Fatal("the shared run failed")
	}
	return shared.folder, shared.events
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.folder != "" {
		os.RemoveAll(filepath.Dir(shared.folder))
	}
	os.Exit(code)
}

// copyRun copies the shared run's folder, for tests that damage it.
func copyRun(t *testing.T) string {
	t.Helper()
	folder, _ := sharedRun(t)
	dir := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dir, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// timeless returns v without what a second run may change.
func timeless(v any) any {
	object, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{}
	for key, value := range object {
		if key != "seconds" {
			out[key] = timeless(value)
		}
	}
	return out
}

func methods(report map[string]any) map[string]any { return report["methods"].(map[string]any) }

func method(t *testing.T, report map[string]any, name string) map[string]any {
	t.Helper()
	m, ok := methods(report)[name].(map[string]any)
	if !ok {
		t.Fatalf("the report has no method %q, only %v", name, slices.Sorted(maps.Keys(methods(report))))
	}
	return m
}

// wantError checks that an error says all the words.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q\nlacks %q", err, w)
		}
	}
}

// tree lists the files below dir, with their contents.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.IsDir() {
			files[filepath.ToSlash(name)+"/"] = ""
			return err
		}
		files[filepath.ToSlash(name)] = read(t, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
