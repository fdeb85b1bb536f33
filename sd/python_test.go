package sd

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
)

// Adapters that are written here, of several ranks and scales and of the text encoder too, mean to diffusers and PEFT what they mean to us, in each
// spelling. DOOB_PYTHON names a Python that has both libraries.
func TestAdaptersInPython(t *testing.T) {
	python := os.Getenv("DOOB_PYTHON")
	if python == "" {
		t.Skip("DOOB_PYTHON names no Python with diffusers, transformers and peft: what they make of our adapters is not tested")
	}
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	images := kohya(t, f)
	const mixed = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
	p := images.UNet[mixed]
	p.Rank, p.A, p.Scale = 1, p.A[:p.In], 0.7
	b := make([]float32, p.Out)
	for i := range b {
		b[i] = p.B[4*i]
	}
	p.B = b
	images.UNet[mixed] = p
	texts := lora.Adapter{Text: map[string]lora.Pair{}}
	for _, module := range []string{"encoder.layers.0.self_attn.q_proj", "encoder.layers.2.self_attn.out_proj"} {
		shape := f.Text.Tensors()[module+".weight"]
		p := lora.Pair{Rank: 2, Out: shape[0], In: shape[1], A: make([]float32, 2*shape[1]), B: make([]float32, 2*shape[0]), Scale: 1.5}
		for i := range p.A {
			p.A[i] = float32(i%7-3) / 20
		}
		for i := range p.B {
			p.B[i] = float32(i%5-2) / 10
		}
		texts.Text[module] = p
	}
	both := lora.Adapter{UNet: images.UNet, Text: texts.Text}

	dir := t.TempDir()
	given, tokens := read(t, "unet/forward.safetensors"), read(t, "text/encoder.safetensors")
	inputs := checkpoint.File{Tensors: map[string]checkpoint.Tensor{"input_ids": tokens.get("input_ids")}}
	for _, name := range []string{"sample", "timestep", "encoder_hidden_states"} {
		inputs.Tensors[name] = given.get(name)
	}
	for _, err := range []error{
		checkpoint.Save(filepath.Join(dir, "inputs.safetensors"), inputs), images.Save(filepath.Join(dir, "peft"), lora.PEFT),
		both.Save(filepath.Join(dir, "diffusers.safetensors"), lora.Diffusers), both.Save(filepath.Join(dir, "kohya.safetensors"), lora.Kohya),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), python, "testdata/adapters.py", f.Dir, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	theirs, err := checkpoint.Load(filepath.Join(dir, "outputs.safetensors"))
	if err != nil {
		t.Fatal(err)
	}

	merged := filepath.Join(dir, "merged")
	if _, err := f.Merge(t.Context(), merged, both); err != nil {
		t.Fatal(err)
	}
	m, err := Open(merged)
	if err != nil {
		t.Fatal(err)
	}
	e, e2 := oracle.Open(t), oracle.Open(t)
	unet, text := loaded(t, e, nil, m.UNetWeights), loaded(t, e2, nil, m.TextWeights)
	ours := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{m.UNet.Apply(unet, in[0], in[1], in[2])} },
		given.pictures("sample"), given.input("timestep"), given.input("encoder_hidden_states"))
	states := oracle.RunOn(t, e2, func(in []*graph.Node) []*graph.Node { return []*graph.Node{m.Text.Apply(text, in[0], 0)} }, tokens.input("input_ids"))
	all := goldens{t, "outputs", theirs.Tensors}
	for _, name := range []string{"diffusers", "kohya", "peft"} {
		oracle.Alike(t, name+": U-Net", ours[0], all.values(name+".unet"), forward)
		if name != "peft" {
			oracle.Alike(t, name+": text encoder", states[0], all.values(name+".text"), forward)
		}
	}
	// The adapters change what is computed, or nothing would be tested.
	same := 0.0
	for i, v := range given.values("out") {
		same = max(same, float64(v-ours[0][i]), float64(ours[0][i]-v))
	}
	if same < 1e-2 {
		t.Errorf("the U-Net changes by %g only", same)
	}
}
