package sd

import (
	"math"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestVAE(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "vae/vae.safetensors")
		m := loaded(t, e, nil, f.VAEWeights)
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			mean, logVariance := f.VAE.Encode(m, in[0])
			out := []*graph.Node{mean, logVariance, f.VAE.Latents(mean, logVariance, in[1])}
			mean, logVariance = f.VAE.Encode(m, in[2])
			return append(out, graph.Concatenate([]*graph.Node{mean, logVariance}, -1))
		}, g.pictures("image"), g.pictures("eps"), g.pictures("wide.image"))
		var worst float64
		for i, name := range []string{"mean", "logvar", "latents", "wide.moments"} {
			worst = max(worst, oracle.Alike(t, name, out[i], g.values(name), forward))
		}
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

// The decoder needs the tensors of the decoder only.
func TestVAEDecodes(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "vae/vae.safetensors")
		m := loaded(t, e, f.VAE.Drawing, f.VAEWeights)
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			y := f.VAE.Decode(m, in[0])
			return append([]*graph.Node{y}, graph.Gradient(dot(y, in[1]), in[0])...)
		}, g.pictures("z"), g.pictures("cotangent"))
		a := oracle.Alike(t, "pictures", out[0], g.values("decoded"), forward)
		b := oracle.Alike(t, "gradient to the latents", out[1], g.values("d_z"), backward)
		t.Logf("off by %.1e of the largest entry, the gradient by %.1e", a, b)
		if m.has("encoder.conv_in.weight") || m.has("quant_conv.weight") {
			t.Error("the encoder is in memory")
		}
	})
}

// Log variances are held in [−30, 20], and latents have the variance that they say.
func TestVAELogVariance(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		m := loaded(t, e, nil, f.VAEWeights)
		bias := []float32{0, 0, 0, 0, -1e3, 1e3, -1e3, 1e3}
		if err := m.Scope.GetVariable("quant_conv.bias").SetValue(tensors.FromFlatDataAndDimensions(bias, len(bias))); err != nil {
			t.Fatal(err)
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			_, logVariance := f.VAE.Encode(m, in[0])
			return []*graph.Node{logVariance}
		}, read(t, "vae/vae.safetensors").pictures("image"))
		for i, v := range out[0] {
			oracle.Near(t, "log variance", v, []float64{-30, 20}[i%2], 0)
		}
	})
	v := VAE{Scale: 0.5}
	out := oracle.Run(t, "", func(in []*graph.Node) []*graph.Node { return []*graph.Node{v.Latents(in[0], in[1], in[2])} },
		[]float32{1, 2}, []float32{float32(math.Log(9)), 0}, []float32{1, 3})
	oracle.Near(t, "latent", out[0][0], 0.5*(1+3), 1e-6)
	oracle.Near(t, "latent", out[0][1], 0.5*(2+3), 1e-6)
}

func TestVAEErrors(t *testing.T) {
	e := oracle.Open(t)
	v := VAE{Channels: 3, Latent: 4, Widths: []int{8, 8, 8}, Scale: 1}
	m := Modules{Scope: e.Scope("/nothing")}
	for want, c := range map[string]struct {
		dims []int
		fn   func(x *graph.Node) *graph.Node
	}{
		"multiples of 4":            {[]int{1, 8, 10, 3}, func(x *graph.Node) *graph.Node { mean, _ := v.Encode(m, x); return mean }},
		"[batch, height, width, 3]": {[]int{1, 8, 8, 4}, func(x *graph.Node) *graph.Node { mean, _ := v.Encode(m, x); return mean }},
		"[batch, height, width, 4]": {[]int{1, 8, 8, 3}, func(x *graph.Node) *graph.Node { return v.Decode(m, x) }},
		`no parameter "post_quant_`: {[]int{1, 8, 8, 4}, func(x *graph.Node) *graph.Node { return v.Decode(m, x) }},
	} {
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{c.fn(in[0])} })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := program.Run(engine.Rows(make([]float32, engine.Size(c.dims)), c.dims[1:]...)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: error %v, want %q in it", c.dims, err, want)
		}
	}
}
