package experiment

import (
	"bytes"
	"encoding/json"
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

	"github.com/doob-diffusion/doob/engine"
)

var (
	reportMethods = []string{"base", "guidance", "importance", "reward_only", "online", "vargrad", "raft", "cem", "smc_twisted", "smc_fk", "importance_smc"}
	reportKeys    = []string{"mode_tv", "sw2", "energy", "reward", "ess_fraction", "log_z", "kl", "paths", "network_calls", "seconds"}
)

// report.json is a contract with programs: its keys stay, and null stands only where a method has no such number.
func TestReportContract(t *testing.T) {
	folder, _ := sharedRun(t)
	report := readJSON(t, filepath.Join(folder, "report.json"))
	if got := slices.Sorted(maps.Keys(report)); !cmp.Equal(got, []string{"backend", "base", "exact", "experiment", "floor", "methods", "seconds", "seed", "seeds", "version"}) {
		t.Errorf("report has keys %v", got)
	}
	for key, want := range map[string]any{"experiment": "toy", "seed": 1.0, "seeds": 1.0, "base": "learned", "backend": engine.Default} {
		if report[key] != want {
			t.Errorf("%s = %v, want %v", key, report[key], want)
		}
	}
	floor, ok := report["floor"].(map[string]any)["sw2"].(float64)
	if !ok || !(floor > 0 && floor < 1) {
		t.Errorf("floor.sw2 = %v, want a small positive number", report["floor"])
	}
	if logZ, ok := report["exact"].(map[string]any)["log_z"].(float64); !ok || math.Abs(logZ+2.764) > 0.001 {
		t.Errorf("exact.log_z = %v, want −2.764", report["exact"])
	}
	if got, want := slices.Sorted(maps.Keys(methods(report))), slices.Sorted(slices.Values(reportMethods)); !cmp.Equal(got, want) {
		t.Errorf("methods are %v, want %v", got, want)
	}
	for name := range methods(report) {
		m := method(t, report, name)
		want := slices.Clone(reportKeys)
		if name == "guidance" {
			want = append(want, "scale")
		}
		slices.Sort(want)
		if got := slices.Sorted(maps.Keys(m)); !cmp.Equal(got, want) {
			t.Errorf("%s has keys %v, want %v", name, got, want)
		}
		for key, v := range m {
			_, number := v.(float64)
			if null := key == "kl" && strings.Contains(name, "smc"); number == null {
				t.Errorf("%s.%s = %v", name, key, v)
			}
		}
		if scale, ok := m["scale"]; ok && scale != 0.05 && scale != 0.1 {
			t.Errorf("%s.scale = %v, want one of those tried", name, scale)
		}
		within := func(key string, lo, hi float64) {
			if v, ok := m[key].(float64); !ok || v < lo || v > hi {
				t.Errorf("%s.%s = %v, want a number from %g to %g", name, key, m[key], lo, hi)
			}
		}
		within("mode_tv", 0, 1)
		within("ess_fraction", 0, 1)
		within("sw2", 0, 10)
		within("energy", -0.1, 10)
		within("seconds", 0, 600)
	}
}

// Network calls and paths by hand, from tiny.yaml: 6 steps; 200 samples are measured; a path costs one call of the base
// model a step and one of the control if there is one; a training sample costs one of each.
func TestNetworkCalls(t *testing.T) {
	const steps, n = 6, 200
	folder, _ := sharedRun(t)
	report := readJSON(t, filepath.Join(folder, "report.json"))
	for name, want := range map[string]struct{ paths, calls int }{
		"base":           {n, n * steps},
		"guidance":       {2*50 + n, 2 * (2*50 + n) * steps}, // two scales are tried
		"importance":     {3*100 + n, 2*(3*100+n)*steps + 3*4*10*2},
		"reward_only":    {2*50 + n, 2*(2*50+n)*steps + 2*3*10*2},
		"raft":           {2*50 + n, 2*(2*50+n)*steps + 2*3*10*2},
		"cem":            {2*50 + n + 50, 2*(2*50+n)*steps + 2*3*10*2 + 50*steps}, // base samples prefill the buffer
		"vargrad":        {2*50 + n, 2*(2*50+n)*steps + 2*50*3*2},                 // 3 of the steps are fitted
		"online":         {2*50 + n + 2*2*10, 2*(2*50+n)*steps + 2*2*10*5*2},      // paths of its own, 5 steps long
		"smc_twisted":    {n, 2 * n * steps},
		"smc_fk":         {n, n * steps},
		"importance_smc": {3*100 + n + 3*n, 2*(3*100+n+3*n)*steps + 3*4*10*2}, // on top of what importance took
	} {
		m := method(t, report, name)
		if m["paths"] != float64(want.paths) || m["network_calls"] != float64(want.calls) {
			t.Errorf("%s: %v paths and %v calls, want %d and %d", name, m["paths"], m["network_calls"], want.paths, want.calls)
		}
	}
}

// Rows that only fill up the last batch are no network calls.
func TestNetworkCallsWithoutPadding(t *testing.T) {
	_, report := run(t, plainToy(t, "samples=130", "methods=[base]"), nil)
	if m := method(t, report, "base"); m["network_calls"] != 130.*6 {
		t.Errorf("base: %v calls, want 130 samples × 6 steps = 780", m["network_calls"])
	}
}

// What --dry-run promises is what the run then takes.
func TestPlanMatchesRun(t *testing.T) {
	folder, _ := sharedRun(t)
	report := readJSON(t, filepath.Join(folder, "report.json"))
	plan, err := tiny(t).Plan(t.Context(), engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	var importance PlanRow
	for _, row := range plan.Rows {
		if row.Seconds < 0 || math.IsNaN(row.Seconds) {
			t.Errorf("%s takes %g s", row.Name, row.Seconds)
		}
		if row.Name == "pretrain" {
			if row.Calls != 20*32 {
				t.Errorf("pretrain: %g calls planned, want 20 × 32", row.Calls)
			}
			continue
		}
		if row.Name == "importance" {
			importance = row
		}
		if row.Name == "importance_smc" { // the report counts the control that it uses, too
			row.Paths, row.Calls = row.Paths+importance.Paths, row.Calls+importance.Calls
		}
		m := method(t, report, row.Name)
		if m["paths"] != row.Paths || m["network_calls"] != row.Calls {
			t.Errorf("%s: %g paths and %g calls planned, %v and %v in the run", row.Name, row.Paths, row.Calls, m["paths"], m["network_calls"])
		}
	}
	if want := 1 + len(reportMethods); len(plan.Rows) != want {
		t.Errorf("the plan has %d stages, want %d", len(plan.Rows), want)
	}
	if plan.Memory <= 0 || plan.Disk <= 0 {
		t.Errorf("memory %g, disk %g: want positive numbers", plan.Memory, plan.Disk)
	}
}

// A plan of steps that VarGrad does not have must not count them.
func TestPlanCapsVarGradSteps(t *testing.T) {
	calls := func(steps int) float64 {
		plan, err := tiny(t, "methods=[vargrad]", "base=exact", fmt.Sprint("vargrad.steps=", steps)).Plan(t.Context(), engine.Default)
		if err != nil {
			t.Fatal(err)
		}
		return plan.Rows[0].Calls
	}
	if all, more := calls(6), calls(10); all != more {
		t.Errorf("10 of 6 steps are planned with %g calls, want those of 6 steps, %g", more, all)
	}
}

func TestSameSeedSameReport(t *testing.T) {
	folder, _ := sharedRun(t)
	first := readJSON(t, filepath.Join(folder, "report.json"))
	_, second := run(t, tiny(t), nil)
	if d := cmp.Diff(timeless(first), timeless(second)); d != "" {
		t.Errorf("two runs with the same seed differ (-first +second):\n%s", d)
	}
}

// Methods do not influence each other.
func TestMethodsAreIndependent(t *testing.T) {
	_, all := run(t, plainToy(t, "methods=[base, guidance, importance, cem, smc_twisted, smc_fk]"), nil)
	_, some := run(t, plainToy(t, "methods=[cem, smc_fk]"), nil)
	for _, name := range []string{"cem", "smc_fk"} {
		if d := cmp.Diff(timeless(method(t, all, name)), timeless(method(t, some, name))); d != "" {
			t.Errorf("%s depends on which other methods run (-all +some):\n%s", name, d)
		}
	}
}

func TestSeeds(t *testing.T) {
	const list = "methods=[base, smc_fk]"
	_, both := run(t, plainToy(t, list, "seeds=2", "seed=5"), nil)
	_, one := run(t, plainToy(t, list, "seed=5"), nil)
	_, two := run(t, plainToy(t, list, "seed=6"), nil)
	if both["seeds"] != 2.0 || both["seed"] != 5.0 {
		t.Errorf("seed and seeds are %v and %v, want 5 and 2", both["seed"], both["seeds"])
	}
	for _, name := range []string{"base", "smc_fk"} {
		m := method(t, both, name)
		se, ok := m["se"].(map[string]any)
		if !ok {
			t.Fatalf("%s has no standard errors", name)
		}
		if got, want := slices.Sorted(maps.Keys(se)), slices.Sorted(slices.Values(reportKeys)); !cmp.Equal(got, want) {
			t.Errorf("%s: standard errors of %v, want %v", name, got, want)
		}
		// The reward does not depend on the exact samples, which all seeds share.
		a, b := method(t, one, name)["reward"].(float64), method(t, two, name)["reward"].(float64)
		near := func(key string, got any, want float64) {
			if v, ok := got.(float64); !ok || math.Abs(v-want) > 1e-9*(1+math.Abs(want)) {
				t.Errorf("%s: %s = %v, want %g", name, key, got, want)
			}
		}
		if a == b {
			t.Errorf("%s: two seeds give the same reward", name)
		}
		near("reward", m["reward"], (a+b)/2)
		near("se.reward", se["reward"], math.Abs(a-b)/2) // s/√n of two numbers
		near("se.network_calls", se["network_calls"], 0)
	}
}

// The folder has what the package's documentation says, and nothing else.
func TestRunFolder(t *testing.T) {
	folder, observed := sharedRun(t)
	files := tree(t, folder)
	want := []string{"checkpoint/", "config.yaml", "events.jsonl", "figures/", "figures/methods.png", "figures/training.png", "report.html",
		"report.json", "samples/"}
	for _, name := range []string{"base", "cem", "importance", "online", "raft", "reward_only", "vargrad"} { // what has parameters
		want = append(want, "checkpoint/"+name+".safetensors")
	}
	slices.Sort(want)
	if d := cmp.Diff(want, slices.Sorted(maps.Keys(files))); d != "" {
		t.Errorf("files (-want +got):\n%s", d)
	}
	for _, name := range []string{"figures/methods.png", "figures/training.png"} {
		if _, err := png.Decode(strings.NewReader(files[name])); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, words := range []string{"<h2>Methods</h2>", "<h2>Training</h2>", "Importance (this method)", "data:image/png;base64,"} {
		if !strings.Contains(files["report.html"], words) {
			t.Errorf("report.html lacks %q", words)
		}
	}
	for i, line := range strings.SplitAfter(strings.TrimSuffix(files["events.jsonl"], "\n"), "\n") {
		want, err := json.Marshal(observed[i])
		if err != nil || !bytes.Equal(want, bytes.TrimSpace([]byte(line))) {
			t.Fatalf("line %d of events.jsonl is\n%swant what was observed:\n%s", i+1, line, want)
		}
	}
}

// Stages follow each other, count up to their total, and every method ends with its result.
func TestEvents(t *testing.T) {
	_, events := sharedRun(t)
	if n := strings.Count(read(t, filepath.Join(shared.folder, "events.jsonl")), "\n"); n != len(events) {
		t.Errorf("%d lines in events.jsonl, %d events observed", n, len(events))
	}
	var stages []string
	iterations, results := map[string]int{}, map[string]int{}
	var last Event
	for i, ev := range events {
		if ev.Stage != last.Stage {
			stages = append(stages, ev.Stage)
			if ev.Done != 0 {
				t.Errorf("event %d: stage %s begins with %d done", i, ev.Stage, ev.Done)
			}
			if i > 0 && last.Done != last.Total {
				t.Errorf("stage %s ends with %d of %d", last.Stage, last.Done, last.Total)
			}
		} else if ev.Done < last.Done || ev.Total != last.Total || ev.Done > ev.Total {
			t.Errorf("event %d of stage %s: %d of %d after %d of %d", i, ev.Stage, ev.Done, ev.Total, last.Done, last.Total)
		}
		if ev.Iteration != nil {
			if iterations[ev.Stage]++; ev.Iteration.Iteration != iterations[ev.Stage] || ev.Done != iterations[ev.Stage] {
				t.Errorf("%s: iteration %d with %d done, want %d", ev.Stage, ev.Iteration.Iteration, ev.Done, iterations[ev.Stage])
			}
		}
		if ev.Result != nil {
			results[ev.Stage]++
		}
		if ev.Seed != 1 {
			t.Errorf("event %d has seed %d", i, ev.Seed)
		}
		last = ev
	}
	if want := append([]string{"pretrain"}, reportMethods...); !cmp.Equal(stages, want) {
		t.Errorf("stages %v, want %v", stages, want)
	}
	if want := map[string]int{"importance": 3, "reward_only": 2, "online": 2, "vargrad": 2, "raft": 2, "cem": 2}; !cmp.Equal(iterations, want) {
		t.Errorf("iterations %v, want %v", iterations, want)
	}
	for _, name := range reportMethods {
		if results[name] != 1 {
			t.Errorf("%s has %d results, want 1", name, results[name])
		}
	}
}

// Without training there is nothing under that heading, and the picture of the samples stands with the methods.
func TestReportWithoutTraining(t *testing.T) {
	folder, _ := run(t, tiny(t, "methods=[base, smc_fk]", "base=exact"), nil)
	if _, err := os.Stat(filepath.Join(folder, "figures", "training.png")); !os.IsNotExist(err) {
		t.Errorf("figures/training.png: %v, want no such file", err)
	}
	if _, err := os.Stat(filepath.Join(folder, "checkpoint", "base.safetensors")); !os.IsNotExist(err) {
		t.Errorf("an exact base has a checkpoint: %v", err)
	}
	page := read(t, filepath.Join(folder, "report.html"))
	training, picture := strings.Index(page, "<h2>Training</h2>"), strings.Index(page, "<img")
	if picture < 0 || training >= 0 && picture > training {
		t.Errorf("the picture is at byte %d, the heading Training at %d: want it before", picture, training)
	}
}
