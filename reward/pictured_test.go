package reward

import (
	"context"
	"fmt"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
	"github.com/doob-diffusion/doob/vision"
)

// backend is that of tests that are made on XLA too.
var backend = engine.Default

var pictureTexts = []string{"A green colored rabbit.", "Two roses in a vase.", "Two dogs in the park.", ""}

func goldenPicture(t testing.TB, i int) vision.RGB {
	t.Helper()
	f, err := os.Open(golden.Path(fmt.Sprintf("pictures/%d.png", i)))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return vision.FromImage(m)
}

func goldenTensors(t testing.TB, name string) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(golden.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return f.Tensors
}

// last returns x [1, channels, height, width] with the channels last, height and width.
func last(x checkpoint.Tensor) (y []float32, height, width int) {
	height, width = x.Shape[2], x.Shape[3]
	for p := range height * width {
		for c := range 3 {
			y = append(y, x.F32[c*height*width+p])
		}
	}
	return y, height, width
}

// tinyReward opens the tiny ImageReward, whose heads of pictures are fewer than the published model's.
func tinyReward(t testing.TB, e *engine.Engine) *ImageReward {
	t.Helper()
	words, err := tokenizer.OpenWordPiece(golden.Path("imagereward/vocab.txt"), "[DEC]", "[ENC]")
	if err != nil {
		t.Fatal(err)
	}
	network, w, err := sd.OpenImageReward(golden.Path("imagereward"))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	network.Picture.Heads = 4
	r, err := newImageReward(e, "/imagereward", network, w, words)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// From files and texts to numbers, against image-reward 1.5.
func TestImageReward(t *testing.T) {
	r := tinyReward(t, oracle.OpenOn(t, backend))
	want := goldenTensors(t, "imagereward/rewards.safetensors")["rewards"].F32
	for j, text := range pictureTexts {
		reward, warning, err := r.For(text, 32, 32)
		if err != nil || warning != "" {
			t.Fatal(err, warning)
		}
		for i := range 3 {
			got, err := reward.Of(goldenPicture(t, i))
			if err != nil {
				t.Fatal(err)
			}
			oracle.Near(t, fmt.Sprintf("picture %d for %q", i, text), got, float64(want[4*i+j]), 1e-5)
		}
	}
	_, warning, err := r.For("two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two dogs two vase park", 8, 8)
	if want := `the prompt has more than 33 tokens, all that the model takes; it does not see the end: "vase park"`; err != nil || warning != want {
		t.Errorf("warning %q, want %q; err = %v", warning, want, err)
	}
	_, _, err = r.For("", 8, 0)
	oracle.WantError(t, err, "[8, 0, 3]")
}

// As adjoint matching takes it: without 8 bits, with the gradient to a picture that is resized up or down. Colours are in [−1, 1] here, so that the
// gradient is half of that to colours in [0, 1].
func TestImageRewardGradient(t *testing.T) {
	e := oracle.OpenOn(t, backend)
	r := tinyReward(t, e)
	all := goldenTensors(t, "imagereward/pictures.safetensors")
	for _, name := range []string{"up", "down"} {
		x, height, width := last(all[name+".image"])
		for i := range x {
			x[i] = 2*x[i] - 1
		}
		reward, _, err := r.For(pictureTexts[0], height, width)
		if err != nil {
			t.Fatal(err)
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{reward.Graph(in[0]), graph.MulScalar(Gradient(reward, in[0], nil), 2)}
		}, tensors.FromFlatDataAndDimensions(x, 1, height, width, 3))
		oracle.Near(t, name, out[0][0], float64(all[name+".reward"].F32[0]), 1e-5)
		want, _, _ := last(all[name+".d_image"])
		oracle.Alike(t, name+": gradient", out[1], want, 1e-4)

		// The host's function rounds to 8 bits: of a colour by at most 1/510, of the reward by no more than the gradient allows.
		values, err := reward.Rewards(t.Context(), append(x, x...), 2)
		if err != nil || values[0] != values[1] {
			t.Fatal(values, err)
		}
		oracle.Near(t, name+" in 8 bits", values[0], float64(out[0][0]), 0.02)
	}
}

// Beyond black and full colour there is nothing to see, and no gradient.
func TestPicturedClamps(t *testing.T) {
	e := oracle.Open(t)
	p, err := newPictured(e, 2, 2, 2, func(x *graph.Node) *graph.Node { return graph.ReduceSum(x, 1, 2, 3) })
	if err != nil {
		t.Fatal(err)
	}
	out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{Gradient(p, in[0], nil)}
	}, tensors.FromFlatDataAndDimensions([]float32{-1.5, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1, 2, 2, 3))[0]
	for i, g := range out {
		want := 0.5 / float64(vision.SD[i%3])
		if i == 0 || i == 2 {
			want = 0
		}
		oracle.Near(t, fmt.Sprint("gradient ", i), g, want, 1e-5)
	}
	_, err = p.Rewards(t.Context(), make([]float32, 5), 1)
	oracle.WantError(t, err, "5 numbers", "[2, 2, 3]")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Rewards(ctx, make([]float32, 12), 1); err != ctx.Err() {
		t.Errorf("err = %v, want that of the context", err)
	}
}

// Scores and diversity, against transformers.
func TestCLIP(t *testing.T) {
	c, err := OpenCLIP(oracle.OpenOn(t, backend), "/clip", clipFolder(t))
	if err != nil {
		t.Fatal(err)
	}
	all := goldenTensors(t, "clip/clip.safetensors")
	var embeddings [][]float32
	for i := range 3 {
		reward, warning, err := c.For(pictureTexts[i], 32, 32)
		if err != nil || warning != "" {
			t.Fatal(err, warning)
		}
		picture := goldenPicture(t, i)
		got, err := reward.Of(picture)
		if err != nil {
			t.Fatal(err)
		}
		want := float64(all["clip_score"].F32[i])
		oracle.Near(t, "score", got, want, 1e-5)
		text, _, err := c.Text(pictureTexts[i])
		if err != nil {
			t.Fatal(err)
		}
		e, err := c.Picture(picture)
		if err != nil {
			t.Fatal(err)
		}
		oracle.Near(t, "cosine", Cosine(e, text), want, 1e-5)
		embeddings = append(embeddings, e)
	}
	d, _, ok := Diversity(embeddings)
	if !ok {
		t.Error("no diversity of three pictures")
	}
	oracle.Near(t, "diversity", d, float64(all["diversity"].F32[0]), 1e-5)
	if _, _, ok := Diversity(embeddings[:1]); ok {
		t.Error("diversity of one picture")
	}
}

// The standard error of diversity is the spread of what other samples of the same law would say, here of normal directions in the plane.
func TestDiversityError(t *testing.T) {
	const sets, n = 400, 40
	draw := noise.New(1).Rand()
	var values, errors []float64
	for range sets {
		embeddings := make([][]float32, n)
		for i := range embeddings {
			x, y := 1+draw.NormFloat64(), draw.NormFloat64()
			embeddings[i] = []float32{float32(x / math.Hypot(x, y)), float32(y / math.Hypot(x, y))}
		}
		d, se, _ := Diversity(embeddings)
		values, errors = append(values, d), append(errors, se)
	}
	spread, said := stat.StdDev(values, nil), stat.Mean(errors, nil)
	if math.Abs(said-spread) > 4*spread/math.Sqrt(2*sets) { // four standard errors of the spread
		t.Errorf("standard error %g on average, and the spread over sets is %g", said, spread)
	}
}

// clipFolder is the tiny CLIP with its tokenizer.
func clipFolder(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "clip")
	for _, from := range []string{"clip", "pipeline/tokenizer"} {
		if err := os.CopyFS(dir, os.DirFS(golden.Path(from))); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRewardsOfPicturesRefuse(t *testing.T) {
	e := oracle.Open(t)
	dir := t.TempDir()
	_, err := OpenImageReward(e, "/a", dir, "")
	oracle.WantError(t, err, "neither ImageReward.safetensors")
	for _, name := range []string{"ImageReward.safetensors", "med_config.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), golden.Read(t, "imagereward/"+name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	_, err = OpenImageReward(e, "/b", dir, "")
	oracle.WantError(t, err, "vocab.txt", "no part of it", "bert-base-uncased")
	if err := os.WriteFile(filepath.Join(dir, "vocab.txt"), []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = OpenImageReward(e, "/c", dir, "")
	oracle.WantError(t, err, "5 tokens, expected 213")
	_, err = OpenCLIP(e, "/d", golden.Path("clip"))
	oracle.WantError(t, err, "neither vocab.json")
}
