package runfolder

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// started is the folder of a run that has begun.
func started(t *testing.T) *Folder {
	t.Helper()
	f, err := Create(filepath.Join(t.TempDir(), "run"), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.lock.Close(); f.events.Close() })
	return f
}

// reopened is the folder after the death of its process: nothing is closed in order.
func reopened(t *testing.T, f *Folder) (*Folder, []Line) {
	t.Helper()
	f.lock.Close()
	f.events.Close()
	f, lines, err := Reopen(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.lock.Close(); f.events.Close() })
	return f, lines
}

// A snapshot comes back as it was kept, the last one only, and only for its own stage.
func TestSnapshot(t *testing.T) {
	f := started(t)
	want := Snapshot{Seed: math.MaxUint64, Task: "even", Stage: "importance", Done: 12, Tensors: map[string]checkpoint.Tensor{
		"ema/h/out/bias": {Shape: []int{2}, F32: []float32{1, float32(math.Inf(-1))}},
		"scalar":         {Shape: []int{}, F32: []float32{3}},
		"buffer/rows":    {Shape: []int{0, 784}, F32: []float32{}},
		"counts":         {Shape: []int{1}, I64: []int64{math.MaxInt64}},
	}}
	for _, s := range []Snapshot{{Seed: 1, Stage: "base", Done: 3}, want} {
		if err := f.Keep(s); err != nil {
			t.Fatal(err)
		}
		if got := f.Resumed(s.Seed, s.Task, s.Stage); got != nil {
			t.Errorf("a new run resumes from %+v", got)
		}
	}
	first := oracle.Read(t, f.File(snapshotFile))
	f, _ = reopened(t, f)
	if d := cmp.Diff(&want, f.Resumed(want.Seed, want.Task, want.Stage)); d != "" {
		t.Errorf("snapshot (-kept +found):\n%s", d)
	}
	for _, other := range []Snapshot{{Seed: 1, Task: "even", Stage: "importance"}, {Seed: want.Seed, Stage: "importance"},
		{Seed: want.Seed, Task: "even", Stage: "base"}, {Seed: 1, Stage: "base"}} {
		if got := f.Resumed(other.Seed, other.Task, other.Stage); got != nil {
			t.Errorf("%+v resumes from %+v", other, got)
		}
	}
	// The same state after the same events is the same file: it tells nothing of when and by whom it was written.
	if err := f.Keep(want); err != nil {
		t.Fatal(err)
	}
	if oracle.Read(t, f.File(snapshotFile)) != first {
		t.Error("the same snapshot is another file")
	}
	for range 2 {
		if err := f.DropSnapshot(); err != nil {
			t.Error(err)
		}
	}
	if got := f.Resumed(want.Seed, want.Task, want.Stage); got != nil || exists(f.File(snapshotFile)) {
		t.Errorf("the snapshot that was dropped is there: %+v", got)
	}
}

// What a killed process leaves half written is removed, what only looks like it is not; folders that are gone are made again.
func TestReopenSweeps(t *testing.T) {
	f := started(t)
	files := map[string]bool{ // whether they stay
		".config.yaml.123-0.tmp": false, "checkpoint/.state.safetensors.4711-12.tmp": false, "samples/.grid.png.1-1.tmp": false,
		"notes.tmp": true, "samples/.hidden": true, "figures/a.1-1.tmp": true,
	}
	for name := range files {
		if err := os.WriteFile(f.File(name), []byte("half"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Remove(f.File("events.jsonl")), os.RemoveAll(f.File("checkpoint"))); err != nil {
		t.Fatal(err)
	}
	delete(files, "checkpoint/.state.safetensors.4711-12.tmp")
	if err := os.Mkdir(f.File("samples/.mine.1-1.tmp"), 0o777); err != nil {
		t.Fatal(err)
	}
	files["samples/.mine.1-1.tmp"] = true // not a file
	f, lines := reopened(t, f)
	for name, stays := range files {
		if exists(f.File(name)) != stays {
			t.Errorf("%s: there is %t, want %t", name, !stays, stays)
		}
	}
	f.Event(step("base", 1))
	if err := errors.Join(f.Keep(Snapshot{Stage: "base"}), f.Err(), f.Close()); err != nil || len(lines) != 0 {
		t.Errorf("%d events, error %v", len(lines), err)
	}
}

// A folder from which no run can go on is left as it is, and the message says what to do.
func TestReopenRefuses(t *testing.T) {
	state := func(metadata ...string) func(t *testing.T, f *Folder) {
		return func(t *testing.T, f *Folder) {
			m := map[string]string{}
			for i := 0; i < len(metadata); i += 2 {
				m[metadata[i]] = metadata[i+1]
			}
			if err := checkpoint.Save(f.File(snapshotFile), checkpoint.File{Metadata: m}); err != nil {
				t.Fatal(err)
			}
		}
	}
	cut := func(name string, keep float64, rest string) func(t *testing.T, f *Folder) {
		return func(t *testing.T, f *Folder) {
			text := oracle.Read(t, f.File(name))
			if err := os.WriteFile(f.File(name), []byte(text[:int(keep*float64(len(text)))]+rest), 0o666); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, f *Folder)
		want   []string
	}{
		"no configuration":   {func(_ *testing.T, f *Folder) { os.Remove(f.File("config.yaml")) }, []string{"is no run folder", "config.yaml"}},
		"not even a folder":  {func(_ *testing.T, f *Folder) { os.RemoveAll(f.Path) }, []string{"is no run folder", "config.yaml"}},
		"broken event":       {cut("events.jsonl", 1, "{\"seed\"\n{}\n"), []string{"events.jsonl", "line 3"}},
		"foreign event":      {cut("events.jsonl", 0, "{\"seed\":\"one\"}\n"), []string{"events.jsonl", "line 1", "seed"}},
		"half a snapshot":    {cut(snapshotFile, 0.5, ""), []string{"state.safetensors", "without that file"}},
		"empty snapshot":     {cut(snapshotFile, 0, ""), []string{"state.safetensors", "without that file"}},
		"garbage":            {cut(snapshotFile, 0, strings.Repeat("garbage", 99)), []string{"state.safetensors", "without that file"}},
		"a folder":           {func(_ *testing.T, f *Folder) { os.Remove(f.File(snapshotFile)); os.Mkdir(f.File(snapshotFile), 0o777) }, []string{"state.safetensors"}},
		"another checkpoint": {state("experiment", "toy"), []string{"state.safetensors", "no snapshot"}},
		"no stage":           {state("seed", "1", "done", "2", "events", "0"), []string{"no snapshot"}},
		"negative":           {state("seed", "1", "stage", "cem", "done", "-2", "events", "0"), []string{"no snapshot", `"-2"`}},
		"before the start":   {state("seed", "1", "stage", "cem", "done", "2", "events", "-1"), []string{"no snapshot", `"-1"`}},
		"events are missing": {state("seed", "1", "stage", "cem", "done", "2", "events", "100000"), []string{"state.safetensors", "byte 100000", "without that file"}},
		"amid an event":      {state("seed", "1", "stage", "cem", "done", "2", "events", "3"), []string{"state.safetensors", "byte 3", "without that file"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := started(t)
			f.Event(ended("base"))
			f.Event(step("cem", 1))
			if err := errors.Join(f.Err(), f.Keep(Snapshot{Seed: 1, Stage: "cem", Done: 1}), f.Close()); err != nil {
				t.Fatal(err)
			}
			c.damage(t, f)
			var before map[string]string
			if exists(f.Path) {
				before = tree(t, f.Path)
			}
			_, _, err := Reopen(f.Path)
			oracle.WantError(t, err, append(c.want, f.Path)...)
			if !errors.Is(err, ErrFolder) {
				t.Errorf("%v is no ErrFolder", err)
			}
			if before == nil {
				if exists(f.Path) {
					t.Error("the folder is there now")
				}
			} else if d := cmp.Diff(before, tree(t, f.Path)); d != "" {
				t.Errorf("the folder has changed (-before +after):\n%s", d)
			}
		})
	}
}

// The advice of TestReopenRefuses is good: without the damaged snapshot the run goes on from the last result.
func TestWithoutSnapshot(t *testing.T) {
	f := started(t)
	f.Event(ended("base"))
	f.Event(step("cem", 1))
	if err := os.WriteFile(f.File(snapshotFile), []byte(strconv.Itoa(1)), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Reopen(f.Path); !errors.Is(err, checkpoint.ErrCorrupt) {
		t.Fatalf("error %v, want %v", err, checkpoint.ErrCorrupt)
	}
	if err := os.Remove(f.File(snapshotFile)); err != nil {
		t.Fatal(err)
	}
	_, lines := reopened(t, f)
	if d := cmp.Diff([]Line{line(t, ended("base"))}, lines); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
}
