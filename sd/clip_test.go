package sd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestCLIP(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, _ *Folder) {
		g := read(t, "clip/clip.safetensors")
		c, w, err := OpenCLIP(golden.Path("clip"))
		if err != nil {
			t.Fatal(err)
		}
		want := CLIP{
			Text:       TextEncoder{Vocabulary: 749, Positions: 77, Width: 24, Intermediate: 48, Layers: 2, Heads: 3, QuickGELU: true, Epsilon: 1e-5, EOS: 748},
			Picture:    PictureEncoder{Width: 32, Intermediate: 64, Layers: 2, Heads: 4, Side: 32, Patch: 8, QuickGELU: true, Epsilon: 1e-5},
			Projection: 16,
		}
		if d := cmp.Diff(want, c); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		m := loaded(t, e, nil, func() (*Weights, error) { return w, nil })
		names := []string{"image_embeds", "text_embeds", "clip_score", "diversity", "logits_per_image", "vision_last_hidden_state"}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			var states *graph.Node
			m.watch = func(name string, y *graph.Node) {
				if name == "vision_model.states" {
					states = y
				}
			}
			pictures, texts := c.Pictures(m, in[0]), c.Texts(m, in[1])
			cosines := graph.Einsum("ip,jp->ij", pictures, pictures)
			n := float64(pictures.Shape().Dimensions[0])
			diversity := graph.OneMinus(graph.DivScalar(graph.AddScalar(graph.ReduceAllSum(cosines), -n), n*(n-1)))
			logits := graph.Mul(graph.Einsum("ip,jp->ij", pictures, texts), graph.Exp(m.raw("logit_scale", pictures)))
			return []*graph.Node{pictures, texts, graph.ReduceSum(graph.Mul(pictures, texts), -1), diversity, logits, states}
		}, g.pictures("pixel_values"), g.input("input_ids"))
		var worst float64
		for i, name := range names {
			worst = max(worst, oracle.Alike(t, name, out[i], g.get(name).F32, forward))
		}
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

func TestCLIPRefusals(t *testing.T) {
	for _, c := range []struct {
		config string
		kind   error
		want   string
	}{
		{`{"model_type": "clip_text_model"}`, ErrUnsupported, "the text encoder alone"},
		{`{"model_type": "siglip"}`, ErrUnsupported, `"siglip", supported is clip`},
		{`{"vision_config": {"hidden_act": "gelu_new"}}`, ErrUnsupported, "vision_config: hidden_act"},
		{`{"vision_config": {"image_size": 30, "patch_size": 14}}`, ErrConfig, "image_size is 30"},
		{`{"vision_config": {"hidden_size": 100}}`, ErrConfig, "multiple of num_attention_heads, 12"},
		{`{"vision_config": {"num_channels": 4}}`, ErrUnsupported, "num_channels is 4"},
		{`{"text_config": {"max_position_embeddings": 64}}`, ErrUnsupported, "text_config: max_position_embeddings is 64"},
		{`{"text_config": 3}`, ErrConfig, "text_config is 3, expected an object"},
	} {
		dir := t.TempDir()
		write(t, dir, "config.json", c.config)
		_, _, err := OpenCLIP(dir)
		wantError(t, err, c.kind, c.want, dir)
	}
	dir := t.TempDir()
	write(t, dir, "config.json", "{}")
	write(t, dir, "pytorch_model.bin", "")
	_, _, err := OpenCLIP(dir)
	wantError(t, err, ErrUnsupported, "pytorch_model.bin", "safetensors")

	dir = t.TempDir()
	write(t, dir, "config.json", string(golden.Read(t, "clip/config.json")))
	f, err := checkpoint.Load(golden.Path("clip/model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	delete(f.Tensors, "vision_model.pre_layrnorm.bias")
	if err := checkpoint.Save(dir+"/model.safetensors", f); err != nil {
		t.Fatal(err)
	}
	_, _, err = OpenCLIP(dir)
	wantError(t, err, ErrWeights, "missing: vision_model.pre_layrnorm.bias")
}

// The published model has 427,616,513 parameters, 303,966,208 of them for pictures.
func TestParametersOfCLIP(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "config.json", `{"model_type": "clip", "projection_dim": 768, "text_config_dict": null,
		"text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "eos_token_id": 2},
		"vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14}}`)
	c, err := ReadCLIP(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all, pictures int
	for name, shape := range c.Tensors() {
		all += engine.Size(shape)
		if strings.HasPrefix(name, "vis") { // with the projection
			pictures += engine.Size(shape)
		}
	}
	if all != 427_616_513 || pictures != 303_966_208 {
		t.Errorf("%d parameters, %d for pictures", all, pictures)
	}
}

func TestPictureEncoderErrors(t *testing.T) {
	e := oracle.Open(t)
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{PictureEncoder{Side: 8, Patch: 4}.apply(Modules{Scope: e.Scope("/nothing")}, in[0])}
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = program.Run(engine.Rows(make([]float32, 8*4*3), 8, 4, 3))
	oracle.WantError(t, err, "want [batch, 8, 8, 3]")
}
