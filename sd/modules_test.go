package sd

import (
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
)

// A low-rank adapter as an addition: the base model and the tuned one in one graph, and gradients to the adapter.
func TestAddition(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g, given := read(t, "lora/lora.safetensors"), read(t, "unet/forward.safetensors")
		target := read(t, "unet/gradients.safetensors").pictures("target")
		m := loaded(t, e, nil, f.UNetWeights)
		adapter, _, err := lora.Load(golden.Path("lora/kohya/lora.safetensors"), lora.Model{UNet: f.UNet.Tensors(), Text: f.Text.Tensors()})
		if err != nil {
			t.Fatal(err)
		}
		names := make([]string, 0, len(adapter.UNet))
		inputs := []any{given.pictures("sample"), given.input("timestep"), given.input("encoder_hidden_states"), target}
		for name := range adapter.UNet {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			p := adapter.UNet[name]
			inputs = append(inputs, tensors.FromFlatDataAndDimensions(p.A, p.Rank, p.In), tensors.FromFlatDataAndDimensions(p.B, p.Out, p.Rank))
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			x, time, text, target, low := in[0], in[1], in[2], in[3], in[4:]
			with := func(scale func(lora.Pair) float64) Modules {
				m := m
				m.Addition = func(name string, x *graph.Node) *graph.Node {
					i, ok := slices.BinarySearch(names, name)
					if !ok {
						return nil
					}
					a := graph.DotGeneral(x, []int{1}, nil, low[2*i], []int{1}, nil)
					return graph.MulScalar(graph.DotGeneral(a, []int{1}, nil, low[2*i+1], []int{1}, nil), scale(adapter.UNet[name]))
				}
				return m
			}
			tuned := f.UNet.Apply(with(func(p lora.Pair) float64 { return p.Scale }), x, time, text)
			loss := squared(tuned, target)
			out := []*graph.Node{tuned, f.UNet.Apply(with(func(lora.Pair) float64 { return 1 }), x, time, text), f.UNet.Apply(m, x, time, text), loss}
			return append(out, graph.Gradient(loss, append([]*graph.Node{x}, low...)...)...)
		}, inputs...)
		worst := oracle.Alike(t, "tuned", out[0], g.values("out"), forward)
		worst = max(worst, oracle.Alike(t, "at scale 1", out[1], g.values("out_scale_1"), forward))
		worst = max(worst, oracle.Alike(t, "base", out[2], given.values("out"), forward))
		worst = max(worst, oracle.Alike(t, "loss", out[3], g.get("loss").F32, forward))
		steep := oracle.Alike(t, "gradient to the latents", out[4], g.values("d_sample"), backward)
		for i, name := range names {
			for j, half := range []string{"A", "B"} {
				steep = max(steep, oracle.Alike(t, name+half, out[5+2*i+j], g.get("grad."+name+".lora_"+half+".weight").F32, backward))
			}
		}
		t.Logf("%d maps changed; off by at most %.1e of the largest entry, gradients by %.1e", len(names), worst, steep)
	})
}
