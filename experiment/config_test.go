package experiment

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What comes later wins: preset, file, settings in their order.
func TestPrecedence(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("samples: 70\nimportance: {paths: 33}\nguidance:\n  scales: [4]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	preset, err := LoadToy("quick", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	want := *preset
	want.Samples, want.Importance.Paths, want.Importance.KL, want.Guidance.Scales, want.Seed = 80, 33, 0.5, []float64{4}, 9
	want.Process.Schedule.Beta1 = 15
	got, err := LoadToy("quick", file, []string{"samples=79", "importance.kl=0.5", "seed=9", "process.beta1=15", "samples=80"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got); d != "" {
		t.Errorf("configuration (-want +got):\n%s", d)
	}
}

func TestPresets(t *testing.T) {
	if got, want := Presets("toy"), []string{"quick", "paper"}; !cmp.Equal(got, want) {
		t.Errorf("presets of toy are %v, want %v, the default first", got, want)
	}
	for _, name := range Presets("toy") {
		toy, err := LoadToy(name, "", nil)
		if err != nil {
			t.Errorf("toy, preset %s: %v", name, err)
		} else if !cmp.Equal(toy.Methods, reportMethods) {
			t.Errorf("toy, preset %s has methods %v, want all", name, toy.Methods)
		}
	}
	if got, want := Presets("mnist"), []string{"quick", "small", "paper", "ablation"}; got[0] != want[0] || !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("presets of mnist are %v, want %v, the default first", got, want)
	}
	for _, name := range Presets("mnist") {
		if _, err := LoadMNISTConfig(name, "", nil); err != nil {
			t.Errorf("mnist, preset %s: %v", name, err)
		}
	}
	if got := Presets("nonsense"); len(got) > 0 {
		t.Errorf("presets of an experiment that does not exist: %v", got)
	}
}

// A file that says nothing changes nothing.
func TestEmptyConfigFile(t *testing.T) {
	want, err := LoadToy("quick", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "\n \n", "# nothing but a comment\n", "---\n"} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		got, err := LoadToy("quick", file, nil)
		if err != nil {
			t.Errorf("file %q: %.100s …", text, err.Error())
		} else if d := cmp.Diff(want, got); d != "" {
			t.Errorf("file %q (-without +with):\n%s", text, d)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for _, c := range []struct {
		set   string
		words []string
	}{
		{"sampels=3", []string{"sampels", "unknown field", "--set"}},
		{"importance.iteration=3", []string{"unknown field", "iteration"}},
		{"samples=many", []string{"samples", "int", "1 | samples: many"}},
		{"samples=1.5", []string{"samples", "1.5"}}, // not silently 1
		{"seed=-1", []string{"seed", "-1"}},
		{"importance=3", []string{"importance", "mapping"}},
		{"methods=base", []string{"methods"}},
		{"samples", []string{"key=value", "--set"}},
		{"=3", []string{"key=value"}},
		{"a..b=3", []string{"--set a..b=3"}},
		{"samples=0", []string{"samples is 0", "positive"}},
		{"importance.batch=-4", []string{"importance.batch is -4", "positive"}},
		{"process.steps=-1", []string{"process.steps is -1"}},
		{"process.kernel=euler", []string{"process.kernel", `"euler"`, "euler-maruyama", "ddpm", "ddim"}},
		{"process.kernel=ddim", []string{"eta"}}, // eta is 0: no noise, no path weights
		{"process.power=.nan", []string{"process.power is NaN"}},
		{"process.beta0=30", []string{"beta0 < beta1"}},
		{"methods=[base, basis]", []string{"methods", `"basis"`, "base guidance importance"}},
		{"methods=[]", []string{"methods is empty"}},
		{"methods=[importance_smc]", []string{"importance_smc without importance"}},
		{"base=known", []string{`base is "known"`, "learned or exact"}},
		{"experiment=mnist", []string{"experiment", "want toy"}},
		{"importance.acceptance=[0.1, 1.5]", []string{"importance.acceptance has 1.5", "(0, 1]"}},
		{"importance.ema=1", []string{"importance.ema is 1"}},
		{"importance.learning_rate=-1", []string{"importance.learning_rate is -1"}},
		{"pretrain.ema=1.5", []string{"pretrain.ema is 1.5"}},
		{"pretrain.learning_rate=-1", []string{"pretrain.learning_rate is -1"}},
		{"pretrain.snr_mean=30", []string{"pretrain.snr_mean is 30"}},
		{"importance.snr_sd=-1", []string{"importance.snr_sd is -1"}},
		{"importance.power=0.5", []string{"importance.power is 0.5"}},
		{"guidance.scales=[]", []string{"guidance.scales is empty"}},
		{"guidance.scales=[1, .nan]", []string{"guidance.scales", "NaN"}},
		{"raft.best_of=0", []string{"raft.best_of is 0"}},
		{"vargrad.paths=1", []string{"vargrad.paths is 1", "2"}}, // a variance needs two
		{"smc.threshold=2", []string{"smc.threshold is 2"}},
		{"importance_smc.particles=0", []string{"importance_smc.particles is 0"}},
		{"prior.sd=-1", []string{"prior", "sd > 0"}},
		{"prior.grid.side=0", []string{"prior", "side"}},
		{"reward.weights=[1, 2]", []string{"reward", "2 weights", "4 means"}},
		{"reward.weights=[1, 2, -3, 4]", []string{"reward", "weight 2 is -3"}},
		{"reward.means=[[0], [1], [2], [3]]", []string{"prior and reward", "dimension 2 with dimension 1"}},
		{"reward.means=[[0, 0], [1], [2, 2], [3, 3]]", []string{"reward", "component 1"}},
		{"reward={weights: [1], means: [[0, 0]], covs: [[[1, 2], [2, 1]]]}", []string{"reward", "covariance 0", "positive definite"}},
		{"reward={weights: [1], means: [[0, 0]], covs: [[[1, 2], [0, 1]]]}", []string{"reward", "covariance 0", "symmetric"}},
		{"reward={weights: [1], means: [[0, 0]], covs: [[[1]]]}", []string{"reward", "covariance"}},
		{"prior.means=[[0, 0, 0, 0, 0, 0, 0, 0, 0]]", []string{"prior", "dimension is 9", "1 to 8"}},
	} {
		toy, err := LoadToy("quick", tinyFile, []string{c.set})
		if err == nil {
			t.Errorf("--set %s is accepted: samples %d", c.set, toy.Samples)
			continue
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("--set %s: %v is no ErrConfig", c.set, err)
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("--set %s: error\n%v\nlacks %q", c.set, err, w)
			}
		}
	}
	for _, c := range []struct {
		set   string
		words []string
	}{
		{"class=10", []string{"unknown field", "class"}},
		{"scale=0", []string{"scale is 0"}},
		{"classifier.steps=0", []string{"classifier.steps is 0"}},
		{"importance.paths=0", []string{"importance.paths is 0"}},
		{"network.width=-1", []string{"network.width is -1"}},
		{"samples=.5", []string{"samples"}},
	} {
		_, err := LoadMNISTConfig("quick", "", []string{c.set})
		if err == nil {
			t.Errorf("mnist: --set %s is accepted", c.set)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("mnist: --set %s: error\n%v\nlacks %q", c.set, err, w)
			}
		}
	}
}

// All that is out of range is told at once.
func TestAllFaultsAtOnce(t *testing.T) {
	_, err := LoadToy("quick", tinyFile, []string{"samples=0", "batch=0", "cem.paths=0"})
	wantError(t, err, "samples is 0", "batch is 0", "cem.paths is 0")
}

// A mistake in a file is shown with its line and a caret below the place.
func TestBadFile(t *testing.T) {
	for _, c := range []struct {
		text  string
		words []string
	}{
		{"samples: 10\nimportance:\n  iterations: 2\n  bath: 3\n", []string{"[4:3]", `unknown field "bath"`, ">  4 |   bath: 3\n         ^"}},
		{"samples: 10\nbatch: ten\n", []string{"[2:8]", ">  2 | batch: ten\n              ^"}},
		{"samples: 10\n  batch: 3\n", []string{"batch", "^"}},
		{"samples: [1\n", []string{"samples: [1", "^"}},
		{"samples: 1\nsamples: 2\n", []string{"[2:1]", "samples"}},
		{"- 1\n- 2\n", []string{"[1:1]"}},
	} {
		file := filepath.Join(t.TempDir(), "mine.yaml")
		if err := os.WriteFile(file, []byte(c.text), 0o666); err != nil {
			t.Fatal(err)
		}
		_, err := LoadToy("quick", file, nil)
		wantError(t, err, append(c.words, "mine.yaml")...)
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%v is no ErrConfig", err)
		}
	}
	_, err := LoadToy("quick", filepath.Join(t.TempDir(), "none.yaml"), nil)
	wantError(t, err, "none.yaml", "no such file")
	_, err = LoadToy("fast", "", nil)
	wantError(t, err, `no preset "fast"`, "quick, paper")
	_, err = LoadToy("../mnist/small", "", nil)
	wantError(t, err, "no preset")
}

// config.yaml of a run, given as --config, is the whole run: with any preset below it, the same configuration comes out.
func TestConfigRoundTrip(t *testing.T) {
	dir := t.TempDir()
	for i, sets := range [][]string{
		nil,
		{"seed=18446744073709551615", "seeds=3"},
		{"reward.weights=[]"}, // equal weights, not those of the preset
		{"prior={means: [[0.1, 0], [1, 2]], covs: [[[1, 0.3], [0.3, 1]], [[2, 0], [0, 1]]]}", "base=exact"},
		{"importance.acceptance=[]", "raft.acceptance=[0.7]", "process={kernel: ddim, eta: 0.5}"},
		{"importance.learning_rate=1e-300", "reward.sd=0.1234567890123456789"},
	} {
		want := tiny(t, sets...)
		f, err := CreateFolder(filepath.Join(dir, string(rune('a'+i))), want)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, preset := range Presets("toy") {
			got, err := LoadToy(preset, f.File("config.yaml"), nil)
			if err != nil {
				t.Errorf("%v over preset %s: %v", sets, preset, err)
				continue
			}
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("%v over preset %s: what was run and what is read back (-run +read):\n%s", sets, preset, d)
			}
		}
	}
}

// A run's config.yaml gives the same report again.
func TestConfigReproducesRun(t *testing.T) {
	folder, first := run(t, plainToy(t, "methods=[base, importance]", "seed=3", "importance.iterations=2"), nil)
	again, err := LoadToy("quick", filepath.Join(folder, "config.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	_, second := run(t, again, nil)
	if d := cmp.Diff(timeless(first), timeless(second)); d != "" {
		t.Errorf("the run and its repetition from config.yaml differ (-first +second):\n%s", d)
	}
}
