package finetune

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/sd"
)

// backend is that of comparisons with the reference libraries, which are made on XLA too.
var backend string

// goldenPictures reads tensors, of which latents [n, 4, 8, 8] are [n, 8, 8, 4] then.
func goldenPictures(t *testing.T, file string) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(golden.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range f.Tensors {
		if d := x.Shape; len(d) >= 4 && slices.Equal(d[len(d)-3:], []int{4, 8, 8}) {
			moved := make([]float32, len(x.F32))
			for i, v := range x.F32 {
				moved[i/256*256+i%64*4+i%256/64] = v
			}
			x.F32 = moved
			f.Tensors[name] = x
		}
	}
	return f.Tensors
}

// Ratios, losses and gradients to the adapter of a guided U-Net are those of the reference libraries, on steps whose ratios are inside and on either side of
// the interval, with advantages of either sign.
func TestPolicyLossesOfTheReference(t *testing.T) {
	e := oracle.OpenOn(t, backend)
	f, err := sd.Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := f.Schedule.Process()
	if err != nil {
		t.Fatal(err)
	}
	texts, _, err := f.Encode(e.Scope("/texts"), e, sd.Texts{Texts: []string{"", "A green colored rabbit.", "Two roses in a vase."}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.UNetWeights()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	modules, err := w.Load(e.Scope("/unet"), nil)
	if err != nil {
		t.Fatal(err)
	}
	base := sd.Guided{UNet: f.UNet, Modules: modules, Prediction: diffusion.Prediction(f.Schedule.Prediction), Scale: 7.5, Texts: texts}
	adapter, _, err := lora.Load(golden.Path("lora/peft"), lora.Model{UNet: f.UNet.Tensors()})
	if err != nil {
		t.Fatal(err)
	}
	h, err := htransform.NewLoRA(e, base, adapter)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range h.Parameters() { // the path was driven by the adapter as it is in the file
		if v.Name()[len(v.Name())-1] == 'B' {
			values := tensors.MustCopyFlatData[float32](v.MustValue())
			for i := range values {
				values[i] *= 1.125
			}
			if err := v.SetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	steps, err := diffusion.Numbered{Eta: 1, Offset: 1, Steps: 5}.Table(process)
	if err != nil {
		t.Fatal(err)
	}

	const dim, paths = 256, 2
	shape := []int{8, 8, 4}
	g, run := goldenPictures(t, "objectives/policies.safetensors"), goldenPictures(t, "trajectories/ddim-eta1.safetensors")
	r := recorder{sampler: &diffusion.Sampler{Process: process, Steps: steps, Shape: shape}}
	var rows, given []float32
	for i, step := range g["index"].I64 {
		lo := (int(step)*paths + int(g["path"].I64[i])) * dim
		rows = append(rows, run["latents"].F32[lo:lo+dim]...)
		rows = append(rows, run["noise"].F32[lo:lo+dim]...)
		rows = append(rows, run["eps_tuned"].F32[lo:lo+dim]...) // from which ε_θ is taken below, so that rounding of that cancels as it does in a run
		rows = append(rows, float32(step), g["advantage"].F32[i])
		given = append(given, float32(g["path"].I64[i]+1)) // number of the text
	}
	names := []string{"dpok.0.001", "dpok.0.5", "gaussian.0.5", "ddpo.0.001", "ddpo.0.5"}
	out := oracle.RunOn(t, e, func(in []*graph.Node) (out []*graph.Node) {
		x, earned, time, z, old, shift := in[0], in[2], in[3], in[4], in[5], in[6]
		state := diffusion.State{Process: process, X: x, T: time, Given: in[7]}.Evaluate(base)
		epsH := state.Noise(h)
		p := played{X: x, EpsH: epsH, Shift: shift, Earned: earned, Ratio: ratio(epsH, graph.Sub(old, state.Eps), z, shift)}
		var nodes []*graph.Node
		for _, v := range h.Parameters() {
			nodes = append(nodes, engine.Parameter(v, x))
		}
		for _, name := range names {
			clip := 0.001
			if strings.HasSuffix(name, ".5") {
				clip = 0.5
			}
			loss := DDPOSettings{Clip: clip}.loss(p)
			if !strings.HasPrefix(name, "ddpo") {
				loss = DPOKSettings{RewardWeight: 10, KL: 0.01, Clip: clip, GaussianKL: strings.HasPrefix(name, "gaussian")}.loss(p, earned)
			}
			out = append(out, loss)
			out = append(out, graph.Gradient(loss, nodes...)...)
		}
		return append(out, p.Ratio)
	}, append(r.inputs(rows), engine.Rows(given, 1))...)
	each := 1 + len(h.Parameters())
	oracle.Alike(t, "ratios", out[len(names)*each], g["ratio"].F32, 2e-6)
	for i, name := range names {
		oracle.Alike(t, name+": loss", out[i*each], g[name+".loss"].F32, 1e-6)
		var got, want []float32
		var worst float64
		for j, v := range h.Parameters() {
			own := slices.Clone(g[name+".grad."+v.Name()+".weight"].F32)
			if v.Name()[len(v.Name())-1] == 'B' { // this B is theirs times alpha/rank = 2
				for k := range own {
					own[k] /= 2
				}
			}
			// Of parts that cancel, as in gradients to queries, little is left: one unit in the last place of the latents moves the worst of those by
			// 8e-5 of its largest entry in the reference too, where that is 1/70 of the largest of all.
			worst = max(worst, oracle.Alike(t, name+": gradient to "+v.Name(), out[i*each+1+j], own, 2e-4))
			got, want = append(got, out[i*each+1+j]...), append(want, own...)
		}
		whole := oracle.Alike(t, name+": whole gradient", got, want, 5e-5)
		t.Logf("%s: the gradient is off by %.1e of its largest entry, that to one matrix by %.1e of its own", name, whole, worst)
	}
}
