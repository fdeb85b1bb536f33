package textimage

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/textimage/smallworld"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/sd"
)

var made string // "" while there is none

// smallWorld is the folder of a small world that has hardly been trained.
var smallWorld = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "smallworld")
	if err != nil {
		return "", err
	}
	made = dir
	e, err := engine.Open(engine.Default)
	if err != nil {
		return "", err
	}
	return dir, smallworld.Train(context.Background(), e, smallworld.Training{Dir: dir, Seed: 1, Share: 0.0003})
})

// The test binary is a program that scores pictures, too, where the environment says so.
func TestMain(m *testing.M) {
	if left := os.Getenv("DOOB_TEST_SCORER"); left != "" {
		score(left)
		return
	}
	code := oracle.Store(m)
	os.RemoveAll(made)
	os.Exit(code)
}

var tiny = []string{"prompts=[Two dogs in the park., A green colored rabbit.]", "process={kernel: ddim, eta: 1, steps: 4, free: 1}", "samples=6", "pool=12", "batch=8", "resampled.paths=12",
	"loop={iterations: 2, paths: 8, updates: 2, batch: 4, buffer: 16}", "vargrad={iterations: 1, paths: 8, buffer: 8, updates: 1, batch: 4, steps: 2}", "lora.rank=2", "importance.acceptance=[0.5]", "reward_only.acceptance=[0.5]"}

func problem(t *testing.T, sets ...string) *Problem {
	t.Helper()
	dir, err := smallWorld()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(sets, func(s string) bool { return strings.HasPrefix(s, "model=") }) {
		sets = append(sets, "world="+dir)
	}
	p, err := experiment.New("textimage", "quick", "", slices.Concat(tiny, sets))
	if err != nil {
		t.Fatal(err)
	}
	return p.(*Problem)
}

func run(t *testing.T, p *Problem) (folder string, rep *experiment.Report) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "run")
	rep, err := experiment.Run(t.Context(), p, folder, engine.Default, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	return folder, rep
}

// All methods that need no gradient run, with all that is measured, and what is learned is a file that means the same to us.
func TestRun(t *testing.T) {
	p := problem(t, "methods=[base, best_of_k, vargrad, importance, importance_rejection]", "guidance_scale=3", "prompts=[A green colored rabbit.]")
	folder, rep := run(t, p)
	for _, task := range p.Tasks() {
		for _, name := range p.Methods {
			r := rep.Tasks[task][name]
			for _, m := range []string{"reward", "held_out", "success", "diversity", "peak_memory"} {
				if _, ok := r[m]; !ok {
					t.Errorf("%s of %s has no %s", name, task, m)
				}
			}
			if d, s := r["diversity"].Value, r["success"].Value; !(d >= 0 && d < 2 && s >= 0 && s <= 1) {
				t.Errorf("%s of %s: diversity %g, success %g", name, task, d, s)
			}
			if r["reward"].Value == r["held_out"].Value {
				t.Errorf("%s of %s: the held-out model is the reward, %g", name, task, r["reward"].Value)
			}
			oracle.Picture(t, filepath.Join(folder, "samples", name+"_"+task+".png"), 6*32, 32)
		}
		// Guidance takes two calls where it would be one: 6 samples, 4 steps.
		if calls := rep.Tasks[task]["base"]["network_calls"].Value; calls != 6*4*2 {
			t.Errorf("%s: the base model takes %g calls, want 48", task, calls)
		}
		oracle.Picture(t, filepath.Join(folder, "figures", task+".png"), 6*32, 5*32)
		f, err := sd.Open(p.parts.model)
		if err != nil {
			t.Fatal(err)
		}
		adapter, spelling, err := lora.Load(filepath.Join(folder, "lora", task+"_importance.safetensors"), lora.Model{UNet: f.UNet.Tensors(), Text: f.Text.Tensors()})
		if err != nil || spelling != lora.Diffusers || len(adapter.UNet) == 0 || !slices.Equal(adapter.Ranks(), []int{2}) {
			t.Errorf("%s: %d pairs of ranks %v as %s; %v", task, len(adapter.UNet), adapter.Ranks(), spelling, err)
		}
	}
}

// What is planned is what a run takes, with guidance that makes two calls of one: but not in the gradient steps of adjoint matching, which are without it.
func TestPlanMatchesRun(t *testing.T) {
	sets := []string{"methods=[base, vargrad, adjoint_matching, importance]", "guidance_scale=3", "prompts=[A green colored rabbit.]", "process.free=0", "seed=2",
		"adjoint_matching={iterations: 1, paths: 4, updates: 2, batch: 4, buffer: 4, steps: 2}",
		"self={paths: 8, steps: 2, batch: 4, learning_rate: 0.002, ema: 0.9}"}
	plan, err := experiment.NewPlan(t.Context(), problem(t, sets...), engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	_, rep := run(t, problem(t, sets...))
	for _, row := range plan.Rows {
		if row.Name == "base paths" || strings.HasPrefix(row.Name, "train ") { // which are charged to importance, and to none
			continue
		}
		if got := rep.Methods[row.Name]["network_calls"].Value; got != row.Calls {
			t.Errorf("%s: %g calls are planned, the run took %g", row.Name, row.Calls, got)
		}
	}
	if len(plan.Rows) != 6 || plan.Rows[0].Calls != 2*(8*4+2*2*4) {
		t.Errorf("%d rows are planned, the own fit at %g calls, want 6 and 96", len(plan.Rows), plan.Rows[0].Calls)
	}
}

// Every prompt has base paths of its own: what is drawn for one does not depend on which others there are.
func TestPromptsApart(t *testing.T) {
	one, two := "Two dogs in the park.", "A green colored rabbit."
	draw := func(prompts ...string) experiment.Result {
		_, rep := run(t, problem(t, "methods=[base, best_of_k]", "prompts=["+strings.Join(prompts, ", ")+"]"))
		return rep.Tasks[slug(two)]["base"]
	}
	alone, after := draw(two), draw(one, two)
	for _, name := range []string{"reward", "diversity", "log_z"} {
		if a, b := alone[name].Value, after[name].Value; a != b {
			t.Errorf("%s of %q is %g, and %g after another prompt", name, two, a, b)
		}
	}
}

// Two runs give the same bytes.
func TestRunAgain(t *testing.T) {
	var before []byte
	for range 2 {
		folder, _ := run(t, problem(t, "methods=[base, importance]", "prompts=[Two dogs in the park.]"))
		got, err := os.ReadFile(filepath.Join(folder, "lora", "two_dogs_in_the_park_importance.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !bytes.Equal(got, before) {
			t.Error("another adapter was learned")
		}
		before = got
	}
}

// What a configuration may not say.
func TestCheck(t *testing.T) {
	for want, sets := range map[string][]string{
		"prompts has \"two dogs in the park\"": {"prompts=[Two dogs in the park., two dogs in the park]"},
		"guidance_scale is -1":                 {"guidance_scale=-1"},
		"up to 1 it has no effect":             {"negative=blurred"},
		"lora.rank is 0":                       {"lora.rank=0"},
		"scale is 0":                           {"scale=0"},
		"neither reward nor rewards is set":    {"model=somewhere"},
		"want at most one of them":             {"model=somewhere", "world=here", "reward=there"},
		"has no path weights":                  {"process.eta=0"},
		"unknown spacing":                      {"process.spacing=even"},
	} {
		_, err := experiment.New("textimage", "quick", "", slices.Concat(tiny, sets))
		oracle.WantError(t, err, want)
	}
	p := problem(t, "model="+golden.Path("nowhere"), "reward=x")
	_, err := p.Load()
	oracle.WantError(t, err, "nowhere")
}

// What judges pictures is part of what a run was made under.
func TestFingerprint(t *testing.T) {
	dir, err := smallWorld()
	if err != nil {
		t.Fatal(err)
	}
	reward := t.TempDir()
	if err := os.CopyFS(reward, os.DirFS(filepath.Join(dir, "reward"))); err != nil {
		t.Fatal(err)
	}
	sum := func(sets ...string) string {
		source, err := problem(t, sets...).Load()
		if err != nil {
			t.Fatal(err)
		}
		return source.SHA256
	}
	before := sum("reward=" + reward)
	if again := sum(); again != before {
		t.Errorf("%s, and %s for a copy of the same files", again, before)
	}
	if err := os.WriteFile(filepath.Join(reward, "vocab.txt"), []byte("[PAD]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	if after := sum("reward=" + reward); after == before {
		t.Error("another reward has the same fingerprint")
	}
}

// The published report is read, with all its methods, and shows what the table of docs/results says.
func TestPublishedReport(t *testing.T) {
	text, err := os.ReadFile("../../docs/results/textimage/report.json")
	if err != nil {
		t.Fatal(err)
	}
	var rep experiment.Report
	if err := json.Unmarshal(text, &rep); err != nil {
		t.Fatal(err)
	}
	table := rep.Table()
	if len(table.Rows) != 13 || rep.Tasks["two_roses_in_a_vase"]["importance"]["success"].Value != 79./96 {
		t.Errorf("%d rows, success %v", len(table.Rows), rep.Tasks["two_roses_in_a_vase"]["importance"]["success"])
	}
}

// A run tells what pictures its model draws by itself, and where all of its weights are.
func TestTuned(t *testing.T) {
	t.Setenv("DOOB_DATA", t.TempDir())
	made, err := experiment.New("textimage", "quick", "", []string{"negative=blurred", "guidance_scale=3", "process.steps=7"})
	if err != nil {
		t.Fatal(err)
	}
	p := made.(*Problem)
	g, err := p.Generation()
	if err != nil || g.Prompt != "Two roses in a vase." || g.Negative != "blurred" || g.Steps != 7 || g.Eta != 1 || g.Guidance != 3 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := sd.Open(g.Model); err != nil {
		t.Error(err)
	}
	places, err := p.Reads()
	if err != nil || len(places) != 5 || places[0] != g.Model {
		t.Errorf("weights are read from %q, %v", places, err)
	}
	for _, place := range places {
		if _, err := os.Stat(place); err != nil {
			t.Error(err)
		}
	}
}

// All presets can be read.
func TestPresets(t *testing.T) {
	for _, e := range experiment.Entries() {
		if e.Name != "textimage" {
			continue
		}
		for _, preset := range e.PresetNames() {
			if _, err := experiment.New("textimage", preset, "", []string{"world=somewhere"}); err != nil {
				t.Errorf("preset %s: %v", preset, err)
			}
		}
	}
}

// A prompt that the model would not see the end of is refused.
func TestLongPrompt(t *testing.T) {
	long := ""
	for range 80 {
		long += "dogs "
	}
	_, err := experiment.Run(t.Context(), problem(t, "prompts=["+long+"]", "methods=[base]"), filepath.Join(t.TempDir(), "run"), engine.Default, func(experiment.Event) {})
	oracle.WantError(t, err, "it does not see the end")
}

// With own fits of the base model, one for every prompt, what is saved is the whole h: adapter less own fit. And every prompt has the scale of its reward at which base paths
// have the effective sample size that is asked for.
func TestOwnFitAndTemper(t *testing.T) {
	p := problem(t, "methods=[importance]", "self={paths: 16, steps: 4, batch: 8, learning_rate: 0.002, ema: 0.9}", "pool=40", "temper.ess=0.6", "seed=3")
	folder, rep := run(t, p)
	factors := map[float64]bool{}
	for _, scale := range rep.Extra["reward_scale"].(map[string]float64) {
		factors[scale] = true
	}
	if len(factors) != 2 || factors[p.Scale] {
		t.Errorf("scales of rewards are %v, want one of its own for each prompt", rep.Extra["reward_scale"])
	}
	f, err := sd.Open(p.parts.model)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range p.Tasks() {
		adapter, _, err := lora.Load(filepath.Join(folder, "lora", task+"_importance.safetensors"), lora.Model{UNet: f.UNet.Tensors(), Text: f.Text.Tensors()})
		if err != nil || !slices.Equal(adapter.Ranks(), []int{4}) {
			t.Errorf("%s: ranks %v of what is saved, want 4: h and the own fit; %v", task, adapter.Ranks(), err)
		}
	}
}

// Variants of one method for several multiples of the reward learn different laws, and a figure shows what they trade.
func TestFrontier(t *testing.T) {
	p := problem(t, "methods=[base, importance ×3, importance]", "prompts=[Two dogs in the park.]", `variants=[{name: importance ×3, set: [temper.factor=3]}]`)
	folder, rep := run(t, p)
	oracle.Picture(t, filepath.Join(folder, "figures", "frontier.png"), 300, 200)
	task := p.Tasks()[0]
	r := rep.Tasks[task]
	base, once, thrice := r["base"], r["importance"], r["importance ×3"]
	if once["reward"].Value == thrice["reward"].Value {
		t.Errorf("both have learned the same: reward %g", once["reward"].Value)
	}
	want := []report.Series{ // a point of the base model, and a line of the learned ones by the multiple, whatever order they were run in
		{Name: rep.Titles["base"], X: []float64{base["diversity"].Value}, Y: []float64{base["reward"].Value}, Err: []float64{base["reward"].SE}},
		{Name: rep.Titles["importance"], X: []float64{once["diversity"].Value, thrice["diversity"].Value},
			Y: []float64{once["reward"].Value, thrice["reward"].Value}, Err: []float64{once["reward"].SE, thrice["reward"].SE}},
	}
	if got, several := p.trade(task, rep); !several || !reflect.DeepEqual(got, want) {
		t.Errorf("several multiples: %v\ngot  %+v\nwant %+v", several, got, want)
	}
	if _, several := p.trade(task, &experiment.Report{Order: []string{"base", "importance"}, Tasks: rep.Tasks, Titles: rep.Titles}); several {
		t.Error("one multiple is taken for several")
	}
}
