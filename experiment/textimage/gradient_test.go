package textimage

import (
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// tinyProblem is the tiny Stable Diffusion with the tiny ImageReward.
func tinyProblem(t *testing.T, sets ...string) experiment.Problem {
	t.Helper()
	p, err := experiment.New("textimage", "", "", append([]string{"model=" + golden.Path("pipeline"), "reward=" + golden.Path("imagereward"), "prompts=['" + rabbit + "']",
		"guidance_scale=2", "process={steps: 3, free: 1}", "lora.rank=2", "samples=4", "batch=4", "pool=0"}, sets...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The gradient of the reward to latents, through the decoder and the network that judges, is the slope of its graph; and the graph is what samples are judged
// by, but for the rounding of pictures to 8 bits.
func TestGradientOfLatents(t *testing.T) {
	p := tinyProblem(t, "scale=3").(*Problem)
	if _, err := p.Load(); err != nil {
		t.Fatal(err)
	}
	e := oracle.Open(t)
	l := &experiment.Lab{Engine: e, Key: noise.New(1)}
	if err := p.Prepare(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	target, err := p.Target(t.Context(), l, p.Tasks()[0])
	if err != nil {
		t.Fatal(err)
	}
	r := target.Reward.(reward.Bulky)
	if r.Rows() != 64 {
		t.Errorf("%d pictures at a time", r.Rows())
	}
	const n = 2
	dim := engine.Size(p.latent)
	x, towards := make([]float32, n*dim), make([]float32, n*dim)
	noise.New(2).Normal(x, 0, 0)
	noise.New(3).Normal(towards, 0, 0)
	for i := range x { // so dark or bright that it is cut off, a picture has no slope
		x[i] *= 0.1
	}
	on := e.Fork()
	values := func(step float32) []float32 {
		moved := slices.Clone(x)
		for i := range moved {
			moved[i] += step * towards[i]
		}
		return oracle.RunOn(t, on, func(in []*graph.Node) []*graph.Node { return []*graph.Node{r.Graph(in[0])} }, engine.Rows(moved, p.latent...))[0]
	}
	gradient := oracle.RunOn(t, on, func(in []*graph.Node) []*graph.Node { return []*graph.Node{reward.Gradient(r, in[0], nil)} }, engine.Rows(x, p.latent...))[0]
	const d = 2e-4
	up, down, at := values(d), values(-d), values(0)
	judged, err := r.Rewards(t.Context(), x, n)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		var slope float64
		for j := i * dim; j < (i+1)*dim; j++ {
			slope += float64(gradient[j]) * float64(towards[j])
		}
		want := float64(up[i]-down[i]) / (2 * d)
		oracle.Near(t, "slope", slope, want, 0.02*math.Abs(want))
		oracle.Near(t, "reward", float64(at[i]), judged[i], 0.05)
		t.Logf("slope %.4f, by differences %.4f; reward %.4f, of 8 bits %.4f", slope, want, at[i], judged[i])
	}
}

// Methods that need the gradient run on pictures from texts, at the calls that the plan says: of a model without guidance, as a guided one counts two.
func TestGradientMethods(t *testing.T) {
	loop := "={iterations: 2, paths: 4, updates: 2, batch: 2, buffer: 4, learning_rate: 0.01}"
	sets := []string{"guidance_scale=1", "process.free=0", "methods=[guidance, smc_twisted, online, adjoint_matching, adjoint_matching_memoryless]", "guidance={scales: [0.1], paths: 4}",
		"online" + loop, "online.steps=2", "adjoint_matching" + loop, "adjoint_matching.steps=2"}
	results := map[string]experiment.Result{}
	if _, err := experiment.Run(t.Context(), tinyProblem(t, sets...), t.TempDir(), "cpu", func(ev experiment.Event) {
		if ev.Result != nil {
			results[ev.Stage] = ev.Result
		}
	}); err != nil {
		t.Fatal(err)
	}
	plan, err := experiment.NewPlan(t.Context(), tinyProblem(t, sets...), "cpu")
	if err != nil {
		t.Fatal(err)
	}
	planned := 0
	for _, row := range plan.Rows {
		if r, ok := results[row.Name]; ok {
			planned++
			if got := r["network_calls"].Value; got != row.Calls || !(r["reward"].Value-r["reward"].Value == 0) {
				t.Errorf("%s: %g calls, want %g; reward %g", row.Name, got, row.Calls, r["reward"].Value)
			}
		}
	}
	if planned != 5 {
		t.Errorf("%d methods have run of what is planned, want 5", planned)
	}
}
