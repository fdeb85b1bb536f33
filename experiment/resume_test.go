package experiment_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// several are settings of a toy with a method of every kind: tuned, learned in all ways, after another one.
var several = append([]string{"methods=[guidance, importance, vargrad, dpok, ddpo, cem, adjoint_matching, importance_rejection, importance_smc]", "seeds=2", "samples=60",
	"adjoint_matching={iterations: 10, paths: 20, updates: 2, batch: 10, buffer: 10, quantile: 0.5}", "importance.staleness=1"}, append(policies, plain...)...)

// small are settings of digits that take little time.
var small = []string{"drawn=50", "pool=0", "samples=6", "previews=0", "process.steps=3", "classifier={steps: 4, batch: 8}", "pretrain={steps: 4, batch: 8}",
	"importance={paths: 8, updates: 1, batch: 4}", "rest={iterations: 2, paths: 8, updates: 1, batch: 4, buffer: 20}"}

// However a run ends, it goes on to the same bytes, and what has ended is not done again.
func TestResume(t *testing.T) {
	for _, c := range []struct {
		kind  string
		every int // events from one kill to the next
		sets  []string
	}{
		{"toy", 9, several},
		{"mnist", 23, append([]string{"tasks=[even]", "methods=[base, guidance, importance, importance_amplified]", "seeds=2", "guidance.paths=6",
			"importance_amplified.paths=6"}, append(slices.Clone(small), "pool=10", "previews=2")...)},
		{"superres", 13, []string{"methods=[dps, importance, importance_fast]", "drawn=50", "measurements=2", "held=1", "samples=2", "process.steps=3", "dps.paths=4",
			"importance={staleness: 1, min_ess: 0.7, prefill: 8}"}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			t.Setenv("DOOB_DATA", t.TempDir())
			killed := map[int]string{} // copies of the folder, as a process leaves it that is killed at an event
			folder, n := filepath.Join(t.TempDir(), "run"), 0
			_, err := experiment.Run(t.Context(), tiny(t, c.kind, c.sets...), folder, "cpu", func(ev experiment.Event) {
				lasting := ev.Iteration != nil && ev.Done == 2 && (ev.Stage == "dpok" || ev.Stage == "ddpo") // whose snapshots have more than h
				if n++; n%c.every == 2 || lasting {
					killed[n] = copied(t, folder)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			want, once := outcome(t, folder), recorded(t, folder)
			check := func(what, folder string) {
				resume(t, folder)
				same(t, what, want, outcome(t, folder))
				if d := cmp.Diff(once, recorded(t, folder)); d != "" {
					t.Errorf("%s: results (-want +got)\n%s", what, d)
				}
			}
			for at, folder := range killed {
				t.Setenv("DOOB_DATA", t.TempDir())
				events := filepath.Join(folder, "events.jsonl")
				write(t, events, oracle.Read(t, events)+`{"seed":1,"sta`) // while it wrote the next
				check(fmt.Sprintf("killed at event %d of %d", at, n), folder)
			}
			for _, after := range []int{2, n * 3 / 5} {
				t.Setenv("DOOB_DATA", t.TempDir())
				check(fmt.Sprintf("stopped after event %d of %d", after, n), stopped(t, tiny(t, c.kind, c.sets...), "cpu", after))
			}
		})
	}
}

// More iterations, of a run that has ended or not, give what a run gives that was to have them with a warm restart from the beginning.
// Only what depends on them is done again. Where the method had not begun, there is nothing to restart.
func TestMoreIterations(t *testing.T) {
	for _, states := range []string{"states=true", "states=false"} {
		sets := append(slices.Clone(several), "seeds=1", "methods=[guidance, importance, cem, importance_rejection]", states)
		warm := outcome(t, run(t, tiny(t, "toy", append(sets, "importance={iterations: 6, restarts: [3]}")...), "cpu").folder)
		cold := outcome(t, run(t, tiny(t, "toy", append(sets, "importance={iterations: 6}")...), "cpu").folder)

		d := run(t, tiny(t, "toy", sets...), "cpu")
		whole := copied(t, d.folder)
		var again done
		var killed []string
		_, err := experiment.Resume(t.Context(), whole, []string{"importance.iterations=6"}, func(ev experiment.Event) {
			if again.events = append(again.events, ev); len(again.events)%3 == 1 {
				killed = append(killed, copied(t, whole))
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		torn := copied(t, d.folder) // killed after config.yaml was written, before anything else
		write(t, filepath.Join(torn, "config.yaml"), oracle.Read(t, filepath.Join(whole, "config.yaml")))
		for i, folder := range append(killed, torn) {
			resume(t, folder)
			same(t, fmt.Sprintf("%s, killed again %d", states, i), warm, outcome(t, folder))
		}
		same(t, states+", finished", warm, outcome(t, whole))
		if d := cmp.Diff(map[string]int{"1//importance": 1, "1//importance_rejection": 1}, results(again.events)); d != "" {
			t.Errorf("%s: done again (-want +got)\n%s", states, d)
		}
		iterations := 0
		for _, ev := range again.events {
			if ev.Stage == "importance" && ev.Iteration != nil {
				iterations++
			}
		}
		if want := map[string]int{"states=true": 3, "states=false": 6}[states]; iterations != want {
			t.Errorf("%s: %d iterations are done, want %d", states, iterations, want)
		}

		begun := false
		for i, ev := range d.events {
			begun = begun || ev.Stage == "importance" && ev.Iteration != nil
			if !begun && i%4 != 0 || begun && i%2 != 0 {
				continue
			}
			want := cold
			if begun {
				want = warm
			}
			folder := stopped(t, tiny(t, "toy", sets...), "cpu", i+1)
			resume(t, folder, "importance.iterations=6")
			same(t, fmt.Sprintf("%s, stopped after event %d", states, i+1), want, outcome(t, folder))
		}

		// config.yaml is the other place to say it.
		edit(t, filepath.Join(d.folder, "config.yaml"), "importance: {iterations: 3,", "importance: {iterations: 6,")
		resume(t, d.folder)
		same(t, states+", by hand", warm, outcome(t, d.folder))

		// Once more, with the restart that this means.
		resume(t, d.folder, "importance={iterations: 8, restarts: [3, 6]}")
		twice := run(t, tiny(t, "toy", append(sets, "importance={iterations: 8, restarts: [3, 6]}")...), "cpu")
		same(t, states+", twice", outcome(t, twice.folder), outcome(t, d.folder))
	}
}

// A run that grew is the run that was made at once, and nothing was done twice.
func TestGrow(t *testing.T) {
	seeds, tasks, methods := "seeds=2", "tasks=[single_3, even]", "methods=[base, importance, rest, importance_rejection]"
	want := run(t, tiny(t, "mnist", append(slices.Clone(small), seeds, tasks, methods)...), "cpu")
	d := run(t, tiny(t, "mnist", append(slices.Clone(small), "tasks=[single_3]", "methods=[base, importance]")...), "cpu")
	total := len(results(d.events))
	for _, grow := range []string{seeds, tasks, methods} {
		before := recorded(t, d.folder)
		sets := []string{grow}
		if grow == methods { // no method that shows what it learns is run again
			sets = append(sets, "previews=1")
		}
		more := results(resume(t, d.folder, sets...).events)
		total += len(more)
		for stage := range more {
			if before[stage] > 0 {
				t.Errorf("%s: %s is done again", grow, stage)
			}
		}
	}
	same(t, "grown", outcome(t, want.folder), outcome(t, d.folder))
	if all := recorded(t, want.folder); total != len(all) {
		t.Errorf("%d results, want %d: %v", total, len(all), slices.Sorted(maps.Keys(all)))
	}
}

// What would mix results is refused, with the key, both values and a way out, and nothing is touched. What changes no results may change.
func TestChanges(t *testing.T) {
	sets := append([]string{"methods=[base, guidance, importance]", "seeds=2", "samples=60"}, plain...)
	run(t, tiny(t, "toy", sets...), "cpu") // now the networks are stored: what follows has the same events
	whole := run(t, tiny(t, "toy", sets...), "cpu")
	half := stopped(t, tiny(t, "toy", sets...), "cpu", slices.IndexFunc(whole.events, func(ev experiment.Event) bool { return ev.Stage == "importance" && ev.Done == 2 }))
	for name, folder := range map[string]string{"whole": whole.folder, "half": half} {
		before := tree(t, folder)
		for set, words := range map[string][]string{
			"importance.learning_rate=0.1": {"importance.learning_rate is 0.1", "0.006"},
			"importance.iterations=2":      {"importance.iterations is 2", "3", "only grow"},
			"guidance.scales=[0.3]":        {"guidance.scales is [0.3]", "[0.05 0.1]"},
			"pretrain.learning_rate=0.1":   {"pretrain.learning_rate is 0.1", "0.003"},
			"h.width=16":                   {"h.width is 16", "8"},
			"samples=61":                   {"samples is 61", "60"},
			"batch=20":                     {"batch is 20", "50"}, // which changes last digits of networks on images
			"seed=2":                       {"seed is 2", "1"},
			"process.steps=7":              {"process.steps is 7", "6"},
			"seeds=1":                      {"seeds is 1", "2", "only grow"},
			"methods=[base, importance]":   {"methods", "guidance", "only grow"},
			"backend=go":                   {"backend is go", "cpu", "last digits"},
			"backend=\"cpu:generic\"":      {"backend is cpu:generic", "cpu", "last digits"},
			"importance.restarts=[1]":      {"importance.restarts is [1]", ""},
			"importance={iterations: 6, restarts: [1]}": {"importance.restarts is [1]", ""},
			"prior.means=[[0, 0, 0]]":                   {"prior.means"},
			"importance.iterations=[4, 5]":              {"iterations"}, // of the wrong type
			"methods=[base, guidance, importance, cat]": {"cat"},
		} {
			_, err := experiment.Resume(t.Context(), folder, []string{set}, func(ev experiment.Event) { t.Errorf("%s, %s: an event", name, set) })
			oracle.WantError(t, err, words...)
			if err != nil && len(words) > 1 && !strings.Contains(err.Error(), "--out") {
				t.Errorf("%s, %s: error %v, want one that tells the way out", name, set, err)
			}
			if d := cmp.Diff(before, tree(t, folder)); d != "" {
				t.Errorf("%s, %s: the folder has changed (-before +after)\n%.2000s", name, set, d)
				before = tree(t, folder)
			}
		}
	}
	want := outcome(t, whole.folder)
	maps.DeleteFunc(want, func(name string, _ any) bool { return strings.HasSuffix(name, "_state.safetensors") })
	for _, set := range []string{"backend=\"cpu:workers=1\"", "states=false"} {
		for name, from := range map[string]string{"whole": whole.folder, "half": half} {
			folder := copied(t, from)
			d := resume(t, folder, set)
			got := outcome(t, folder)
			for name, content := range got { // the name of the backend
				if report, ok := content.(map[string]any); ok {
					got[name], report["backend"] = report, "cpu"
				}
			}
			maps.DeleteFunc(got, func(name string, _ any) bool { return strings.HasSuffix(name, "_state.safetensors") }) // which states=false has not
			same(t, name+", "+set, want, got)
			if n := results(d.events); name == "whole" && len(n) > 0 {
				t.Errorf("%s does again %v", set, n)
			}
		}
	}
	_, err := experiment.Resume(t.Context(), whole.folder, nil, func(experiment.Event) {})
	oracle.WantError(t, err, whole.folder, "the run is complete", "importance.iterations", "extends it")
	_, err = experiment.Resume(t.Context(), whole.folder, []string{"seeds=2"}, func(experiment.Event) {})
	oracle.WantError(t, err, "the run is complete")
}

// A folder that is no run's, or of another program, is left as it was.
func TestFolders(t *testing.T) {
	p := func() experiment.Problem {
		return tiny(t, "toy", append([]string{"methods=[base]", "base=exact"}, plain...)...)
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.tex"), "years of work")
	empty := t.TempDir()
	future := t.TempDir()
	write(t, filepath.Join(future, "config.yaml"), "experiment: video\n")
	for _, c := range []struct {
		call  func() error
		words []string
	}{
		{func() error { _, err := experiment.Run(t.Context(), p(), dir, "cpu", nil); return err }, []string{dir, "not empty", "thesis.tex", "--out"}},
		{func() error {
			_, err := experiment.Run(t.Context(), p(), filepath.Join(dir, "new"), "abacus", nil)
			return err
		}, []string{`"abacus"`, "cpu"}},
		{func() error { _, err := experiment.NewPlan(t.Context(), p(), "abacus"); return err }, []string{`"abacus"`}},
		{func() error { _, err := experiment.Resume(t.Context(), dir, nil, nil); return err }, []string{dir, "config.yaml"}},
		{func() error { _, err := experiment.Resume(t.Context(), empty, nil, nil); return err }, []string{empty, "config.yaml"}},
		{func() error { _, err := experiment.Resume(t.Context(), future, nil, nil); return err }, []string{future, `"video"`, "unknown"}},
	} {
		oracle.WantError(t, c.call(), c.words...)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the folder has changed: %v, %v", entries, err)
	}
}
