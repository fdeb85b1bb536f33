package experiment_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gomlx/gomlx/ml/model"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// A problem as a newcomer writes it: from here to TestNewcomer.

// bell is a Gaussian prior around a number that is read from a file, and a reward that is code: the tilted law is N(centre + slope, 1).
type bell struct {
	experiment.Common `yaml:",inline"`
	From              string  `yaml:"from,omitempty"` // folder with centre.txt
	Slope             float64 `yaml:"slope"`          // r(x) = slope·x
	H                 struct {
		nn.MLP              `yaml:",inline"`
		htransform.Settings `yaml:",inline"`
	} `yaml:"h,flow"`

	centre float64
	prior  *gmm.Mixture
}

const bellDefaults = `
methods: [base, importance, importance_rejection]
slope: 1
process: {beta0: 0.1, beta1: 20, kernel: euler-maruyama, steps: 20, power: 2}
denoising: {power: 2}
h: {width: 16, depth: 2, octaves: 3, scale_width: 8}
importance: {iterations: 4, paths: 256, updates: 40, batch: 64, buffer: 1024, learning_rate: 0.01, ema: 0.9, acceptance: [0.3]}
samples: 400
batch: 256
`

func init() {
	experiment.Register(experiment.Entry{Name: "bell", About: "Shift a Gaussian.", New: func() experiment.Problem { return &bell{} }, Default: "quick",
		Presets: fstest.MapFS{"presets/defaults.yaml": {Data: []byte(bellDefaults)}, "presets/quick.yaml": {}}})
}

func (b *bell) Check(c *config.Check) { c.MLP("h", b.H.MLP) }

func (*bell) Offers() method.Needs { return method.Unconditional | method.Learning }

func (b *bell) Load() (data.Source, error) {
	var err error
	if b.From, err = filepath.Abs(b.From); err != nil {
		return data.Source{}, err
	}
	text, err := os.ReadFile(filepath.Join(b.From, "centre.txt"))
	if err != nil {
		return data.Source{}, err
	}
	if _, err := fmt.Sscan(string(text), &b.centre); err != nil {
		return data.Source{}, err
	}
	b.prior, err = gmm.Isotropic([]float64{1}, [][]float64{{b.centre}}, 1)
	return data.Source{Name: "centre", SHA256: strings.TrimSpace(string(text))}, err
}

func (b *bell) Target(context.Context, *experiment.Lab, string) (*method.Target, error) {
	r := reward.Func(func(x []float32) float64 { return b.Slope * float64(x[0]) })
	return &method.Target{Base: diffusion.Mixture{Density: b.prior}, Shape: []int{1}, Reward: r, Conditions: 1,
		H: func(e *engine.Engine, key noise.Key, r reward.Reward) (htransform.Learned, error) {
			return b.H.New(e, key, htransform.Parts{Reward: r, NN1: func(s *model.Scope, inputs int) nn.Network {
				n := b.H.MLP
				n.Scope, n.In, n.Out, n.Timed = s, inputs, 1, true
				return n
			}})
		}}, nil
}

func (*bell) Metrics() []experiment.Metric {
	return []experiment.Metric{{Name: "mean", Title: "mean", Format: "%.3f", Reference: "exact.mean", Live: true}, {Name: "paths", Title: "paths", Work: true}}
}

func (*bell) Measure(_ context.Context, _ *experiment.Lab, _ string, s *method.Samples) (experiment.Result, error) {
	values := make([]float64, len(s.X))
	for i, x := range s.X {
		values[i] = float64(x)
	}
	mean, _ := metric.MeanSE(values)
	return experiment.Numbers(map[string]float64{"mean": mean}), nil
}

func (b *bell) References(context.Context, *experiment.Lab) (map[string]experiment.Result, error) {
	return map[string]experiment.Result{"": experiment.Numbers(map[string]float64{"mean": b.centre + b.Slope})}, nil
}

// A new problem is one package: with the above and nothing else, all that can be done with an experiment can be done with it.
func TestNewcomer(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "data/centre.txt"), "0.5\n")
	t.Chdir(home)
	p := func(sets ...string) experiment.Problem {
		p, err := experiment.New("bell", "", "", append([]string{"from=data"}, sets...))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d := run(t, p(), "cpu")
	rep := readJSON(t, filepath.Join(d.folder, "report.json"))
	if got := at(rep, "exact.mean"); got != 1.5 {
		t.Errorf("the exact mean is %g, want 1.5", got)
	}
	// Four standard errors of 400 samples are 0.2; what is learned may be that far from the law too, and the base model not.
	for name, want := range map[string]float64{"base": 0.5, "importance": 1.5, "importance_rejection": 1.5} {
		if got := at(rep, "methods."+name+".mean"); math.Abs(got-want) > 0.4 {
			t.Errorf("%s: mean %g, want %g", name, got, want)
		}
	}
	if table := d.report.Table(); len(table.Rows) != 4 || table.Rows[3][1] != "1.500" {
		t.Errorf("table %v", table.Rows)
	}

	// It is resumed, from anywhere.
	t.Chdir(t.TempDir())
	want := outcome(t, d.folder)
	for _, after := range []int{2, 4, 7} {
		folder := stopped(t, p("from="+filepath.Join(home, "data")), "cpu", after)
		resume(t, folder)
		same(t, fmt.Sprintf("stopped after event %d", after), want, outcome(t, folder))
	}

	// It is evaluated and sampled.
	evaluated, err := experiment.Evaluate(t.Context(), experiment.Draw{Folder: d.folder, Seed: 1}, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	for name := range d.report.Methods {
		if got, want := evaluated.Methods[name]["mean"].Value, d.report.Methods[name]["mean"].Value; got != want {
			t.Errorf("%s has the mean %g, and again %g", name, want, got)
		}
	}
	for _, name := range []string{"base", "importance", "importance_rejection"} {
		if n := len(rows(t, sample(t, experiment.Draw{Folder: d.folder, Method: name, N: 5, Seed: 3}), 1)); n != 5 {
			t.Errorf("%s: %d samples, want 5", name, n)
		}
	}

	// What it does not offer is refused.
	_, err = experiment.New("bell", "", "", []string{"methods=[base, guidance]"})
	oracle.WantError(t, err, "guidance", "a reward with a gradient", "bell")
	_, err = experiment.New("bell", "", "", []string{"slop=1"})
	oracle.WantError(t, err, "unknown field", "slop")
}

// The data of a run are found again from anywhere, may move, and must stay the same.
func TestDataMove(t *testing.T) {
	home, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(home, "data/centre.txt"), "0.5\n")
	write(t, filepath.Join(other, "centre.txt"), "0.75\n")
	t.Chdir(home)
	p, err := experiment.New("bell", "", "", []string{"from=data", "samples=10", "importance={iterations: 2, updates: 1}"})
	if err != nil {
		t.Fatal(err)
	}
	folder := stopped(t, p, "cpu", 6) // in importance, which has begun
	for _, moved := range []bool{false, true} {
		folder, sets := copied(t, folder), []string(nil)
		t.Chdir(t.TempDir())
		if moved {
			if err := os.Rename(filepath.Join(home, "data"), filepath.Join(home, "moved")); err != nil {
				t.Fatal(err)
			}
			_, err := experiment.Resume(t.Context(), folder, nil, func(experiment.Event) { t.Error("an event") })
			oracle.WantError(t, err, filepath.Join(home, "data"))
			sets = []string{"from=" + filepath.Join(home, "moved")}
		}
		before := tree(t, folder)
		_, err := experiment.Resume(t.Context(), folder, []string{"from=" + other}, func(experiment.Event) { t.Error("an event") })
		oracle.WantError(t, err, "other data", "--from", "--out")
		if d := cmp.Diff(before, tree(t, folder)); d != "" {
			t.Errorf("the folder has changed (-before +after)\n%s", d)
		}
		resume(t, folder, sets...)
	}
}
