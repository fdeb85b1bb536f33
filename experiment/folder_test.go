package experiment

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/engine"
)

// A folder that cannot be used is left as it was.
func TestFolderInUse(t *testing.T) {
	toy := tiny(t, "methods=[base]", "base=exact")
	attempt := func(path string) error {
		_, err := toy.Run(context.Background(), path, engine.Default, func(Event) { t.Error("an event") })
		if !errors.Is(err, ErrFolder) {
			t.Errorf("%s: %v is no ErrFolder", path, err)
		}
		return err
	}

	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "thesis.tex"), []byte("years of work"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte("of another program"), 0o666); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)
	wantError(t, attempt(dir), dir, "not empty", "thesis.tex", "--out")
	if _, _, err := ReopenFolder(dir); !errors.Is(err, ErrFolder) {
		t.Errorf("error %v, want %v", err, ErrFolder)
	}
	if d := cmp.Diff(before, tree(t, dir)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
	wantError(t, attempt(filepath.Join(dir, "thesis.tex")), "thesis.tex", "not a directory")
	wantError(t, attempt(filepath.Join(dir, "thesis.tex", "run")), "not a directory")
	if d := cmp.Diff(before, tree(t, dir)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
}

// Two handles are like two processes: the second is refused until the first is done.
func TestFolderIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	f, err := CreateFolder(path, tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	f.Event(Event{Stage: "one"})
	before := tree(t, path)
	for name, open := range opens(t) {
		_, err = open(path)
		wantError(t, err, path, "another process works there", strconv.Itoa(os.Getpid()), "LOCK")
		if d := cmp.Diff(before, tree(t, path)); d != "" || !errors.Is(err, ErrFolder) {
			t.Errorf("%s has changed the folder of the first (-before +after):\n%s\nerror: %v", name, d, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := tree(t, path)["LOCK"]; ok {
		t.Error("LOCK is still there")
	}
	_, err = CreateFolder(path, tiny(t))
	wantError(t, err, "not empty", "config.yaml", "--resume "+path, "--out")
	if f, _, err = ReopenFolder(path); err != nil {
		t.Fatal(err)
	}
	before = tree(t, path)
	for name, open := range opens(t) {
		_, err = open(path)
		wantError(t, err, "another process works there")
		if d := cmp.Diff(before, tree(t, path)); d != "" {
			t.Errorf("%s has changed the reopened folder (-before +after):\n%s", name, d)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// opens are the two ways to get a run folder.
func opens(t *testing.T) map[string]func(path string) (*Folder, error) {
	return map[string]func(path string) (*Folder, error){
		"CreateFolder": func(path string) (*Folder, error) { return CreateFolder(path, tiny(t)) },
		"ReopenFolder": func(path string) (*Folder, error) { f, _, err := ReopenFolder(path); return f, err },
	}
}

// Of many who want a folder at the same time, one gets it.
func TestFolderForOne(t *testing.T) {
	path, toy := filepath.Join(t.TempDir(), "run"), tiny(t)
	var got atomic.Pointer[Folder]
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if f, err := CreateFolder(path, toy); err == nil && !got.CompareAndSwap(nil, f) {
				t.Error("two have it")
			} else if err != nil && !errors.Is(err, ErrFolder) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if got.Load() == nil {
		t.Fatal("nobody has it")
	}
	if err := got.Load().Close(); err != nil {
		t.Error(err)
	}
}

// An existing empty folder is welcome.
func TestFolderMayBeEmpty(t *testing.T) {
	f, err := CreateFolder(t.TempDir(), tiny(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestUnknownBackend(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	_, err := tiny(t).Run(context.Background(), path, "abacus", func(Event) {})
	wantError(t, err, `"abacus"`, "this build has cpu, go")
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Error("the run folder was made")
	}
	_, err = tiny(t).Plan(context.Background(), "abacus")
	wantError(t, err, `"abacus"`)
}

// An event that cannot be written must not go unnoticed.
func TestEventsThatCannotBeWritten(t *testing.T) {
	toy := tiny(t, "methods=[base]", "base=exact")
	path := filepath.Join(t.TempDir(), "run")
	f, err := CreateFolder(path, toy)
	if err != nil {
		t.Fatal(err)
	}
	f.events.Close()
	f.Event(Event{Stage: "lost"})
	wantError(t, f.Err(), path, "events")
	wantError(t, f.Keep(Snapshot{Stage: "lost"}), path, "events")
	if _, err := os.Stat(f.File(snapshotFile)); !os.IsNotExist(err) {
		t.Error("there is a snapshot after events that are lost")
	}
	wantError(t, f.Close(), "events")
	if _, err := os.Stat(filepath.Join(path, "LOCK")); !os.IsNotExist(err) {
		t.Error("LOCK is still there")
	}
}

// After an event that is lost the file ends, lest a later one or a snapshot hide the gap.
func TestNothingAfterALostEvent(t *testing.T) {
	f := started(t)
	f.Event(step("base", 1))
	f.Event(Event{Stage: "lost", Result: func() {}}) // JSON has no functions
	f.Event(step("base", 2))
	wantError(t, f.Keep(Snapshot{Stage: "base", Done: 2}), f.Path, "events", "func()")
	if exists(f.File(snapshotFile)) {
		t.Error("there is a snapshot")
	}
	if got, want := read(t, f.File("events.jsonl")), string(rawJSON(t, step("base", 1)))+"\n"; got != want {
		t.Errorf("events.jsonl is %q, want %q", got, want)
	}
}

// A run that is stopped keeps what it has finished, releases the folder, and has no report.
func TestCancelledRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	path := filepath.Join(t.TempDir(), "run")
	toy := plainToy(t, "methods=[importance, cem]", "importance.iterations=1", "cem.iterations=1000000")
	_, err := toy.Run(ctx, path, engine.Default, func(ev Event) {
		if ev.Stage == "cem" && ev.Iteration != nil {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	files := tree(t, path)
	for _, name := range []string{"LOCK", "report.json", "report.html"} {
		if _, ok := files[name]; ok {
			t.Errorf("%s is there", name)
		}
	}
	for name := range files {
		if strings.Contains(name, ".tmp") {
			t.Errorf("%s is left over", name)
		}
	}
	if got, err := Sample(t.Context(), Draw{Folder: path, N: 3, Out: filepath.Join(t.TempDir(), "x.csv")}); err != nil || got != "importance" {
		t.Errorf("sampling the finished method: %q, %v", got, err)
	}
	// Run promises to save what is learned so far.
	if _, ok := files["checkpoint/cem.safetensors"]; !ok {
		t.Error("what cem has learned so far is not saved")
	}
}
