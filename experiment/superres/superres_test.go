package superres

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
)

// All tests share a store of trained networks, but those that set their own.
func TestMain(m *testing.M) {
	os.Exit(oracle.Store(m))
}

// tiny is a problem with the tiny settings, and others over them.
func tiny(t *testing.T, sets ...string) *Problem {
	t.Helper()
	p, err := experiment.New("superres", "quick", "../testdata/tiny_superres.yaml", sets)
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Problem)
}

// run runs a problem in a new folder.
func run(t *testing.T, p *Problem) (folder string, rep *experiment.Report, events []experiment.Event) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "run")
	rep, err := experiment.Run(t.Context(), p, folder, engine.Default, func(ev experiment.Event) { events = append(events, ev) })
	if err != nil {
		t.Fatal(err)
	}
	return folder, rep, events
}

// prepared is a problem that is ready to be measured, with networks that were not trained, if it has some.
func prepared(t *testing.T, sets ...string) (*Problem, *experiment.Lab) {
	t.Helper()
	p := tiny(t, sets...)
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	l := &experiment.Lab{Engine: oracle.Open(t), Key: noise.New(1)}
	for _, n := range p.Networks() {
		if _, err := n.Init(l.Engine.Scope("/ema/"+n.Name), l.Key); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Prepare(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	return p, l
}

// Posteriors take every method whose needs the problem meets, those that came from elsewhere too. Paths and calls by hand: 4 samples of each of
// 3 measurements, 4 steps, and two networks wherever there is a control.
func TestEveryMethod(t *testing.T) {
	p := tiny(t, "methods=[bicubic, base, best_of_k, guidance, dps, smc_twisted, smc_fk, vargrad, importance, importance_fast, importance_single, importance_amplified, importance_rejection, importance_smc, rest, raft, cem, reward_only, rest_smc]",
		"loop={iterations: 2, paths: 8, updates: 2, batch: 8, buffer: 20}", "importance.iterations=3", "guidance={scales: [0.1, 1], paths: 8}",
		"importance_amplified={scales: [1, 2], paths: 8}", "best_of_k={k: 2}", "importance_rejection={rate: 0.3}")
	folder, rep, _ := run(t, p)
	importance, selected := [2]float64{3 * 8, 2*3*8*4 + 2*3*2*8}, [2]float64{2 * 8, 2*2*8*4 + 2*2*2*8}
	for name, want := range map[string][3]float64{ // calls per image, paths to learn, calls to learn
		"bicubic":              {},
		"base":                 {4 * 4, 0, 0},
		"best_of_k":            {2 * 4 * 4, 0, 0},
		"guidance":             {4 * 4, 2 * 8, 2 * 8 * 4},
		"dps":                  {4 * 4, 2 * 8, 2 * 8 * 4},
		"smc_twisted":          {2 * 4 * 4, 0, 0},
		"smc_fk":               {4 * 4, 0, 0},
		"vargrad":              {2 * 4 * 4, 2 * 8, 2*2*8*4 + 2*2*(2*8)},
		"importance":           {2 * 4 * 4, importance[0], importance[1]},
		"importance_fast":      {2 * 4 * 2, importance[0], importance[1]},
		"importance_amplified": {2 * 4 * 4, importance[0] + 2*8, importance[1] + 2*2*8*4},
		"importance_rejection": {2 * 14 * 4, importance[0], importance[1]}, // ⌈4/0.3⌉ paths
		"importance_smc":       {2 * 2 * 4 * 4, importance[0], importance[1]},
		"importance_single":    {2 * 4 * 4, 2 * 8, 2*2*8*4 + 2*2*2*8},
		"rest":                 {2 * 4 * 4, selected[0], selected[1]},
		"raft":                 {2 * 4 * 4, selected[0], selected[1]},
		"cem":                  {2 * 4 * 4, selected[0], selected[1]},
		"reward_only":          {2 * 4 * 4, selected[0], selected[1]},
		"rest_smc":             {2 * 2 * 4 * 4, selected[0], selected[1]},
	} {
		r := rep.Methods[name]
		if got := [3]float64{r["network_calls"].Value, r["training_paths"].Value, r["training_calls"].Value}; got != want {
			t.Errorf("%s: calls per image, paths and calls to learn %v, want %v", name, got, want)
		}
		for _, key := range []string{"psnr", "ssim", "residual", "crps", "fid", "seconds", "psnr_single"} {
			absent := name == "bicubic" && key == "crps" || name == "importance_single" && key == "fid"
			if v := r[key].Value; math.IsNaN(v) != absent {
				t.Errorf("%s: %s is %g", name, key, v)
			}
		}
		oracle.Picture(t, filepath.Join(folder, "samples", name+".png"), 28, 28)
	}
	// Of one measurement, the mean over measurements is that of the one.
	if r := rep.Methods["importance_single"]; r["psnr"].Value != r["psnr_single"].Value || rep.Methods["importance"]["psnr"].Value == rep.Methods["importance"]["psnr_single"].Value {
		t.Errorf("importance for one measurement has PSNR %v and %v of the one", r["psnr"], r["psnr_single"])
	}
	// The truth measures as it was measured: 3·14² entries.
	oracle.Near(t, "residual of the truth", rep.Reference["floor.residual"].Value, 1, 4*math.Sqrt(2./(3*14*14)))
	oracle.Picture(t, filepath.Join(folder, "figures", "methods.png"), 3*28, 10*28)
	oracle.Picture(t, filepath.Join(folder, "figures", "posterior.png"), 3*28, 7*28)
	for _, k := range []string{"000", "001", "002"} {
		oracle.Picture(t, filepath.Join(folder, "samples", "importance_iteration_"+k+".png"), 2*28, 28)
	}
	t.Run("restore", func(t *testing.T) { restoreOwn(t, folder) })
	t.Run("restore a large one", func(t *testing.T) { restoreLarge(t, folder) })
}

// Importance for one measurement learns from that one, whichever it is, and says so.
func TestSingle(t *testing.T) {
	p, l := prepared(t, "data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1}", "importance_single.measurement=2")
	target, err := p.Target(t.Context(), l, "")
	if err != nil {
		t.Fatal(err)
	}
	target.Of, target.Samples, target.Engine, target.Batch = p, 4, l.Engine.Fork(), 8
	target.Process, target.Steps = p.Process.VP, p.Process.Table(nil)
	target.Keys = p.Keys(1, "", "importance_single")
	var conditions [][]float32
	target.Run = func(ctx context.Context, f *finetune.FineTuning, _ htransform.Learned) error {
		paths, err := f.Sampler.Run(ctx, f.Key, 0, 8, nil)
		conditions = slices.Collect(slices.Chunk(paths.Given, len(paths.Given)/8))
		if f.Group != 0 || target.Held.Paths != 4 || target.Held.Group != 0 {
			t.Errorf("groups of %d, held out: %+v", f.Group, target.Held)
		}
		return err
	}
	m := p.Method("importance_single")
	fitted, err := m.Fit(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Sample(t.Context(), target, fitted.Control)
	if err != nil || s.From != 2 || s.Count != 1 || s.Members != 4 || len(s.X) != 4*16 {
		t.Errorf("%d numbers, of %d conditions from %d: %v", len(s.X), s.Count, s.From, err)
	}
	for _, y := range conditions {
		if !slices.Equal(y, p.measurement(2)) {
			t.Error("it learns from another measurement")
		}
	}
	if len(conditions) != 8 {
		t.Errorf("%d conditions", len(conditions))
	}
	if about := m.About(); about.Name != "importance_single" || !method.Learns(m) || !method.Selects(m) {
		t.Errorf("%+v", about)
	}
}
