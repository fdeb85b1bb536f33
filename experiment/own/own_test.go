package own

import (
	"bufio"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	_ "github.com/doob-diffusion/doob/experiment/mnist"
	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// The test binary is a program that scores pictures, too, where the environment says so.
func TestMain(m *testing.M) {
	if left := os.Getenv("DOOB_TEST_SCORER"); left != "" {
		score(left)
		return
	}
	os.Exit(oracle.Store(m))
}

// score answers with ten times the mean of the red of every picture. When its input ends, it says so in a file.
func score(left string) {
	lines := bufio.NewScanner(os.Stdin)
	for n := 1; lines.Scan(); n++ {
		if os.Getenv("DOOB_TEST_DIES") == fmt.Sprint(n) {
			os.Exit(3)
		}
		var batch struct {
			File  string
			Shape []int
		}
		if err := json.Unmarshal(lines.Bytes(), &batch); err != nil {
			panic(err)
		}
		f, err := checkpoint.Load(batch.File)
		if err != nil {
			panic(err)
		}
		answer := map[string][]float64{}
		x := f.Tensors["x"].F32
		for picture := range slices.Chunk(x, len(x)/batch.Shape[0]) {
			answer["rewards"] = append(answer["rewards"], 10*mean(picture))
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
	os.WriteFile(left, []byte("the end"), 0o666)
}

// mean is that of the red of a picture, which is within [−1, 1].
func mean(x []float32) (m float64) {
	for i := 0; i < len(x); i += 3 {
		m += math.Max(-1, math.Min(1, float64(x[i]))) / float64(len(x)/3)
	}
	return m
}

// pictures draws n pictures of 10×8 pixels, dark ones with a bright square, redder with every one.
func pictures(t *testing.T, dir string, n int, bright color.RGBA) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	r := noise.New(uint64(n)).Rand()
	for i := range n {
		m := image.NewRGBA(image.Rect(0, 0, 10, 8))
		for k := 3; k < len(m.Pix); k += 4 {
			m.Pix[k] = 255
		}
		left, top := 1+r.IntN(5), r.IntN(5)
		for y := top; y < top+3; y++ {
			for x := left; x < left+3; x++ {
				m.SetRGBA(x, y, color.RGBA{uint8(8 * i), bright.G, bright.B, 255})
			}
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%02d.png", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := png.Encode(f, m); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tiny are settings with which everything takes a moment.
const tiny = `
process: {steps: 4}
network: {width: 8, multipliers: [1, 2], patch: 2}
h: {scale_width: 8}
classifier: {width: 8, steps: 30, batch: 10, learning_rate: 0.01}
pretrain: {steps: 8, batch: 16}
self: {paths: 0}
pool: 24
loop: {iterations: 2, paths: 16, updates: 2, batch: 8, buffer: 32}
importance: {acceptance: [0.5]}
guidance: {scales: [0.5], paths: 8}
dps: {scales: [1, 4], paths: 8}
best_of_k: {k: 2}
samples: 12
batch: 16
previews: 0
`

// problem is one with the tiny settings and a configuration over them.
func problem(t *testing.T, config string, sets ...string) (*Problem, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tune.yaml")
	if err := os.WriteFile(file, []byte(tiny+config), 0o666); err != nil {
		t.Fatal(err)
	}
	p, err := experiment.New("own", "", file, sets)
	if err != nil {
		return nil, err
	}
	return p.(*Problem), nil
}

// run runs a problem in a new folder.
func run(t *testing.T, config string, sets ...string) (folder string, rep *experiment.Report) {
	t.Helper()
	p, err := problem(t, config, sets...)
	if err != nil {
		t.Fatal(err)
	}
	folder = filepath.Join(t.TempDir(), "run")
	if rep, err = experiment.Run(t.Context(), p, folder, engine.Default, func(experiment.Event) {}); err != nil {
		t.Fatal(err)
	}
	return folder, rep
}

// A prior over pictures, a program as a reward and a sum of two: numbers are what the program says of the samples that there are, all commands work on the
// run from anywhere, the program ends with it, and more iterations are added.
func TestRun(t *testing.T) {
	home := t.TempDir()
	ended := filepath.Join(home, "ended")
	t.Setenv("DOOB_TEST_SCORER", ended)
	pictures(t, filepath.Join(home, "pictures"), 20, color.RGBA{0, 128, 0, 255})
	t.Chdir(home)
	folder, rep := run(t, fmt.Sprintf(`
prior: {pictures: pictures, size: 8x8, flip: true}
rewards:
  - {command: [%q], name: red, weight: 2}
  - {jpeg: small, weight: 0.5}
evaluate: [{jpeg: large}]
`, os.Args[0]))
	get := func(method, name string) float64 { return rep.Methods[method][name].Value }
	for _, name := range []string{"base", "best_of_k", "importance", "importance_rejection"} {
		oracle.Near(t, name+": reward", get(name, "reward"), 2*get(name, "reward_red")+0.5*get(name, "reward_small_jpeg"), 1e-9)
		oracle.Near(t, name+": held out", get(name, "held_out_large_jpeg"), -get(name, "reward_small_jpeg"), 1e-9)
		if se := rep.Methods[name]["reward_red"].SE; !(se > 0) {
			t.Errorf("%s: the standard error of red is %g", name, se)
		}
		if d := get(name, "diversity"); !(d > 0) {
			t.Errorf("%s: diversity %g", name, d)
		}
	}
	if got, want := get("best_of_k", "reward"), get("base", "reward"); got <= want {
		t.Errorf("the best of 2 have the reward %g, all have %g", got, want)
	}
	if v := rep.Verdicts["importance"]; v == nil || v.Reason == "" {
		t.Error("importance has no certificate")
	}
	if text := oracle.Read(t, ended); text != "the end" {
		t.Errorf("the program has left %q", text)
	}
	// 20 pictures in 9 of 64 pixels: the reference is red by hand, of as many as there are samples.
	var want float64
	for i := range 12 {
		want += 10 * (-1 + 9./64*(float64(8*i)/127.5)) / 12
	}
	if got := rep.Reference["floor.reward_red"].Value; math.Abs(got-want) > 0.9 { // pictures of 10×8 are cut to their middle: a square may lose a third
		t.Errorf("pictures have the reward %g, want about %g", got, want)
	}
	for _, file := range []string{"report.html", "report.json", "figures/methods.png", "figures/prior.png", "samples/importance.png", "checkpoint/base.safetensors", "checkpoint/importance.safetensors"} {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
			t.Error(err)
		}
	}
	config := oracle.Read(t, filepath.Join(folder, "config.yaml"))
	for _, want := range []string{"gradient: false", "pictures: " + filepath.Join(home, "pictures"), "size: 8x8", "sha256: "} {
		if !strings.Contains(config, want) {
			t.Errorf("config.yaml lacks %q:\n%s", want, config)
		}
	}

	// Elsewhere, and without the pictures, too.
	t.Chdir(t.TempDir())
	again, err := experiment.Evaluate(t.Context(), experiment.Draw{Folder: folder, Seed: 1, Backend: engine.Default}, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := again.Methods["importance"]["reward"].Value, get("importance", "reward"); got != want {
		t.Errorf("reward %g, and again %g", want, got)
	}
	more, err := experiment.Resume(t.Context(), folder, []string{"importance.iterations=3"}, func(experiment.Event) {})
	if err != nil || more.Methods["base"]["reward"] != rep.Methods["base"]["reward"] {
		t.Errorf("base had %v, and after more iterations %v; %v", rep.Methods["base"]["reward"], more.Methods["base"]["reward"], err)
	}
	csv := filepath.Join(t.TempDir(), "x.csv")
	if _, err := experiment.Sample(t.Context(), experiment.Draw{Folder: folder, N: 3, Seed: 1, Out: csv, Backend: engine.Default}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(oracle.Read(t, csv), "\n"); lines != 3 {
		t.Errorf("%d samples, want 3", lines)
	}

	// The folder of pictures may move.
	if err := os.Rename(filepath.Join(home, "pictures"), filepath.Join(home, "moved")); err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Resume(t.Context(), folder, []string{"importance.iterations=4"}, func(experiment.Event) { t.Error("an event") })
	oracle.WantError(t, err, "--from", filepath.Join(home, "pictures"))
	if _, err := experiment.Sample(t.Context(), experiment.Draw{Folder: folder, N: 3, Seed: 1, Out: csv, Method: "base", From: filepath.Join(home, "moved"), Backend: engine.Default}); err != nil {
		t.Error(err)
	}
	if err := os.Rename(filepath.Join(home, "moved"), filepath.Join(home, "pictures")); err != nil {
		t.Fatal(err)
	}

	// Other pictures are refused.
	pictures(t, filepath.Join(home, "pictures"), 21, color.RGBA{0, 128, 0, 255})
	_, err = experiment.Resume(t.Context(), folder, []string{"importance.iterations=4"}, func(experiment.Event) {})
	oracle.WantError(t, err, "other data")

	// The prior of the run is one for another reward: the same samples.
	second, next := run(t, fmt.Sprintf("prior: {run: %q}\nrewards: [{command: [%q]}]\nmethods: [base]\n", folder, os.Args[0]))
	if got := next.Methods["base"]["reward"].Value; got != get("base", "reward_red") {
		t.Errorf("samples of the same prior have %g, want %g", got, get("base", "reward_red"))
	}
	wrong, err := problem(t, fmt.Sprintf("prior: {run: %q, size: 4x4}\nrewards: [{command: [%q]}]\n", folder, os.Args[0]))
	if err != nil {
		t.Fatal(err)
	}
	_, err = wrong.Load()
	oracle.WantError(t, err, "prior.size is 4x4", "8x8", "leave size out")
	if err := os.Rename(folder, folder+"-gone"); err != nil { // the second run has all that it needs
		t.Fatal(err)
	}
	if _, err := experiment.Resume(t.Context(), second, []string{"methods=[base, importance]"}, func(experiment.Event) {}); err != nil {
		t.Error(err)
	}
}

// A run of another experiment gives its prior too: with the same noise the same samples.
func TestPriorOfDigits(t *testing.T) {
	t.Setenv("DOOB_TEST_SCORER", filepath.Join(t.TempDir(), "ended"))
	p, err := experiment.New("mnist", "quick", "../testdata/tiny_mnist.yaml", []string{"methods=[base]", "tasks=[even]", "drawn=50", "classifier.steps=2", "judge.steps=2", "pretrain.steps=3"})
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "digits")
	if _, err := experiment.Run(t.Context(), p, folder, engine.Default, func(experiment.Event) {}); err != nil {
		t.Fatal(err)
	}
	second, _ := run(t, fmt.Sprintf("prior: {run: %q}\nrewards: [{command: [%q]}]\nmethods: [base]\n", folder, os.Args[0]))
	numbers := func(folder string) string {
		csv := filepath.Join(t.TempDir(), "x.csv")
		if _, err := experiment.Sample(t.Context(), experiment.Draw{Folder: folder, Method: "base", N: 2, Seed: 3, Out: csv, Backend: engine.Default}); err != nil {
			t.Fatal(err)
		}
		return oracle.Read(t, csv)
	}
	if a, b := numbers(folder), numbers(second); a != b || strings.Count(a, ",") != 2*(28*28-1) {
		t.Error("samples of the same prior differ, or are not of 28×28 pixels")
	}
}

// Mirrored pictures have left and right turned around, each pixel with its colours.
func TestMirror(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} // [2, 3, 2]
	if mirror(x, 3, 2); !slices.Equal(x, []float32{5, 6, 3, 4, 1, 2, 11, 12, 9, 10, 7, 8}) {
		t.Error(x)
	}
}

// A program that does not work ends the run before the prior is trained.
func TestRehearsal(t *testing.T) {
	t.Setenv("DOOB_TEST_SCORER", filepath.Join(t.TempDir(), "ended"))
	t.Setenv("DOOB_TEST_DIES", "1")
	p, err := problem(t, fmt.Sprintf("prior: {pictures: %q, size: 8x8}\nrewards: [{jpeg: small}]\nevaluate: [{command: [%q], retries: -1}]\nmethods: [base]\n",
		pictures(t, filepath.Join(t.TempDir(), "pictures"), 20, color.RGBA{0, 90, 0, 255}), os.Args[0]))
	if err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Run(t.Context(), p, filepath.Join(t.TempDir(), "run"), engine.Default, func(ev experiment.Event) {
		if ev.Total > 0 {
			t.Errorf("%s was worked on", ev.Stage)
		}
	})
	oracle.WantError(t, err, "evaluate[0]", "a picture of the prior's")
}

// A program that dies stops the run, which goes on from there to the same result.
func TestProgramDies(t *testing.T) {
	t.Setenv("DOOB_TEST_SCORER", filepath.Join(t.TempDir(), "ended"))
	config := fmt.Sprintf("prior: {pictures: %q, size: 8x8}\nrewards: [{command: [%q], retries: -1}]\nmethods: [base, importance]\n",
		pictures(t, filepath.Join(t.TempDir(), "pictures"), 20, color.RGBA{0, 128, 0, 255}), os.Args[0])
	_, want := run(t, config)
	p, err := problem(t, config)
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(t.TempDir(), "run")
	t.Setenv("DOOB_TEST_DIES", "5")
	_, err = experiment.Run(t.Context(), p, folder, engine.Default, func(experiment.Event) {})
	oracle.WantError(t, err, "rewards[0]", "doob run --resume ")
	t.Setenv("DOOB_TEST_DIES", "")
	got, err := experiment.Resume(t.Context(), folder, nil, func(experiment.Event) {})
	if err != nil {
		t.Fatal(err)
	}
	for name := range want.Methods {
		if got, want := got.Methods[name]["reward"], want.Methods[name]["reward"]; got != want {
			t.Errorf("%s: reward %v, want %v", name, got, want)
		}
	}
}

// Classifiers are trained on a folder of folders, another one to judge; their gradients guide, and files that have changed are refused.
func TestClassifier(t *testing.T) {
	dir := t.TempDir()
	pictures(t, filepath.Join(dir, "dark"), 15, color.RGBA{0, 0, 0, 255})
	pictures(t, filepath.Join(dir, "green"), 15, color.RGBA{0, 255, 0, 255})
	folder, rep := run(t, fmt.Sprintf(`
prior: {pictures: %[1]q, size: 8x8}
rewards: [{classifier: %[1]q, class: green, weight: 3}]
evaluate: [{classifier: %[1]q, class: green}]
methods: [base, guidance, importance]
`, dir))
	if config := oracle.Read(t, filepath.Join(folder, "config.yaml")); !strings.Contains(config, "gradient: true") {
		t.Errorf("config.yaml has no gradient:\n%s", config)
	}
	accuracy := rep.Extra["classifier_accuracy"].(map[string]any)
	for _, name := range []string{"classifier", "judge"} {
		if right, ok := accuracy[name].(float64); !ok || right < 0.8 { // 6 pictures that are told apart at a glance
			t.Errorf("%s is right about %v of the pictures", name, accuracy[name])
		}
	}
	r := rep.Reference
	oracle.Near(t, "weight", r["floor.reward"].Value, 3*r["floor.reward_green"].Value, 1e-9)
	if a, b := r["floor.reward_green"].Value, r["floor.held_out_green"].Value; a == b || a >= 0 || b >= 0 {
		t.Errorf("log probabilities %g and %g, want two classifiers'", a, b)
	}
	if got, want := rep.Methods["guidance"]["reward"].Value, rep.Methods["base"]["reward"].Value; got <= want {
		t.Errorf("guided samples have the reward %g, others %g", got, want)
	}
	if err := os.Remove(filepath.Join(dir, "green/03.png")); err != nil {
		t.Fatal(err)
	}
	_, err := experiment.Resume(t.Context(), folder, []string{"importance.iterations=3"}, func(experiment.Event) {})
	oracle.WantError(t, err, "rewards[0]", "is not what it was when the run began")
}

// The likelihood of a measurement: DPS and importance have its gradient, and the picture that was measured is compared with.
func TestMeasurement(t *testing.T) {
	dir := pictures(t, filepath.Join(t.TempDir(), "pictures"), 20, color.RGBA{0, 200, 0, 255})
	folder, rep := run(t, fmt.Sprintf(`
prior: {pictures: %q, size: 8x8}
rewards: [{truth: %q, operator: average-2, sigma: 0.5}]
methods: [base, dps, importance]
`, dir, filepath.Join(dir, "19.png")), "pool=0", "h.start=1.2")
	for _, name := range []string{"dps", "importance"} {
		for _, metric := range []string{"reward", "psnr"} {
			if got, base := rep.Methods[name][metric].Value, rep.Methods["base"][metric].Value; !(got > base) {
				t.Errorf("%s: %s is %g, and of base %g", name, metric, got, base)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "figures/restored.png")); err != nil {
		t.Error(err)
	}

	// The measurement itself, in place of a truth: h of the run restores it, guidance of the prior any other, of any size.
	y, big := filepath.Join(t.TempDir(), "y.png"), filepath.Join(t.TempDir(), "big.png")
	for file, side := range map[string]int{y: 4, big: 11} {
		if err := report.Picture(file, make([]float32, side*side*3), side, side, 3); err != nil {
			t.Fatal(err)
		}
	}
	folder, _ = run(t, fmt.Sprintf("prior: {pictures: %q, size: 8x8}\nrewards: [{measurement: %q, operator: average-2, sigma: 0.5}]\nmethods: [importance]\n", dir, y), "pool=0")
	for _, c := range []struct {
		picture, operator string
		sigma             float64
		learned           bool
		height            int
	}{{y, "", 0, true, 8}, {y, "average-2", 0.5, true, 8}, {y, "average-2", 0.4, false, 8}, {big, "", 0, false, 22}, {big, "blur-1", 0.2, false, 11}} {
		q := restore.Restoration{Folder: folder, Picture: c.picture, Operator: c.operator, Sigma: c.sigma, N: 2, Out: filepath.Join(t.TempDir(), "out.png"), Backend: engine.Default}
		r, err := restore.Restore(t.Context(), q)
		if err != nil || r.Learned != c.learned || r.Height != c.height {
			t.Errorf("%+v: %+v, %v", c, r, err)
		}
	}
	if mean, sd := moments([]float32{0, 1, 0.5, 3}, 2); mean[0] != 0.25 || mean[1] != 1 || sd[0] != 0 || sd[1] != 1 { // sd 0.25 and 1
		t.Errorf("means %v, shades %v", mean, sd)
	}
}

// What is wrong is told with what to do, before anything is done.
func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	some := pictures(t, filepath.Join(dir, "pictures"), 2, color.RGBA{})
	if err := os.MkdirAll(filepath.Join(dir, "empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	model := filepath.Join(dir, "model")
	if err := os.MkdirAll(model, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "model_index.json"), []byte(`{"_class_name": "StableDiffusionPipeline"}`), 0o666); err != nil {
		t.Fatal(err)
	}
	prior := fmt.Sprintf("prior: {pictures: %q, size: 8x8}\n", some)
	jpeg := "rewards: [{jpeg: small}]\n"
	for _, c := range []struct {
		config string
		words  []string
	}{
		{jpeg, []string{"prior is empty", "doob init"}},
		{prior, []string{"rewards is empty", "doob init"}},
		{prior + jpeg + "# \xff\xfe", []string{"is no text in UTF-8"}},
		{prior + "rewords: []\n" + jpeg, []string{"unknown field", "rewords"}},
		{prior + "rewards: [{jpg: small}]", []string{"unknown field", "jpg"}},
		{prior + "rewards: [{weight: 2}]", []string{"rewards[0] has 0 of command"}},
		{prior + "rewards: [{jpeg: small, command: [a]}]", []string{"rewards[0] has 2 of command"}},
		{prior + "rewards: [{jpeg: tiny}]", []string{"rewards[0].jpeg is \"tiny\"", "small, large"}},
		{prior + "rewards: [{jpeg: small, weight: 0}]", []string{"rewards[0].weight is 0", "evaluate"}},
		{prior + jpeg + "evaluate: [{jpeg: large, weight: 2}]", []string{"evaluate[0] has a weight"}},
		{prior + "rewards: [{classifier: a}]", []string{"rewards[0]", "want both"}},
		{prior + "rewards: [{clip: a}]", []string{"rewards[0]", "prompt"}},
		{prior + "rewards: [{truth: a.png, operator: average-3, sigma: 1}]", []string{"rewards[0].operator", "divide both sides"}},
		{prior + "rewards: [{truth: a.png, operator: average-2}]", []string{"rewards[0].sigma is 0"}},
		{prior + "rewards: [{jpeg: small, sigma: 1}]", []string{"rewards[0]", "belong to measurement or truth"}},
		{prior + jpeg + "methods: [base, guidance]", []string{"guidance", "a reward with a gradient"}},
		{fmt.Sprintf("prior: {pictures: %q, size: 8by8}\n", some) + jpeg, []string{"prior.size", "8by8", "32x32"}},
		{fmt.Sprintf("prior: {pictures: %q, size: 9x8}\n", some) + jpeg, []string{"network", "9 pixels"}},
		{fmt.Sprintf("prior: {model: %q}\nrewards: [{command: [a]}]", model), []string{"prior.model", "doob init textimage"}},
		{fmt.Sprintf("prior: {model: %q, run: b}\nrewards: [{command: [a]}]", model), []string{"prior has run b and model", "one of them"}},
		{"prior: {run: nowhere}\nrewards: [{command: [a]}]", []string{"nowhere", "no run folder"}},
		{fmt.Sprintf("prior: {pictures: %q}\n", filepath.Join(dir, "empty")) + jpeg, []string{"there is none in", ".png"}},
		{fmt.Sprintf("prior: {pictures: %q}\n", filepath.Join(dir, "nowhere")) + jpeg, []string{"nowhere", "prior.pictures"}},
		{prior + fmt.Sprintf("rewards: [{classifier: %q, class: cat}]", some), []string{"folders for 0 classes"}},
		{prior + "rewards: [{truth: nowhere.png, operator: average-2, sigma: 1}]", []string{"rewards[0].truth", "nowhere.png", "want the path of a picture"}},
		{prior + "rewards: [{classifier: nowhere, class: cat}]", []string{"rewards[0].classifier", "nowhere", "a folder of pictures for each class"}},
		{prior + "rewards: [{clip: nowhere, prompt: a rose}]", []string{"rewards[0].clip", "nowhere", "doob data get"}},
	} {
		p, err := problem(t, c.config)
		if err == nil {
			_, err = p.Load()
		}
		t.Log(c.config)
		oracle.WantError(t, err, c.words...)
	}
}

// With temper, rewards are multiplied by one number such that samples of the prior, weighed by them, have the effective sample size that was asked for; not the likelihood of a
// measurement, which has a scale of its own.
func TestTemper(t *testing.T) {
	dir := pictures(t, filepath.Join(t.TempDir(), "pictures"), 12, color.RGBA{G: 200, B: 100})
	config := fmt.Sprintf("prior: {pictures: %s, size: 8x8}\nrewards: [{jpeg: small}]\n", dir)
	folder, rep := run(t, config, "methods=[base, resampled, importance]", "pool=200", "temper.ess=0.4", "resampled.paths=200")
	if ess := rep.Methods["resampled"]["ess_fraction"].Value; math.Abs(ess-0.4) > 1e-6 { // of the same base paths
		t.Errorf("ESS of base paths is %g, want 0.4", ess)
	}
	if !strings.Contains(oracle.Read(t, filepath.Join(folder, "events.jsonl")), `"reward_factor"`) {
		t.Error("no event tells the factor")
	}
	p, err := problem(t, fmt.Sprintf("prior: {pictures: %q, size: 8x8}\nrewards: [{truth: %q, operator: average-2, sigma: 0.5}]\nmethods: [base]\n", dir, filepath.Join(dir, "01.png")), "pool=200", "temper.ess=0.4")
	if err != nil {
		t.Fatal(err)
	}
	_, err = experiment.Run(t.Context(), p, filepath.Join(t.TempDir(), "run"), engine.Default, func(experiment.Event) {})
	oracle.WantError(t, err, "has a scale of its own")
}

// The published report is read, with its order and verdicts.
func TestPublishedReport(t *testing.T) {
	var rep experiment.Report
	if err := json.Unmarshal([]byte(oracle.Read(t, "../../docs/results/own/report.json")), &rep); err != nil {
		t.Fatal(err)
	}
	kl := rep.Methods["importance"]["kl"]
	if rows := rep.Table().Rows; len(rows) != 6 || kl.Value < 1.58 || kl.Value > 1.6 || rep.Verdicts["importance"].Reliable || !rep.Verdicts["base"].Reliable {
		t.Errorf("%d rows, KL of importance %v, verdicts %+v and %+v", len(rows), kl, rep.Verdicts["importance"], rep.Verdicts["base"])
	}
}
