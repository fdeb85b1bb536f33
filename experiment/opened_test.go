package experiment_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/report"
)

// A run that is opened once draws again and again what it would draw alone; it says what it can be asked for, and pictures say how they were made.
func TestOpened(t *testing.T) {
	d := run(t, tiny(t, "toy", "methods=[base, importance, importance_fast]", "importance_fast={steps: 3}"), "cpu")
	o, err := experiment.OpenRun(t.Context(), d.folder, "", "cpu")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	}()
	draw := func(q experiment.Draw) string {
		t.Helper()
		q.Out = filepath.Join(t.TempDir(), "x.csv")
		if _, err := o.Sample(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		return oracle.Read(t, q.Out)
	}
	q := experiment.Draw{N: 5, Seed: 3}
	first := draw(q)
	q.Steps = 2
	two := draw(q)
	q.Steps, q.Method = 0, "base"
	draw(q)
	q.Method = ""
	if again := draw(q); again != first {
		t.Error("the same draws differ")
	}
	q.Folder = d.folder
	if alone := sample(t, q); alone != first {
		t.Error("a run that is opened for one draw draws something else")
	}
	if q.Steps = 2; sample(t, q) != two || two == first {
		t.Error("two steps are not two steps")
	}
	if q.Steps = 6; sample(t, q) != first { // those of the run
		t.Error("the steps of the run are others than its own")
	}
	fast := experiment.Draw{N: 5, Seed: 3, Method: "importance_fast"}
	own := draw(fast)
	if fast.Steps = 2; draw(fast) != own {
		t.Error("a method with a number of steps of its own has another one")
	}

	var told atomic.Int64
	q = experiment.Draw{N: 2000, Seed: 3, Steps: 200, Out: filepath.Join(t.TempDir(), "x.png")}
	q.Observe = func(done, total float64) {
		told.Add(1)
		if done < 0 || done > total || total < 2*2000*200 || total > 3*2000*200 { // two networks, and paths that certify
			t.Errorf("%g of %g network calls", done, total)
		}
	}
	if _, err := o.Sample(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if told.Load() == 0 {
		t.Error("nothing was told")
	}
	f, err := os.Open(q.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	notes, err := report.Notes(f)
	if err != nil || len(notes) != 4 || notes[0] != (report.Note{Key: "run", Text: filepath.Base(d.folder)}) || notes[1].Text != "3" ||
		notes[2].Text != "method importance, samples 2000, steps 200, amplify 1, accept 1" {
		t.Errorf("the picture says %q, %v", notes, err)
	}
	q.Steps = -1
	_, err = o.Sample(t.Context(), q)
	oracle.WantError(t, err, "-1 steps")

	run, ok := experiment.Look(os.DirFS(d.folder))
	if !ok {
		t.Fatal("no run folder")
	}
	c, err := run.Choices()
	if err != nil || c.Steps != 6 || len(c.Methods) != 3 || c.Methods[0].Name != "importance" || c.Methods[1].Name != "base" || c.Methods[1].Title != "Base model" || c.Tasks != nil || c.Numbered {
		t.Errorf("choices %+v, %v", c, err)
	}
	var size int64
	for _, f := range run.Files() {
		if strings.HasPrefix(f.Name, "checkpoint/") && !strings.Contains(f.Name, "_state") {
			size += f.Size
		}
	}
	if bytes, err := experiment.Weights(d.folder); err != nil || size == 0 || bytes != float64(size) {
		t.Errorf("%g bytes of weights, want %d; %v", bytes, size, err)
	}
	if _, err := experiment.OpenRun(t.Context(), t.TempDir(), "", "cpu"); err == nil {
		t.Error("no error for an empty folder")
	}
}

// Tasks have titles for people; conditions are numbers.
func TestChoices(t *testing.T) {
	for kind, want := range map[string]struct {
		task, title string
		numbered    bool
	}{"mnist": {"single_3", "single_3", false}, "superres": {"", "", true}} {
		folder := stopped(t, tiny(t, kind), "cpu", 1)
		if err := os.WriteFile(filepath.Join(folder, "report.json"), []byte(`{"experiment": "`+kind+`", "order": ["dps", "base", "importance"]}`), 0o666); err != nil {
			t.Fatal(err)
		}
		run, _ := experiment.Look(os.DirFS(folder))
		c, err := run.Choices()
		if err != nil || c.Numbered != want.numbered || len(c.Methods) != 3 || c.Methods[2].Name != "dps" {
			t.Errorf("%s: %+v, %v", kind, c, err)
			continue
		}
		if want.task != "" && c.Tasks[0] != (experiment.Choice{Name: want.task, Title: want.title}) || want.task == "" && c.Tasks != nil {
			t.Errorf("%s: tasks %+v", kind, c.Tasks)
		}
	}
}
