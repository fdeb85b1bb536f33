package runfolder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// config stands for the configuration of a run, which this package only keeps.
var config = []byte("seed: 1\n")

// A folder that cannot be used is left as it was.
func TestFolderInUse(t *testing.T) {
	attempt := func(path string) error {
		_, err := Create(path, config)
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
	oracle.WantError(t, attempt(dir), dir, "not empty", "thesis.tex", "--out")
	if _, _, err := Reopen(dir); !errors.Is(err, ErrFolder) || !errors.Is(err, ErrNone) {
		t.Errorf("error %v, want %v", err, ErrNone)
	}
	oracle.WantError(t, attempt(filepath.Join(dir, "thesis.tex")), "thesis.tex", "not a directory")
	oracle.WantError(t, attempt(filepath.Join(dir, "thesis.tex", "run")), "not a directory")
	if d := cmp.Diff(before, tree(t, dir)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
}

// opens are the two ways to get a run folder.
var opens = map[string]func(path string) (*Folder, error){
	"Create": func(path string) (*Folder, error) { return Create(path, config) },
	"Reopen": func(path string) (*Folder, error) { f, _, err := Reopen(path); return f, err },
}

// Two handles are like two processes: the second is refused until the first is done.
func TestFolderIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	f, err := Create(path, config)
	if err != nil {
		t.Fatal(err)
	}
	f.Event(event{Stage: "one"})
	before := tree(t, path)
	for name, open := range opens {
		_, err = open(path)
		oracle.WantError(t, err, path, "another process works there", strconv.Itoa(os.Getpid()), "LOCK")
		if d := cmp.Diff(before, tree(t, path)); d != "" || !errors.Is(err, ErrFolder) {
			t.Errorf("%s has changed the folder of the first (-before +after):\n%s\nerror: %v", name, d, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if exists(f.File("LOCK")) {
		t.Error("LOCK is still there")
	}
	_, err = Create(path, config)
	oracle.WantError(t, err, "not empty", "config.yaml", "--resume "+path, "--out")
	if f, _, err = Reopen(path); err != nil {
		t.Fatal(err)
	}
	before = tree(t, path)
	for name, open := range opens {
		_, err = open(path)
		oracle.WantError(t, err, "another process works there")
		if d := cmp.Diff(before, tree(t, path)); d != "" {
			t.Errorf("%s has changed the reopened folder (-before +after):\n%s", name, d)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// Of many who want a folder at the same time, one gets it.
func TestFolderForOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	var got atomic.Pointer[Folder]
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if f, err := Create(path, config); err == nil && !got.CompareAndSwap(nil, f) {
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

// An existing empty folder is welcome. What a run finds in a new one is the same in both.
func TestNewFolder(t *testing.T) {
	for _, path := range []string{t.TempDir(), filepath.Join(t.TempDir(), "deep", "run")} {
		f, err := Create(path, config)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"config.yaml": string(config), "events.jsonl": "", "figures/": "", "samples/": "", "checkpoint/": ""}
		if d := cmp.Diff(want, tree(t, path)); d != "" {
			t.Errorf("a new folder (-want +got):\n%s", d)
		}
	}
}

// The configuration and what is written as JSON are replaced whole, or stay as they are.
func TestReplacedFiles(t *testing.T) {
	f := started(t)
	value := map[string]any{"kl": 0.25, "methods": []string{"base", "a<b"}}
	if err := errors.Join(f.WriteConfig([]byte("seed: 2\n")), f.WriteJSON("report.json", 1), f.WriteJSON("report.json", value)); err != nil {
		t.Fatal(err)
	}
	if got := oracle.Read(t, f.File("config.yaml")); got != "seed: 2\n" {
		t.Errorf("config.yaml is %q", got)
	}
	text := oracle.Read(t, f.File("report.json"))
	if want := "{\n  \"kl\": 0.25,\n"; !strings.HasPrefix(text, want) || !strings.HasSuffix(text, "}\n") {
		t.Errorf("report.json is\n%s\nwant indented lines that begin with\n%s", text, want)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(text), &got); err != nil || !cmp.Equal(got["methods"], []any{"base", "a<b"}) {
		t.Errorf("report.json is read as %v, error %v", got, err)
	}
	before := tree(t, f.Path)
	oracle.WantError(t, f.WriteJSON("report.json", func() {}), "func()") // JSON has no functions
	oracle.WantError(t, f.WriteJSON("none/report.json", value), "none", "no such file")
	if d := cmp.Diff(before, tree(t, f.Path)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
}

// An event that cannot be written must not go unnoticed.
func TestEventsThatCannotBeWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "run")
	f, err := Create(path, config)
	if err != nil {
		t.Fatal(err)
	}
	f.events.Close()
	f.Event(event{Stage: "lost"})
	oracle.WantError(t, f.Err(), path, "events")
	oracle.WantError(t, f.Keep(Snapshot{Stage: "lost"}), path, "events")
	if exists(f.File(snapshotFile)) {
		t.Error("there is a snapshot after events that are lost")
	}
	oracle.WantError(t, f.Close(), "events")
	if exists(f.File("LOCK")) {
		t.Error("LOCK is still there")
	}
}

// After an event that is lost the file ends, lest a later one or a snapshot hide the gap.
func TestNothingAfterALostEvent(t *testing.T) {
	f := started(t)
	f.Event(step("base", 1))
	f.Event(event{Stage: "lost", Result: func() {}}) // JSON has no functions
	f.Event(step("base", 2))
	oracle.WantError(t, f.Keep(Snapshot{Stage: "base", Done: 2}), f.Path, "events", "func()")
	if exists(f.File(snapshotFile)) {
		t.Error("there is a snapshot")
	}
	if got, want := oracle.Read(t, f.File("events.jsonl")), text(t, step("base", 1)); got != want {
		t.Errorf("events.jsonl is %q, want %q", got, want)
	}
	oracle.WantError(t, f.Close(), "func()")
}
