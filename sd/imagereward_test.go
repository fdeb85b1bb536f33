package sd

import (
	"fmt"
	"image"
	_ "image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/tokenizer"
	"github.com/doob-diffusion/doob/vision"
)

// reward opens the tiny ImageReward, whose heads of pictures are fewer than the published model's.
func reward(t testing.TB, e *engine.Engine, dir string) (ImageReward, Modules) {
	t.Helper()
	c, w, err := OpenImageReward(dir)
	if err != nil {
		t.Fatal(err)
	}
	c.Picture.Heads = 4
	return c, loaded(t, e, nil, func() (*Weights, error) { return w, nil })
}

func TestImageReward(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, _ *Folder) {
		g := read(t, "imagereward/rewards.safetensors")
		c, m := reward(t, e, golden.Path("imagereward"))
		want := ImageReward{
			Picture: PictureEncoder{Width: 32, Intermediate: 128, Layers: 2, Heads: 4, Side: 48, Patch: 16, Epsilon: 1e-6},
			Text:    MatchEncoder{Vocabulary: 215, Positions: 64, Width: 24, Intermediate: 48, Layers: 2, Heads: 3, Epsilon: 1e-12},
			Joint:   8, Head: []int{24, 32, 16, 8, 4, 1},
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Fatalf("(-want +got):\n%s", d)
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			x, ids, used := in[0], in[1], in[2]
			three := func(x *graph.Node) *graph.Node { return graph.SliceAxis(x, 0, graph.AxisRange(0, 3)) }
			var states, text *graph.Node
			inside := m
			inside.watch = func(name string, y *graph.Node) {
				switch name {
				case rewardPicture + "norm":
					states = y
				case "text":
					text = y
				}
			}
			scores := c.Score(inside, x, three(ids), three(used))
			out := append([]*graph.Node{states, text}, graph.Gradient(graph.ReduceAllSum(scores), x)...)
			for i := range 3 {
				one := graph.SliceAxis(x, 0, graph.AxisElem(i))
				out = append(out, c.Score(m, graph.Concatenate([]*graph.Node{one, one, one, one}, 0), ids, used))
			}
			return out
		}, g.pictures("pixel_values"), g.input("input_ids"), g.input("attention_mask"))
		worst := oracle.Alike(t, "states of pictures", out[0], g.get("image_states").F32, forward)
		worst = max(worst, oracle.Alike(t, "state of the text", out[1], g.get("text_state").F32, forward))
		steep := oracle.Alike(t, "gradient to pictures", out[2], g.values("d_pixel_values"), backward)
		rewards := g.get("rewards").F32
		for i := range 3 {
			for j, r := range out[3+i] {
				oracle.Near(t, fmt.Sprintf("reward of picture %d for text %d", i, j), r, float64(rewards[4*i+j]), forward)
			}
		}
		t.Logf("off by at most %.1e of the largest entry, the gradient by %.1e", worst, steep)
	})
}

// From pictures and texts to rewards, with the weights of the .pt.
func TestImageRewardOfPictures(t *testing.T) {
	g := read(t, "imagereward/rewards.safetensors")
	dir := t.TempDir()
	for _, name := range []string{"ImageReward.pt", "med_config.json"} {
		write(t, dir, name, string(golden.Read(t, "imagereward/"+name)))
	}
	e := oracle.Open(t)
	c, m := reward(t, e, dir)
	words, err := tokenizer.OpenWordPiece(golden.Path("imagereward/vocab.txt"), "[DEC]", "[ENC]")
	if err != nil {
		t.Fatal(err)
	}
	var pictures []float32
	var ids, used [][]int32
	texts := []string{"A green colored rabbit.", "Two roses in a vase.", "Two dogs in the park.", ""}
	for i := range 3 {
		f, err := os.Open(golden.Path(fmt.Sprintf("pictures/%d.png", i)))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		picture, _, err := image.Decode(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			pictures = append(pictures, vision.FromImage(picture).Prepare(c.Picture.Side)...)
			tokens := words.Encode(text, 35)
			row, marks := make([]int32, 35), make([]int32, 35)
			for j, id := range tokens.IDs {
				row[j] = int32(id)
				if j < tokens.Used {
					marks[j] = 1
				}
			}
			ids, used = append(ids, row), append(used, marks)
		}
	}
	got := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.Score(m, in[0], in[1], in[2])} },
		tensors.FromFlatDataAndDimensions(pictures, len(ids), c.Picture.Side, c.Picture.Side, 3), ids, used)[0]
	for i, want := range g.get("rewards").F32 {
		oracle.Near(t, fmt.Sprintf("reward of picture %d for %q", i/4, texts[i%4]), got[i], float64(want), forward)
	}
}

func TestImageRewardRefusals(t *testing.T) {
	dir := t.TempDir()
	_, _, err := OpenImageReward(dir)
	wantError(t, err, ErrWeights, "neither ImageReward.safetensors nor ImageReward.pt", dir)

	f, err := checkpoint.Load(golden.Path("imagereward/ImageReward.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "med_config.json", `{"num_attention_heads": 5}`)
	file := filepath.Join(dir, "ImageReward.safetensors")
	save := func() {
		if err := checkpoint.Save(file, f); err != nil {
			t.Fatal(err)
		}
	}
	save()
	_, _, err = OpenImageReward(dir)
	wantError(t, err, ErrWeights, "24 for texts", "5 attention heads")

	write(t, dir, "med_config.json", `{"num_attention_heads": 3}`)
	delete(f.Tensors, "mlp.layers.4.bias")
	f.Tensors["mlp.layers.6.weight"] = checkpoint.Tensor{Shape: []int{4, 9}, F32: make([]float32, 36)}
	f.Tensors["blip.text_encoder.pooler.dense.bias"] = checkpoint.Tensor{Shape: []int{1}, F32: make([]float32, 1)}
	save()
	_, _, err = OpenImageReward(dir)
	wantError(t, err, ErrWeights, "missing: mlp.layers.4.bias", "mlp.layers.6.weight has shape [4 9], expected [4 8]", "pooler.dense.bias", file)
}

// The published model has 446.7 M parameters in 625 tensors, one of which is a list of positions.
func TestParametersOfImageReward(t *testing.T) {
	c := ImageReward{
		Picture: PictureEncoder{Width: 1024, Intermediate: 4096, Layers: 24, Side: 224, Patch: 16},
		Text:    MatchEncoder{Vocabulary: 30524, Positions: 512, Width: 768, Intermediate: 3072, Layers: 12},
		Joint:   256, Head: []int{768, 1024, 128, 64, 16, 1},
	}
	var n int
	for _, shape := range c.Tensors() {
		n += engine.Size(shape)
	}
	if want := 303_301_632 + 141_977_088 + 927_969 + 459_264; n != want || len(c.Tensors()) != 624 {
		t.Errorf("%d parameters in %d tensors, want %d in 624", n, len(c.Tensors()), want)
	}
}

func TestImageRewardErrors(t *testing.T) {
	e := oracle.Open(t)
	c, m := reward(t, e, golden.Path("imagereward"))
	score := func(dims []int, tokens, used int) error {
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.Score(m, in[0], in[1], in[2])} })
		if err != nil {
			t.Fatal(err)
		}
		_, err = program.Run(engine.Rows(make([]float32, engine.Size(dims)), dims[1:]...), [][]int32{make([]int32, tokens)}, [][]int32{make([]int32, used)})
		return err
	}
	oracle.WantError(t, score([]int{1, 48, 32, 3}, 35, 35), "want [batch, 48, 48, 3]")
	oracle.WantError(t, score([]int{1, 48, 48, 3}, 65, 65), "at most 64 tokens")
	oracle.WantError(t, score([]int{1, 48, 48, 3}, 35, 34), "want twice [batch, tokens]")
	if err := score([]int{1, 48, 48, 3}, 20, 20); err != nil {
		t.Error(err)
	}
}
