package own

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// A model of others' is a prior: of its size and noise levels, tuned with and without a gradient, sampled again from the run folder, refused once it has
// changed. Its samples are those of the model by itself: the same for any reward.
func TestModel(t *testing.T) {
	t.Setenv("DOOB_TEST_SCORER", filepath.Join(t.TempDir(), "ended"))
	model := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(model, os.DirFS(golden.Path("unconditional/ddpm"))); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("prior: {model: %q}\nrewards: [{command: [%q]}]\nmethods: [base, best_of_k, importance]\n", model, os.Args[0])
	folder, rep := run(t, config)
	text := oracle.Read(t, filepath.Join(folder, "config.yaml"))
	for _, want := range []string{"size: 8x8", "model: " + model, "spacing: trailing", "tuned: false", "sha256: "} {
		if !strings.Contains(text, want) {
			t.Errorf("config.yaml lacks %q:\n%s", want, text)
		}
	}
	if v := rep.Verdicts["importance"]; v == nil || v.Reason == "" {
		t.Error("importance has no certificate")
	}
	if got, base := rep.Methods["best_of_k"]["reward"].Value, rep.Methods["base"]["reward"].Value; !(got > base) {
		t.Errorf("the best of 2 have the reward %g, all have %g", got, base)
	}
	again, err := experiment.Evaluate(t.Context(), experiment.Draw{Folder: folder, Seed: 1, Backend: engine.Default}, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Methods["importance"]["reward"], rep.Methods["importance"]["reward"]; got != want {
		t.Errorf("reward %v, and again %v", want, got)
	}
	if _, err := experiment.Resume(t.Context(), folder, []string{"importance.iterations=3"}, func(experiment.Event) {}); err != nil {
		t.Error(err)
	}

	truth := filepath.Join(pictures(t, filepath.Join(t.TempDir(), "pictures"), 2, color.RGBA{0, 200, 0, 255}), "01.png")
	_, guided := run(t, fmt.Sprintf("prior: {model: %q}\nrewards: [{truth: %q, operator: average-2, sigma: 0.5}]\nmethods: [base, importance]\n", model, truth), "pool=0")
	if got, base := guided.Methods["importance"]["reward"].Value, guided.Methods["base"]["reward"].Value; !(got > base) {
		t.Errorf("importance has the reward %g, base %g", got, base)
	}

	q := restore.Restoration{Folder: folder, Picture: truth, Operator: "average-2", Sigma: 0.5, Measure: true, N: 2, Out: filepath.Join(t.TempDir(), "out.png"), Backend: engine.Default}
	if r, err := restore.Restore(t.Context(), q); err != nil || r.Learned || r.Height != 8 { // 10×8 pixels
		t.Errorf("%+v, %v", r, err)
	}
	q.Operator, q.Sigma = "", 0
	_, err = restore.Restore(t.Context(), q)
	oracle.WantError(t, err, "no reward of the run is the likelihood of a measurement", "--operator")

	scheduler := filepath.Join(model, "scheduler_config.json")
	if err := os.WriteFile(scheduler, []byte(strings.Replace(oracle.Read(t, scheduler), "0.02", "0.03", 1)), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Resume(t.Context(), folder, []string{"importance.iterations=4"}, func(experiment.Event) {})
	oracle.WantError(t, err, "prior.model", "is not what it was")

	for _, c := range []struct {
		set, want string
	}{
		{"prior.size=4x4", "prior.size is 4x4: leave size out"},
		{"prior.gray=true", "leave it out"},
		{"process.power=3", "the noise levels are those of the model"},
		{"h.start=-1", "h.start is -1, want 0 to 1000"},
		{"process.kernel=euler-maruyama", "ddim, ddpm or memoryless"},
	} {
		p, err := problem(t, fmt.Sprintf("prior: {model: %q}\nrewards: [{command: [%q]}]\n", golden.Path("unconditional/ddpm"), os.Args[0]), c.set)
		if err == nil {
			_, err = p.Load()
		}
		oracle.WantError(t, err, c.want)
	}
}
