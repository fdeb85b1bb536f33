package smallworld

import (
	"context"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
)

func open(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Open(engine.Default)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A few steps of every part make folders that all readers take.
func TestTrain(t *testing.T) {
	dir, e := t.TempDir(), open(t)
	losses := map[string][]float64{}
	training := Training{Dir: dir, Seed: 1, Share: 0.0005, Report: func(part string, _, _ int, loss float64) { losses[part] = append(losses[part], loss) }}
	if err := Train(context.Background(), e, training); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"autoencoder", "denoiser", "reward", "held-out", "encoder", "checker"} {
		if l := losses[part]; len(l) == 0 || !(l[0] > 0 && l[0] < 50) {
			t.Errorf("%s: losses %v", part, l)
		}
	}
	nothing := math.Log(2)
	for _, g := range groups() {
		nothing += 0.1 * math.Log(float64(g[1]-g[0]))
	}
	if first := losses["reward"][0]; math.Abs(first-nothing) > 0.4 { // after two steps
		t.Errorf("a preference model that knows nothing begins with a loss of %g, want about %g", first, nothing)
	}
	f, err := sd.Open(training.file("model"))
	if err != nil {
		t.Fatal(err)
	}
	if f.VAE.Scale == 1 {
		t.Error("the scale of latents was not measured")
	}
	words, err := f.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	if ids := words.IDs("Two green colored roses in a vase."); len(ids) != 8 || words.Size() != f.Text.Vocabulary {
		t.Errorf("a caption of seven words and a full stop has tokens %v; of %d tokens the encoder knows %d", ids, words.Size(), f.Text.Vocabulary)
	}
	for _, opened := range []func() (*sd.Weights, error){f.UNetWeights, f.VAEWeights, f.TextWeights,
		func() (*sd.Weights, error) { _, w, err := sd.OpenCLIP(training.file("clip")); return w, err },
		func() (*sd.Weights, error) { _, w, err := sd.OpenImageReward(training.file("reward")); return w, err },
		func() (*sd.Weights, error) { _, w, err := sd.OpenImageReward(training.file("held-out")); return w, err },
	} {
		w, err := opened()
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	if c, w, err := sd.OpenImageReward(training.file("reward")); err != nil || c.Picture != Preference.Picture || c.Text != Preference.Text || !slices.Equal(c.Head, Preference.Head) {
		t.Errorf("got %+v, want %+v; %v", c, Preference, err)
	} else {
		w.Close()
	}
	if _, err := OpenChecker(e.Fork(), training.file("checker/checker.safetensors")); err != nil {
		t.Error(err)
	}

	// What is there is not trained again.
	before, _ := os.Stat(training.file("clip/model.safetensors"))
	clear(losses)
	if err := Train(context.Background(), open(t), training); err != nil || len(losses) > 0 {
		t.Errorf("trained again: %v, %v", losses, err)
	}
	if after, _ := os.Stat(training.file("clip/model.safetensors")); after.ModTime() != before.ModTime() {
		t.Error("a file was written again")
	}
}

// The networks that are part of the program are as good as docs/results/textimage says, within what 256 pictures tell; files that are there stay.
func TestExtract(t *testing.T) {
	t.Setenv("DOOB_DATA", t.TempDir())
	dir, err := Extract()
	if err != nil {
		t.Fatal(err)
	}
	q, err := Measure(t.Context(), open(t), dir, 256)
	if err != nil {
		t.Fatal(err)
	}
	if q.PSNR < 25.5 || q.Checked < 0.98 || q.Reconstructed < 0.95 || q.Preferred < 0.8 || q.HeldOut < 0.8 || q.Correlation < 0.85 {
		t.Errorf("%+v", q)
	}
	path := dir + "/checker/checker.safetensors"
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/model/model_index.json", []byte("damaged"), 0o666); err != nil {
		t.Fatal(err)
	}
	again, err := Extract()
	after, statErr := os.Stat(path)
	if err != nil || statErr != nil || again != dir || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("extracted again to %s: %v, %v", again, err, statErr)
	}
	if text, err := os.ReadFile(dir + "/model/model_index.json"); err != nil || string(text) == "damaged" {
		t.Error("a damaged file was left", err)
	}
}

// Every word is one token of either tokenizer.
func TestWords(t *testing.T) {
	dir := t.TempDir()
	if err := writeCLIPWords(dir); err != nil {
		t.Fatal(err)
	}
	if err := writeWordPieces(dir); err != nil {
		t.Fatal(err)
	}
	clip, err := tokenizer.OpenCLIP(dir)
	if err != nil {
		t.Fatal(err)
	}
	pieces, err := tokenizer.OpenWordPiece(dir + "/vocab.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, w := range words() {
		ids := clip.IDs(w)
		if len(ids) != 1 || seen[ids[0]] {
			t.Errorf("%s has tokens %v", w, ids)
		} else {
			seen[ids[0]] = true
		}
		if got := pieces.Encode(w, 8); got.Used != 3 || got.IDs[1] == 1 {
			t.Errorf("%s has word pieces %v", w, got.IDs)
		}
	}
}

// Choices are what a scene is.
func TestChoices(t *testing.T) {
	for i := range 200 {
		_, a, b, _ := world.Comparison(noise.New(1), i)
		for _, want := range []world.Scene{a.Scene, b.Scene} {
			c := choices(want)
			got, ok := scene(c)
			if !ok || !got.Is(want) || len(c) != len(groups()) {
				t.Errorf("%v became %v", want, got)
			}
			for j, g := range groups() {
				if c[j] < 0 || c[j] >= g[1]-g[0] {
					t.Errorf("choice %d is %d of %d", j, c[j], g[1]-g[0])
				}
			}
		}
	}
	if _, ok := scene([]int{2, 1, 0, 0, 0, 0, 0, 0, 0}); ok {
		t.Error("three things are a scene")
	}
}
