package mnist

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// All tests share a store of trained networks, but those that set their own.
func TestMain(m *testing.M) {
	os.Exit(oracle.Store(m))
}

// tiny is a problem with the tiny settings, and others over them.
func tiny(t *testing.T, sets ...string) *Problem {
	t.Helper()
	p, err := experiment.New("mnist", "quick", "../testdata/tiny_mnist.yaml", sets)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Problem)
}

// run runs a problem in a new folder.
func run(t *testing.T, p *Problem) (folder string, rep *experiment.Report) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "run")
	rep, err := experiment.Run(t.Context(), p, folder, engine.Default, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	return folder, rep
}

// Images take every method whose needs the problem meets, those that came from elsewhere too: ReST, Feynman–Kac steering, backpropagation.
// Paths and calls of one task by hand: 20 samples, 4 steps, and two networks wherever h is learned; what has a control is certified with 3 base paths.
func TestEveryMethod(t *testing.T) {
	p := tiny(t, "tasks=[single_3]", "methods=[base, guidance, vargrad, reward_only, raft, cem, rest, online, adjoint_matching, best_of_k, resampled, smc_twisted, smc_fk, importance, importance_amplified, importance_fast, importance_rejection, importance_smc, rest_smc]",
		"loop={iterations: 2, paths: 16, updates: 2, batch: 8, buffer: 20}", "importance.iterations=3", "importance_fast.steps=3",
		"adjoint_matching={iterations: 1, paths: 16, updates: 2, batch: 8, buffer: 8}", "online={iterations: 1, paths: 16, updates: 1, batch: 4, buffer: 20, steps: 2}")
	folder, rep := run(t, p)
	want := map[string][2]int{
		"base":                 {20, 20 * 4},
		"best_of_k":            {40, 40 * 4},
		"resampled":            {40, 40 * 4},
		"guidance":             {2*20 + 20 + 3, 63 * 4},
		"smc_twisted":          {20, 20 * 4},
		"smc_fk":               {20, 20 * 4},
		"vargrad":              {2*16 + 20 + 3, 2*55*4 + 2*2*(2*16)},
		"online":               {16 + 20 + 3 + 4, 2*39*4 + 2*2*4},
		"adjoint_matching":     {16 + 20 + 3, 2*39*4 + 3*16*4 + 2*2*8}, // backwards once with each path, which counts as two calls
		"reward_only":          {40 + 16 + 20 + 3, 40*4 + 2*39*4 + 2*2*2*8},
		"raft":                 {40 + 16 + 20 + 3, 40*4 + 2*39*4 + 2*2*2*8},
		"cem":                  {40 + 16 + 20 + 3, 40*4 + 2*39*4 + 2*2*2*8},
		"rest":                 {40 + 16 + 20 + 3, 40*4 + 2*39*4 + 2*2*2*8},
		"rest_smc":             {40 + 16 + 40, 40*4 + 2*56*4 + 2*2*2*8},
		"importance":           {40 + 2*16 + 20 + 3, 40*4 + 2*55*4 + 2*3*2*8},
		"importance_fast":      {40 + 2*16 + 20 + 3, 40*4 + 2*32*4 + 2*23*3 + 2*3*2*8},
		"importance_amplified": {40 + 2*16 + 2*20 + 20 + 3, 40*4 + 2*95*4 + 2*3*2*8},
		"importance_rejection": {40 + 2*16 + 67, 40*4 + 2*(2*16+67)*4 + 2*3*2*8}, // ⌈20/0.3⌉ paths
		"importance_smc":       {40 + 2*16 + 40, 40*4 + 2*72*4 + 2*3*2*8},
	}
	for _, name := range p.Methods {
		for _, task := range p.Classes {
			r := rep.Tasks[task][name]
			if got := [2]int{int(r["paths"].Value), int(r["network_calls"].Value)}; got != want[name] {
				t.Errorf("%s of %s: paths and calls %v, want %v", name, task, got, want[name])
			}
			if tuned := r["scale"].Value > 0; tuned != (name == "guidance" || name == "importance_amplified") {
				t.Errorf("%s of %s: scale %v", name, task, r["scale"])
			}
			if a, d, f := r["accuracy"].Value, r["diversity"].Value, r["fid"].Value; !(a >= 0 && a <= 1 && d > 0 && f > 0 && r["reward"].Value < 0) {
				t.Errorf("%s of %s: %v", name, task, r)
			}
			oracle.Picture(t, filepath.Join(folder, "samples", name+"_"+task+".png"), 8*28, 3*28)
		}
	}
	oracle.Picture(t, filepath.Join(folder, "figures", "classes.png"), 12*28, 2*28)
	oracle.Picture(t, filepath.Join(folder, "figures", "methods.png"), 12*28, 10*28)
	for _, k := range []int{1, 2} {
		oracle.Picture(t, filepath.Join(folder, "samples", fmt.Sprintf("importance_single_3_iteration_%03d.png", k)), 8*28, 28)
	}
}

// The two columns of Table 1 are means over the single classes and over the halves; what the work was is a mean over all.
func TestGroups(t *testing.T) {
	p := tiny(t, "tasks=[single_3, single_5, even]", "methods=[base, best_of_k]")
	folder, rep := run(t, p)
	for _, name := range p.Methods {
		of := func(task, metric string) float64 { return rep.Tasks[task][name][metric].Value }
		for _, metric := range []string{"reward", "fid", "accuracy", "diversity"} {
			oracle.Near(t, name+": single "+metric, rep.Methods[name]["single."+metric].Value, (of("single_3", metric)+of("single_5", metric))/2, 1e-9)
			oracle.Near(t, name+": even/odd "+metric, rep.Methods[name]["even_odd."+metric].Value, of("even", metric), 0)
		}
		oracle.Near(t, name+": paths", rep.Methods[name]["paths"].Value, of("even", "paths"), 0)
	}
	reference := func(at string) float64 { return rep.Reference["floor."+at].Value }
	oracle.Near(t, "FID of training images", reference("single.fid"), (reference("tasks.single_3.fid")+reference("tasks.single_5.fid"))/2, 1e-9)
	for _, at := range []string{"single.fid", "even_odd.fid", "fid"} {
		if !(reference(at) > 0) {
			t.Errorf("floor.%s is %g", at, reference(at))
		}
	}
	if rep.Tasks["even"]["base"]["fid"] == rep.Tasks["single_3"]["base"]["fid"] {
		t.Error("two tasks have the same FID")
	}
	oracle.Picture(t, filepath.Join(folder, "figures", "methods.png"), 12*28, 28)
	if _, err := os.Stat(filepath.Join(folder, "figures", "classes.png")); !os.IsNotExist(err) {
		t.Errorf("classes.png without importance: %v", err)
	}
}

// A black box: h knows nothing of the gradient.
func TestBlackBox(t *testing.T) {
	sets := []string{"methods=[importance]", "tasks=[odd]"}
	_, with := run(t, tiny(t, sets...))
	_, without := run(t, tiny(t, append(sets, "h.gradient=false")...))
	if a, b := with.Tasks["odd"]["importance"], without.Tasks["odd"]["importance"]; a["fid"] == b["fid"] || math.IsNaN(b["fid"].Value) {
		t.Errorf("with the gradient %v, without %v", a, b)
	}
}

// Guidance and amplification choose the scale whose samples are nearest to real images: not one that throws them far away.
func TestScaleIsThatOfTheNearestSamples(t *testing.T) {
	_, rep := run(t, tiny(t, "tasks=[single_3]", "methods=[guidance, importance, importance_amplified]", "guidance.scales=[3000, 0.5, 2000]", "importance_amplified.scales=[3000, 1, 2000]"))
	for name, want := range map[string]float64{"guidance": 0.5, "importance_amplified": 1} {
		if got := rep.Tasks["single_3"][name]["scale"].Value; got != want {
			t.Errorf("%s: scale %g, want %g", name, got, want)
		}
	}
}

// Tasks are single classes, or halves of them.
func TestClasses(t *testing.T) {
	p := &Problem{}
	for task, want := range map[string][]int{"single_0": {0}, "single_9": {9}, "even": {0, 2, 4, 6, 8}, "odd": {1, 3, 5, 7, 9}, "single_10": nil, "single_": nil, "single_x": nil, "": nil, "3": nil} {
		if got := classes(task); !slices.Equal(got, want) {
			t.Errorf("%s has the classes %v, want %v", task, got, want)
		}
	}
	for task, want := range map[string]string{"single_4": "single", "even": "even_odd", "odd": "even_odd"} {
		if name, title := p.GroupOf(task); name != want || title == "" {
			t.Errorf("%s is of the group %s, %q", task, name, title)
		}
	}
}

// Files of a task are as its reward wants them, the real images too, and an h without ∇r learns to draw them. Of every image the reward is its
// file's size, in standard deviations of those of training images.
func TestFileSizes(t *testing.T) {
	p := tiny(t, "tasks=[compressible, incompressible]", "scale=2", "h.gradient=false", "methods=[base, resampled, importance]", "resampled.paths=200", "samples=40")
	_, rep := run(t, p)
	for _, task := range p.Classes {
		r := rep.Tasks[task]
		if a := r["base"]["accuracy"].Value; !math.IsNaN(a) {
			t.Errorf("%s has an accuracy, %g", task, a)
		}
		if !(r["resampled"]["reward"].Value > r["base"]["reward"].Value) {
			t.Errorf("%s: reward %v of base samples, %v resampled", task, r["base"]["reward"], r["resampled"]["reward"])
		}
		real, err := p.like(t.Context(), p.images.Train, task, 100)
		if err != nil {
			t.Fatal(err)
		}
		if values, err := p.rewards[task].Rewards(t.Context(), real, 100); err != nil || !(stat.Mean(values, nil) > 0.5) {
			t.Errorf("%s: reward %v of real images drawn for it, error %v", task, stat.Mean(values, nil), err)
		}
	}
	small, err := p.rewards["compressible"].Rewards(t.Context(), p.images.Train.Pixels, p.images.Train.N)
	if err != nil {
		t.Fatal(err)
	}
	large, err := p.rewards["incompressible"].Rewards(t.Context(), p.images.Train.Pixels, p.images.Train.N)
	if err != nil {
		t.Fatal(err)
	}
	mean, sd := stat.MeanStdDev(small, nil)
	oracle.Near(t, "mean reward of training images", mean, 0, 1e-9)
	oracle.Near(t, "its standard deviation", sd, 2, 1e-9)
	for i := range small {
		oracle.Near(t, "one reward against the other", small[i], -large[i], 0)
	}
}

// What makes no sense is refused before anything is done.
func TestConfig(t *testing.T) {
	for set, words := range map[string]string{
		"tasks=[single_10]":                `tasks has "single_10"`,
		"tasks=[even, compressible]":       "h.gradient is true, want false: the reward of compressible has no gradient",
		"tasks=[even, even]":               "even twice",
		"tasks=[]":                         "tasks is empty",
		"methods=[dps]":                    "dps, which needs a reward that is the likelihood of a measurement: mnist has none",
		"methods=[importance_smc]":         "importance_smc, which needs importance",
		"methods=[importance_amplified]":   "importance_amplified, which needs importance",
		"importance_rejection.rate=0":      "importance_rejection.rate is 0",
		"importance_rejection.rate=2":      "importance_rejection.rate is 2",
		"importance_amplified.scales=[]":   "importance_amplified.scales is empty",
		"raft.prefill=5":                   "raft.prefill is 5, want 0: there is a pool",
		"pool=-1":                          "pool is -1",
		"methods=[what]":                   `"what"`,
		"network.patch=3":                  "divisor of 28",
		"classifier.width=12":              "multiple of 8",
		"judge.width=0":                    "judge.width is 0",
		"judge.shift=14":                   "judge.shift is 14, want 0 to 13",
		"judge.steps=0":                    "judge.steps is 0",
		"data=imagenet":                    "imagenet",
		"drawn=49":                         "drawn is 49",
		"scale=0":                          "scale is 0",
		"h={tuned: false, scale_width: 0}": "h.scale_width is 0",
	} {
		_, err := experiment.New("mnist", "quick", "../testdata/tiny_mnist.yaml", []string{set})
		if !errors.Is(err, experiment.ErrConfig) || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: error %v, want one with %q", set, err, words)
		}
	}
	for _, preset := range []string{"quick", "small", "ablation", "compressible", "paper"} {
		read, err := experiment.New("mnist", preset, "", nil)
		if err != nil {
			t.Errorf("preset %s: %v", preset, err)
			continue
		}
		for _, name := range read.(*Problem).Methods {
			m := read.(*Problem).Method(name)
			if m == nil && preset == "ablation" {
				continue // a variant
			}
			if m == nil || m.About().Needs.Missing(read.Offers()) != "" {
				t.Errorf("preset %s: %s is %v, or its needs are not met", preset, name, m)
			}
		}
	}
}
