package experiment_test

import (
	"encoding/csv"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
)

// What comes later wins: preset, file, settings in their order. A file that says nothing changes nothing. Loop is read before a method's own.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	write(t, file, "samples: 70\nimportance: {paths: 33}\nguidance:\n  scales: [4]\nraft: {updates: 9}\nloop: {updates: 7}\n")
	p, err := experiment.New("toy", "quick", file, []string{"samples=79", "importance.kl=0.5", "seed=9", "process.beta1=15", "samples=80"})
	if err != nil {
		t.Fatal(err)
	}
	got := p.(*toy.Problem)
	importance, raft := got.Method("importance").(*method.Importance), got.Method("raft").(*method.RAFT)
	if got.Samples != 80 || got.Seed != 9 || got.Process.VP.Beta1 != 15 || got.Process.VP.Beta0 != 0.1 || importance.Paths != 33 || importance.KL != 0.5 ||
		importance.Buffer != 4096 || importance.Updates != 7 || raft.Updates != 9 || !slices.Equal(got.Method("guidance").(*method.Guidance).Scales.Scales, []float64{4}) {
		t.Errorf("got %+v, importance %+v", got, importance)
	}
	want, err := experiment.New("toy", "", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "\n \n", "# nothing but a comment\n", "---\n"} {
		write(t, file, text)
		if got, err := experiment.New("toy", "quick", file, nil); err != nil || !cmp.Equal(want.(*toy.Problem).Process, got.(*toy.Problem).Process) {
			t.Errorf("file %q: %v", text, err)
		}
	}
}

// All presets can be run, and list all that belongs together.
func TestPresets(t *testing.T) {
	want := map[string][]string{"bell": {"quick"}, "outside": {"quick"}, "mnist": {"quick", "ablation", "compressible", "paper", "small"}, "superres": {"quick", "gaussian", "paper", "small"}, "toy": {"quick", "grid", "paper"}}
	for _, e := range experiment.Entries() {
		if d := cmp.Diff(want[e.Name], e.PresetNames()); d != "" {
			t.Errorf("%s (-want +got)\n%s", e.Name, d)
		}
		for _, preset := range e.PresetNames() {
			if _, err := experiment.New(e.Name, preset, "", nil); err != nil {
				t.Errorf("%s, preset %s: %v", e.Name, preset, err)
			}
		}
	}
}

func TestBadSettings(t *testing.T) {
	for kind, settings := range map[string]map[string][]string{
		"toy": {
			"sampels=3":                              {"sampels", "unknown field", "--set"},
			"importance.iteration=3":                 {"unknown field", "iteration"},
			"loop.iteration=3":                       {"unknown field", "iteration"},
			"base={a: 1}":                            {"base", "string"},
			"samples=many":                           {"samples", "int", "1 | samples: many"},
			"samples=1.5":                            {"samples", "1.5"}, // not silently 1
			"seed=-1":                                {"seed", "-1"},
			"importance=3":                           {"importance", "mapping"},
			"methods=base":                           {"methods"},
			"samples":                                {"key=value", "--set"},
			"=3":                                     {"key=value"},
			"a..b=3":                                 {"--set a..b=3"},
			"samples=0":                              {"samples is 0", "at least 2"},
			"samples=1":                              {"samples is 1", "at least 2"},
			"batch=0":                                {"batch is 0", "positive"},
			"seeds=0":                                {"seeds is 0", "positive"},
			"pool=-1":                                {"pool is -1"},
			"previews=-1":                            {"previews is -1"},
			"process.steps=-1":                       {"process.steps is -1"},
			"process.kernel=euler":                   {"process.kernel", `"euler"`, "euler-maruyama", "ddpm", "ddim"},
			"process.kernel=ddim":                    {"eta"}, // eta is 0: no noise, no path weights
			"methods=[base, basis]":                  {"methods", `"basis"`, "base", "guidance", "importance", "_smc"},
			"methods=[base, base]":                   {"methods", "base twice"},
			"methods=[]":                             {"methods is empty"},
			"methods=[importance_smc]":               {"importance_smc", "needs importance"},
			"methods=[raft_rejection]":               {"raft_rejection", "needs raft"},
			"methods=[base_smc]":                     {`"base_smc"`}, // which has no h
			"methods=[dps]":                          {"dps", "likelihood of a measurement"},
			"base=known":                             {`base is "known"`, "learned", "exact"},
			"experiment=mnist":                       {"experiment", "want toy"},
			"importance.acceptance=[0.1, 1.5]":       {"importance.acceptance has 1.5", "(0, 1]"},
			"importance.learning_rate=-1":            {"importance.learning_rate is -1"},
			"importance.restarts=[3]":                {"importance.restarts", "between 0 and the iterations"},
			"pretrain.ema=1.5":                       {"pretrain.ema is 1.5"},
			"denoising.power=0.5":                    {"denoising.power is 0.5"},
			"guidance.scales=[]":                     {"guidance", "scales"},
			"raft.best_of=0":                         {"raft.best_of is 0"},
			"vargrad.paths=1":                        {"vargrad.paths is 1", "2"}, // a variance needs two
			"smc_twisted.threshold=2":                {"smc_twisted.threshold is 2"},
			"importance_smc.particles=0":             {"importance_smc.particles is 0"},
			"prior.sd=-1":                            {"prior", "sd > 0"},
			"reward.means=[[0], [1], [2], [3]]":      {"prior and reward", "dimension 2 with dimension 1"},
			"variants=[{name: a, set: [samples=3]}]": {"keys below importance or h"},
		},
		"mnist": {
			"class=10":                       {"unknown field", "class"},
			"scale=0":                        {"scale is 0"},
			"tasks=[single_10]":              {"single_10"},
			"tasks=[even, even]":             {"even twice"},
			"network.patch=3":                {"divisor of 28"},
			"classifier.width=12":            {"multiple of 8"},
			"data=imagenet":                  {"imagenet"},
			"importance_rejection.rate=2":    {"importance_rejection.rate is 2"},
			"importance_amplified.scales=[]": {"importance_amplified"},
			"importance.prefill=5":           {"importance.prefill", "pool"},
			"variants=[{name: a, of: vargrad, set: [importance.paths=3]}]":        {"keys below vargrad or h"},
			"variants=[{name: a, of: vargrad, set: [vargrad.paths=1]}]":           {"vargrad.paths is 1"},
			"variants=[{name: a, of: nonsense, set: []}]":                         {"nonsense"},
			"variants=[{name: a, of: importance_smc, set: []}]":                   {"needs importance"},
			"variants=[{name: importance, set: []}]":                              {"that of a method"},
			"variants=[{name: a, set: [importance.what=3]}]":                      {"what"},
			"variants=[{name: a, set: [importance.paths=0]}]":                     {"importance.paths is 0"},
			"variants=[{name: a, set: [h.start=1]}, {name: a, set: [h.start=2]}]": {"twice"},
			"variants=[{name: ../a, set: [h.start=1]}]":                           {"without slashes"},
		},
		"superres": {
			"operator=average-3": {"operator", "divide"}, "operator=fog": {"unknown operator", "average-2"}, "sigma=0": {"sigma is 0"}, "data=cats": {`data is "cats"`},
			"methods=[importance_fast]": {"needs importance"}, "importance_single.measurement=3": {"importance_single.measurement is 3"},
			"group=3": {"importance.paths is 8", "multiple of group"}, "group=1": {"VarGrad"}, "h.gradient=false": {"h.gradient"}, "network.width=7": {"network.width"},
			"pool=10": {"pool is 10", "conditioned"}, "dps.scales=[]": {"dps", "scales"},
		},
	} {
		for set, words := range settings {
			_, err := experiment.New(kind, "", files(kind), []string{set})
			if !errors.Is(err, experiment.ErrConfig) {
				t.Errorf("%s: --set %s: error %v, want ErrConfig", kind, set, err)
				continue
			}
			oracle.WantError(t, err, words...)
		}
	}
	// All that is out of range is told at once.
	_, err := experiment.New("toy", "", files("toy"), []string{"samples=0", "batch=0", "cem.paths=0"})
	oracle.WantError(t, err, "samples is 0", "batch is 0", "cem.paths is 0")
}

// A mistake in a file is shown with its line and a caret below the place.
func TestBadFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	for text, words := range map[string][]string{
		"samples: 10\nimportance:\n  iterations: 2\n  bath: 3\n": {"[4:3]", `unknown field "bath"`, ">  4 |   bath: 3\n         ^"},
		"samples: 10\nbatch: ten\n":                              {"[2:8]", ">  2 | batch: ten\n              ^"},
		"samples: 1\nsamples: 2\n":                               {"[2:1]", "samples"},
		"- 1\n- 2\n":                                             {"[1:1]"},
	} {
		write(t, file, text)
		_, err := experiment.New("toy", "", file, nil)
		if oracle.WantError(t, err, append(words, "mine.yaml")...); !errors.Is(err, experiment.ErrConfig) {
			t.Errorf("%v is no ErrConfig", err)
		}
	}
	_, err := experiment.New("toy", "", file+"x", nil)
	oracle.WantError(t, err, "mine.yamlx", "no such file")
	_, err = experiment.New("toy", "fast", "", nil)
	oracle.WantError(t, err, `no preset "fast"`, "quick, grid, paper")
	_, err = experiment.New("toy", "../mnist/small", "", nil)
	oracle.WantError(t, err, "no preset")
	_, err = experiment.New("video", "", "", nil)
	oracle.WantError(t, err, `"video"`, "mnist, outside, superres, toy")
}

// config.yaml of a run, given as a file over any preset, is the whole run: the same config.yaml comes out, and the same numbers.
func TestConfigRoundTrip(t *testing.T) {
	for i, sets := range [][]string{
		append([]string{"methods=[base, importance]", "seed=18446744073709551615"}, plain...),
		{"reward.weights=[]", "methods=[base]", "base=exact", "prior={means: [[0.1, 0, 1], [1, 2, 1]], covs: [[[1, 0.3, 0], [0.3, 1, 0], [0, 0, 1]], [[2, 0, 0], [0, 2, 0], [0, 0, 1]]]}",
			"reward={weights: [1], means: [[1, 0, 0]], sd: 0.1234567890123456789}"},
		append([]string{"methods=[importance, mine]", "variants=[{name: mine, set: ['importance.acceptance=[0.7]', h.start=0.5]}]", "importance.learning_rate=1e-300",
			"importance.acceptance=[]", "process={kernel: ddim, eta: 0.5}", "base=exact"}, plain...),
	} {
		first := run(t, tiny(t, "toy", sets...), "cpu")
		config := filepath.Join(first.folder, "config.yaml")
		for _, preset := range []string{"quick", "paper"} {
			p, err := experiment.New("toy", preset, config, nil)
			if err != nil {
				t.Fatal(err)
			}
			again := run(t, p, "cpu")
			if d := cmp.Diff(oracle.Read(t, config), oracle.Read(t, filepath.Join(again.folder, "config.yaml"))); d != "" {
				t.Errorf("%d over preset %s (-run +read)\n%s", i, preset, d)
			}
			same(t, strings.Join(sets, " "), outcome(t, first.folder), outcome(t, again.folder))
		}
	}
}

// The folder has what the package's documentation says, and nothing else, and events tell all of it in order.
func TestRunFolder(t *testing.T) {
	d := run(t, tiny(t, "toy", "methods=[base, guidance, importance, smc_fk]", "base=exact"), "cpu")
	var got []string
	for name := range tree(t, d.folder) {
		if strings.HasPrefix(name, "tensorboard/") { // whose names have the time
			name = filepath.Dir(name)
		}
		got = append(got, name)
	}
	slices.Sort(got)
	want := []string{"checkpoint/importance.safetensors", "checkpoint/importance_state.safetensors", "config.yaml", "events.jsonl", "figures/methods.png",
		"figures/steps.png", "figures/training.png", "report.csv", "report.html", "report.json", "samples/base.safetensors", "samples/guidance.safetensors", "samples/importance.safetensors",
		"samples/smc_fk.safetensors", "tensorboard/base", "tensorboard/guidance", "tensorboard/importance", "tensorboard/run", "tensorboard/smc_fk"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("files (-want +got)\n%s", d)
	}
	look, _ := experiment.Look(os.DirFS(d.folder))
	var given []string
	for _, f := range look.Files() {
		given = append(given, f.Name)
	}
	kept := slices.DeleteFunc(slices.Clone(want), func(name string) bool { return strings.HasPrefix(name, "tensorboard/") })
	if slices.Sort(given); !slices.Equal(given, kept) {
		t.Errorf("there is to give away %v, want %v", given, kept)
	}
	lines, err := csv.NewReader(strings.NewReader(oracle.Read(t, filepath.Join(d.folder, "report.csv")))).ReadAll()
	if err != nil || !slices.Equal(lines[0], []string{"task", "method", "title", "metric", "value", "standard_error"}) {
		t.Fatalf("report.csv: %v, %v", lines, err)
	}
	found := map[string]float64{}
	for _, line := range lines[1:] {
		if line[0] != "" || line[2] != d.report.Titles[line[1]] {
			continue
		}
		if found[line[1]+" "+line[3]], err = strconv.ParseFloat(line[4], 64); err != nil {
			t.Error(err)
		}
		se := d.report.Methods[line[1]][line[3]].SE
		if got, err := strconv.ParseFloat(line[5], 64); (err != nil) != math.IsNaN(se) || err == nil && got != se {
			t.Errorf("the error of %s is %q in report.csv, want %v", line[3], line[5], se)
		}
	}
	for name, r := range d.report.Methods {
		for m, v := range r {
			if got, ok := found[name+" "+m]; ok == math.IsNaN(v.Value) || ok && got != v.Value {
				t.Errorf("%s of %s is %v, %v in report.csv, want %v", m, name, got, ok, v.Value)
			}
		}
	}
	page := oracle.Read(t, filepath.Join(d.folder, "report.html"))
	for _, words := range []string{"Importance (this method)", "data:image/png;base64,", "experiment: toy"} {
		if !strings.Contains(page, words) {
			t.Errorf("report.html lacks %q", words)
		}
	}
	if n := strings.Count(oracle.Read(t, filepath.Join(d.folder, "events.jsonl")), "\n"); n != len(d.events) {
		t.Errorf("%d lines in events.jsonl, %d events", n, len(d.events))
	}
	var stages []string
	iterations := 0
	for i, ev := range d.events[1:] {
		if n := len(stages); n == 0 || stages[n-1] != ev.Stage {
			stages = append(stages, ev.Stage)
			if ev.Done != 0 || d.events[i].Done != d.events[i].Total {
				t.Errorf("stage %s begins with %d done, after %d of %d", ev.Stage, ev.Done, d.events[i].Done, d.events[i].Total)
			}
		}
		if ev.Iteration != nil {
			if iterations++; ev.Iteration.Iteration != iterations || ev.Done != iterations {
				t.Errorf("iteration %d with %d done, want %d", ev.Iteration.Iteration, ev.Done, iterations)
			}
		}
	}
	if want := []string{"base", "guidance", "importance", "smc_fk"}; !slices.Equal(stages, want) || iterations != 3 {
		t.Errorf("stages %v with %d iterations, want %v with 3", stages, iterations, want)
	}
	if _, err := os.Stat(filepath.Join(d.folder, "LOCK")); !os.IsNotExist(err) {
		t.Error("LOCK is still there")
	}
}

// Methods and repetitions do not influence each other; with several seeds there are means and standard errors.
func TestIndependence(t *testing.T) {
	numbers := func(sets ...string) experiment.Report {
		return *run(t, tiny(t, "toy", append(sets, plain...)...), "cpu").report
	}
	both := numbers("methods=[base, guidance, importance, cem, smc_fk]", "seeds=2", "seed=5")
	one, two := numbers("methods=[smc_fk, cem]", "seed=5"), numbers("methods=[cem, smc_fk]", "seed=6")
	for _, name := range []string{"cem", "smc_fk"} {
		// The reward does not depend on the exact samples, which all seeds share.
		a, b, m := one.Methods[name]["reward"].Value, two.Methods[name]["reward"].Value, both.Methods[name]["reward"]
		if near := func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }; a == b || !near(m.Value, (a+b)/2) || !near(m.SE, max(a-b, b-a)/2) { // s/√n of two
			t.Errorf("%s: rewards %g and %g of two seeds, together %+v", name, a, b, m)
		}
		if se := both.Methods[name]["network_calls"].SE; se != 0 {
			t.Errorf("%s: calls of two seeds differ by %g", name, se)
		}
	}
}
