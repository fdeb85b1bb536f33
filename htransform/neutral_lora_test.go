package htransform_test

import (
	"fmt"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// An adapter relative to the base model's own fit begins as h = 0, wherever that fit is. What is learned is an adapter less the other, h is what that
// changes, and what is saved of it is the whole h. The loss fits the adapter alone.
func TestNeutralLoRA(t *testing.T) {
	e := oracle.Open(t)
	m, g := openTiny(t, e), goldens(t, "unet/forward.safetensors")
	m.guided.Scale = 0
	a, _, err := lora.Load(golden.Path("lora/peft"), m.model)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	scope := func() *model.Scope { // of its own for each
		made++
		return e.Scope(fmt.Sprint("/adapter", made))
	}
	adapter := func(a lora.Adapter) htransform.LoRA {
		low, err := sd.LoadLowRank(scope(), m.guided.UNet.Tensors(), a.UNet)
		if err != nil {
			t.Fatal(err)
		}
		return htransform.LoRA{Base: m.guided, Low: low}
	}
	var times []float32
	for _, level := range g["timestep"].I64 {
		times = append(times, float32(m.process.LevelTime(int(level))))
	}
	noises := func(controls ...diffusion.Control) [][]float32 {
		return oracle.RunOn(t, e, func(in []*graph.Node) (out []*graph.Node) {
			s := diffusion.State{Process: m.process, X: in[0], T: in[1], Given: in[2]}.Evaluate(m.guided)
			for _, h := range controls {
				out = append(out, h.Noise(s))
			}
			return out
		}, engine.Rows(g["sample"].F32, latents...), times, []float32{1, 2, 3})
	}

	self := adapter(a.Scaled(-0.7))
	fresh, err := htransform.LoRASettings{Rank: 4}.New(scope(), m.guided, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	start, err := htransform.NewNeutralLoRA(fresh, self.Low)
	if err != nil {
		t.Fatal(err)
	}
	h := htransform.NeutralLoRA{LoRA: adapter(a), Self: self.Low}
	saved, err := h.Adapter()
	if err != nil {
		t.Fatal(err)
	}
	fit, of := htransform.Fitted(h)
	out := noises(start, start.LoRA, self, h, adapter(saved), adapter(a.Scaled(1.7)), fit, h.LoRA, of)
	for i, v := range out[0] {
		if v != 0 {
			t.Fatalf("entry %d of h at the start is %g, want 0", i, v)
		}
	}
	oracle.Alike(t, "the fit at the start", out[1], out[2], 0)
	oracle.Alike(t, "h", out[3], out[5], 1e-5)
	oracle.Alike(t, "h as it is saved", out[4], out[5], 1e-5)
	oracle.Alike(t, "what the loss fits", out[6], out[7], 0)
	for i := range out[6] {
		out[6][i] -= out[8][i]
	}
	oracle.Alike(t, "what is fitted, less what it is relative to", out[6], out[3], 1e-5)
	if p := saved.UNet[h.Low.Modules[0]]; p.Rank != 8 {
		t.Errorf("the rank of what is saved is %d, want 8", p.Rank)
	}
	other, err := htransform.LoRASettings{Rank: 3}.New(scope(), m.guided, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := htransform.NewNeutralLoRA(other, self.Low); err == nil {
		t.Error("an own fit of another rank was taken")
	}
}
