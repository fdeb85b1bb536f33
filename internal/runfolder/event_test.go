package runfolder

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// event is what a run might tell. This package knows the members of [Line] only.
type event struct {
	Seed   uint64             `json:"seed"`
	Task   string             `json:"task,omitempty"`
	Stage  string             `json:"stage,omitempty"`
	Done   int                `json:"done"`
	Loss   map[string]float64 `json:"loss,omitempty"`
	Result any                `json:"result,omitempty"`
}

func step(stage string, done int) event { return event{Seed: 1, Stage: stage, Done: done} }

func ended(stage string) event {
	return event{Seed: 1, Stage: stage, Done: 9, Result: map[string]any{"kl": 0.25}}
}

// text is the line of an event.
func text(t *testing.T, e event) string {
	t.Helper()
	line, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return string(line) + "\n"
}

// line is the event as it is read.
func line(t *testing.T, e event) Line {
	t.Helper()
	l := Line{Seed: e.Seed, Task: e.Task, Stage: e.Stage, Text: []byte(text(t, e))}
	if e.Result != nil {
		var err error
		if l.Result, err = json.Marshal(e.Result); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// An event that was read is the line that was written, whatever its numbers, and can be written again.
func TestEventsComeBack(t *testing.T) {
	f := started(t)
	want := []event{
		{Seed: math.MaxUint64, Task: "single_3", Stage: "importance", Done: 1, Loss: map[string]float64{"kl": 1. / 3, "tiny": 5e-324, "<&>": 1e300}},
		{Seed: math.MaxUint64, Task: "single_3", Stage: "importance", Result: "NaN"},
		{Seed: 0, Stage: "zero", Result: 0},
		{Stage: "false", Result: false},
	}
	var lines []Line
	for _, e := range want {
		f.Event(e)
		lines = append(lines, line(t, e))
	}
	file := oracle.Read(t, f.File("events.jsonl"))
	f, got := reopened(t, f)
	if d := cmp.Diff(lines, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	again := started(t)
	for _, l := range got {
		again.Event(json.RawMessage(l.Text))
	}
	if d := cmp.Diff(file, oracle.Read(t, again.File("events.jsonl"))); d != "" {
		t.Errorf("events.jsonl (-first +again):\n%s", d)
	}
	if d := cmp.Diff(file, oracle.Read(t, f.File("events.jsonl"))); d != "" {
		t.Errorf("events.jsonl (-before +after reopening):\n%s", d)
	}
}

// Who only looks sees all events so far, those too that would not count, and changes nothing.
func TestLines(t *testing.T) {
	f := started(t)
	f.Event(ended("base"))
	f.Event(step("cem", 1))
	if err := f.Keep(Snapshot{Seed: 1, Stage: "base", Done: 1}); err != nil {
		t.Fatal(err)
	}
	f.events.WriteString(`{"seed":1,"sta`) // the writer is in the middle of it
	before := tree(t, f.Path)
	got, err := Lines(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]Line{line(t, ended("base")), line(t, step("cem", 1))}, got); d != "" {
		t.Errorf("lines (-want +got):\n%s", d)
	}
	if d := cmp.Diff(before, tree(t, f.Path)); d != "" {
		t.Errorf("the folder has changed (-before +after):\n%s", d)
	}
	f.events.WriteString("\n")
	_, err = Lines(f.Path)
	oracle.WantError(t, err, f.Path, "events.jsonl", "line 3")
	if !errors.Is(err, ErrFolder) {
		t.Errorf("%v is no ErrFolder", err)
	}
	if err := os.Remove(f.File("events.jsonl")); err != nil {
		t.Fatal(err)
	}
	if got, err := Lines(f.Path); len(got) != 0 || err != nil {
		t.Errorf("without events.jsonl: %d lines, error %v", len(got), err)
	}
}

// What counts when a run goes on: events up to the last result, or up to the snapshot of an unfinished stage. What belongs to no stage
// is done when it is told, like a result.
func TestReopen(t *testing.T) {
	keep := func(stage string, done int) any { return Snapshot{Seed: 1, Stage: stage, Done: done} }
	for name, c := range map[string]struct {
		history []any // events, snapshots, and text as a killed process leaves it
		count   int   // of the events, that count
		resumed string
	}{
		"nothing":                    {nil, 0, ""},
		"no result yet":              {[]any{step("base", 0), step("base", 3)}, 0, ""},
		"after a result":             {[]any{step("base", 0), ended("base"), step("cem", 0), step("cem", 1)}, 2, ""},
		"two results":                {[]any{ended("base"), step("cem", 4), ended("cem")}, 3, ""},
		"snapshot":                   {[]any{step("base", 0), step("base", 1), keep("base", 1), step("base", 2)}, 2, "base"},
		"snapshot after a result":    {[]any{ended("base"), step("cem", 0), keep("cem", 1), step("cem", 2), keep("cem", 2), step("cem", 3)}, 3, "cem"},
		"snapshot before all events": {[]any{keep("base", 0), step("base", 1)}, 0, "base"},
		"snapshot of what is ended":  {[]any{step("cem", 1), keep("cem", 1), ended("cem"), step("raft", 0)}, 2, ""},
		"snapshot of more work":      {[]any{ended("cem"), step("cem", 10), keep("cem", 10), step("cem", 11)}, 2, "cem"},
		"result after the snapshot":  {[]any{keep("cem", 1), step("cem", 2), ended("base"), step("cem", 3)}, 2, "cem"},
		"result of another seed":     {[]any{keep("cem", 1), event{Seed: 2, Stage: "cem", Result: 1}, step("cem", 3)}, 1, "cem"},
		"result of another task":     {[]any{keep("cem", 1), event{Seed: 1, Task: "odd", Stage: "cem", Result: 1}, step("cem", 3)}, 1, "cem"},
		"of no stage":                {[]any{step("", 1), step("base", 1)}, 1, ""},
		"of no stage, later":         {[]any{ended("base"), step("", 1), step("cem", 1), step("cem", 2)}, 2, ""},
		"of no stage, snapshot":      {[]any{step("cem", 1), keep("cem", 1), step("", 1), step("cem", 2)}, 2, "cem"},
		"torn line":                  {[]any{ended("base"), `{"seed":1,"stage":"cem","do`}, 1, ""},
		"torn result":                {[]any{ended("base"), step("cem", 0), `{"seed":1,"stage":"cem","result":{}}`}, 1, ""},
		"only a torn line":           {[]any{`{`}, 0, ""},
		"snapshot, torn line":        {[]any{step("cem", 1), keep("cem", 1), `{"seed`}, 1, "cem"},
	} {
		t.Run(name, func(t *testing.T) {
			f := started(t)
			var lines []string
			want := []Line{}
			for _, h := range c.history {
				switch h := h.(type) {
				case event:
					f.Event(h)
					want, lines = append(want, line(t, h)), append(lines, text(t, h))
				case Snapshot:
					if err := f.Keep(h); err != nil {
						t.Fatal(err)
					}
				case string:
					f.events.WriteString(h)
				}
			}
			whole := oracle.Read(t, f.File("events.jsonl"))
			for range 2 { // what does not count stays until something is written: who only looks changes nothing
				var got []Line
				f, got = reopened(t, f)
				if d := cmp.Diff(want[:c.count], append([]Line{}, got...)); d != "" {
					t.Errorf("lines (-want +got):\n%s", d)
				}
				if d := cmp.Diff(whole, oracle.Read(t, f.File("events.jsonl"))); d != "" {
					t.Errorf("events.jsonl after reopening (-want +got):\n%s", d)
				}
			}
			for _, stage := range []string{"base", "cem", "raft"} {
				s := f.Resumed(1, "", stage)
				if (s != nil) != (stage == c.resumed) {
					t.Errorf("%s resumes from %+v", stage, s)
				}
			}
			// What comes now is written after what counts.
			f.Event(step("next", 1))
			if err := errors.Join(f.Err(), f.Close()); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(strings.Join(lines[:c.count], "")+text(t, step("next", 1)), oracle.Read(t, f.File("events.jsonl"))); d != "" {
				t.Errorf("events.jsonl (-want +got):\n%s", d)
			}
		})
	}
}

// A snapshot that is kept before any new event is of the events that count, whatever stands behind them.
func TestSnapshotAfterReopening(t *testing.T) {
	f := started(t)
	for _, e := range []event{ended("base"), step("cem", 1), step("cem", 2)} {
		f.Event(e)
	}
	f, _ = reopened(t, f)
	if err := f.Keep(Snapshot{Seed: 1, Stage: "raft", Done: 1}); err != nil {
		t.Fatal(err)
	}
	f, got := reopened(t, f)
	if len(got) != 1 || f.Resumed(1, "", "raft") == nil {
		t.Errorf("%d events and %+v, want the first and the snapshot", len(got), f.Resumed(1, "", "raft"))
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
