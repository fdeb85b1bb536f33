package experiment_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/method"
)

// What a plan promises is what the run takes, for every method. Results count what a method owes another one; a plan counts it once.
func TestPlanMatchesRun(t *testing.T) {
	for kind, sets := range map[string][]string{
		"toy": append([]string{"seeds=2", "samples=130", "methods=[base, guidance, importance, reward_only, online, vargrad, dpok, ddpo, raft, cem, rest, smc_twisted, smc_fk, best_of_k, " +
			"resampled, importance_smc, importance_amplified, importance_rejection, adjoint_matching, other]", "variants=[{name: other, of: adjoint_matching, set: [adjoint_matching.paths=60, adjoint_matching.memoryless=false]}]", "adjoint_matching={iterations: 2, paths: 50, updates: 2, batch: 10, buffer: 10, memoryless: true}", "rest={iterations: 2, paths: 30, updates: 1, batch: 10}", "vargrad.steps=9"}, append(policies, plain...)...),
		"mnist": append([]string{"methods=[base, guidance, vargrad, dpok, ddpo, raft, best_of_k, resampled, smc_twisted, importance, importance_amplified, importance_rejection, importance_smc, adjoint_matching]",
			"adjoint_matching={iterations: 2, paths: 8, updates: 1, batch: 4, buffer: 4}",
			"raft={iterations: 2, paths: 8, updates: 1, batch: 4}", "vargrad={paths: 8, batch: 4}", "guidance.paths=6", "importance_amplified.paths=6"}, append(append(policies, small...), "pool=10")...),
		"superres": {"methods=[bicubic, dps, smc_twisted, vargrad, importance, importance_fast, importance_single]", "drawn=50", "process.steps=3", "process.variance=analytic", "dps.paths=4"},
	} {
		plan, err := experiment.NewPlan(t.Context(), tiny(t, kind, sets...), "cpu")
		if err != nil {
			t.Fatal(err)
		}
		d := run(t, tiny(t, kind, sets...), "cpu")
		paths, calls, owed := map[string]float64{}, map[string]float64{}, map[string][2]float64{}
		for _, ev := range d.events {
			if ev.Result == nil {
				continue
			}
			key := ev.Task + string(rune(ev.Seed))
			owed[ev.Stage+key] = [2]float64{ev.Result["training_paths"].Value, ev.Result["training_calls"].Value}
			var of [2]float64
			if m := method.New(ev.Stage); m != nil && m.About().Of != "" {
				of = owed[m.About().Of+key]
			}
			paths[ev.Stage] += ev.Result["paths"].Value - of[0]
			calls[ev.Stage] += ev.Result["network_calls"].Value - of[1]
		}
		stages := 0
		for _, r := range plan.Rows {
			if strings.HasPrefix(r.Name, "train ") {
				continue
			}
			if r.Name == "base paths" { // which methods are charged for
				if r.Paths != 0 || r.Calls != 0 || !(r.Seconds > 0) {
					t.Errorf("%s: %+v, want time only", kind, r)
				}
				continue
			}
			if r.Name == "kernel variance" { // which no method is charged for; its calls are tested with its estimate
				if r.Paths != 0 || !(r.Calls > 0) || !(r.Seconds > 0) {
					t.Errorf("%s: %+v, want calls and time", kind, r)
				}
				continue
			}
			stages++
			if got := paths[r.Name]; got != r.Paths {
				t.Errorf("%s: %g paths of %s are planned, the run took %g", kind, r.Paths, r.Name, got)
			}
			if got := calls[r.Name]; kind != "superres" && got != r.Calls { // whose results say what an image takes
				t.Errorf("%s: %g calls of %s are planned, the run took %g", kind, r.Calls, r.Name, got)
			}
			if !(r.Seconds >= 0) || math.IsInf(r.Seconds, 1) {
				t.Errorf("%s: %s takes %g s", kind, r.Name, r.Seconds)
			}
		}
		if stages != len(d.report.Order) || !(plan.Memory > 0) || !(plan.Disk > 0) {
			t.Errorf("%s: %d stages, memory %g, disk %g", kind, stages, plan.Memory, plan.Disk)
		}
	}
}

// By hand, from tiny.yaml: 6 steps and 200 samples; a path costs one call of the base model a step, and one of the control if there is one;
// a sample in a gradient step costs one of each. What draws paths of a control has base paths beside them, a tenth of all.
func TestNetworkCalls(t *testing.T) {
	const steps, n, defence = 6, 200, 23
	d := run(t, tiny(t, "toy", plain...), "cpu")
	for name, want := range map[string][2]float64{
		"base":           {n, n * steps},
		"guidance":       {2*50 + n + defence, (2*50 + n + defence) * steps}, // two scales are tried
		"importance":     {3*100 + n + defence, 2*(3*100+n+defence)*steps + 3*4*10*2},
		"reward_only":    {2*50 + n + defence, 2*(2*50+n+defence)*steps + 2*3*10*2},
		"raft":           {2*50 + n + defence, 2*(2*50+n+defence)*steps + 2*3*10*2},
		"cem":            {2*50 + n + defence + 50, 2*(2*50+n+defence)*steps + 2*3*10*2 + 50*steps}, // base samples prefill the buffer
		"vargrad":        {2*50 + n + defence, 2*(2*50+n+defence)*steps + 2*50*3*2},                 // 3 of the steps are fitted
		"online":         {2*50 + n + defence + 2*2*10, 2*(2*50+n+defence)*steps + 2*2*10*5*2},      // paths of its own, 5 steps long
		"smc_twisted":    {n, n * steps},
		"smc_fk":         {n, n * steps},
		"importance_smc": {3*100 + 3*n, 2*(3*100+3*n)*steps + 3*4*10*2}, // with what importance took to learn
	} {
		r := d.report.Methods[name]
		if got := [2]float64{r["paths"].Value, r["network_calls"].Value}; got != want {
			t.Errorf("%s: paths and calls %v, want %v", name, got, want)
		}
	}
}

// What cannot fit is refused in no time, before anything is made or written.
func TestRefused(t *testing.T) {
	if _, ok := machine.Memory(); !ok {
		t.Skip("it is not known how much memory there is")
	}
	for kind, sets := range map[string][]string{
		"toy": {"samples=10000000000000", "samples=9000000000000000000", "importance.paths=1000000000000", "importance.buffer=100000000000000", "importance.batch=100000000000000",
			"network.width=1000000", "h.width=1000000", "h.depth=1000000000000", "guidance.paths=1000000000000", "importance_smc.particles=1000000000", "cem.prefill=1000000000000"},
		"mnist": {"samples=10000000000000", "drawn=1000000000000", "network.width=1000000", "classifier.width=8000000", "pool=1000000000", "importance.paths=10000000000",
			"best_of_k.k=1000000000", "importance_rejection.rate=1e-12", "network.multipliers=[1, 1000000]"},
		"superres": {"measurements=1000000000", "samples=10000000000000", "drawn=1000000000000", "importance.paths=10000000000", "dps.paths=10000000000", "h={tuned: false, width: 1000000}",
			"data=gaussian h={tuned: false, patch: 1} gaussian.side=33"},
	} {
		for _, set := range sets {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start, folder := time.Now(), filepath.Join(t.TempDir(), "run")
			list := []string{set}
			if strings.HasPrefix(set, "data=") {
				list = []string{"data=gaussian", "h={tuned: false, patch: 1}", "gaussian.side=33"}
			}
			p, err := experiment.New(kind, "", files(kind), list)
			if err == nil {
				_, err = experiment.Run(t.Context(), p, folder, "cpu", func(experiment.Event) {})
			}
			if err == nil || !errors.Is(err, experiment.ErrConfig) && !strings.Contains(err.Error(), "does not fit") {
				t.Errorf("%s, %s: error %v, want one that says what is too large", kind, set, err)
			}
			runtime.ReadMemStats(&after)
			if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 256 || time.Since(start) > 5*time.Second {
				t.Errorf("%s, %s: refused after %v and %d MB", kind, set, time.Since(start), mb)
			}
			if _, err := os.Stat(folder); !os.IsNotExist(err) {
				t.Errorf("%s, %s: the run folder was made", kind, set)
			}
		}
	}
}

// A batch that is larger than anything else, the largest that is taken, costs nothing.
func TestHugeBatch(t *testing.T) {
	for kind, sets := range map[string][]string{"toy": plain, "mnist": append([]string{"tasks=[even]", "cem.paths=8", "rest.paths=8"}, small...)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		run(t, tiny(t, kind, append(sets, "methods=[base, importance]", "batch=1048576")...), "cpu")
		runtime.ReadMemStats(&after)
		if mb := (after.TotalAlloc - before.TotalAlloc) >> 20; mb > 512 {
			t.Errorf("%s: %d MB", kind, mb)
		}
	}
}
