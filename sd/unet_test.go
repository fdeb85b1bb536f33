package sd

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestUNet(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "unet/forward.safetensors")
		m := loaded(t, e, nil, f.UNetWeights)
		var blocks []string // of the second sample
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			x, time, text := in[0], in[1], in[2]
			first := graph.SliceAxis(text, 0, graph.AxisRange(0, 1))
			out := []*graph.Node{f.UNet.Apply(m, x, time, text), f.UNet.Apply(m, in[3], graph.Const(x.Graph(), []int32{250}), first)}
			inside := m
			blocks = nil
			inside.watch = func(name string, y *graph.Node) {
				name = strings.NewReplacer("samplers.0.conv", "samplers.0", "time_embedding.linear_2", "time_embedding").Replace(name)
				if _, ok := g.all["block."+name]; ok {
					blocks, out = append(blocks, name), append(out, y)
				}
			}
			second := func(x *graph.Node) *graph.Node { return graph.SliceAxis(x, 0, graph.AxisRange(1, 2)) }
			f.UNet.Apply(inside, second(x), second(time), second(text))
			return out
		}, g.pictures("sample"), g.input("timestep"), g.input("encoder_hidden_states"), g.pictures("odd.sample"))
		worst := oracle.Alike(t, "out", out[0], g.values("out"), forward)
		worst = max(worst, oracle.Alike(t, "odd.out", out[1], g.values("odd.out"), forward))
		if len(blocks) != 28 { // all but conv_norm_out, which is here one with what comes after
			t.Errorf("%d blocks seen: %v", len(blocks), blocks)
		}
		for i, name := range blocks {
			worst = max(worst, oracle.Alike(t, name, out[2+i], g.values("block."+name), forward))
		}
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

// The normalisation before a transformer has another epsilon than all others, which shows in faint pictures only.
func TestUNetAttendsToFaintPictures(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "unet/forward.safetensors")
		m := loaded(t, e, nil, f.UNetWeights)
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			text := graph.SliceAxis(in[1], 0, graph.AxisRange(1, 2))
			return []*graph.Node{f.UNet.attend(m, "down_blocks.0.attentions.0", f.UNet.Heads[0], in[0], text)}
		}, g.pictures("faint.in"), g.input("encoder_hidden_states"))
		oracle.Alike(t, "out", out[0], g.values("faint.out"), forward)
	})
}

func TestTimeFeatures(t *testing.T) {
	g := read(t, "unet/forward.safetensors")
	for _, width := range []int{16, 32} {
		features := func(u backbone) []float32 {
			return oracle.Run(t, "", func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.timeFeatures(in[0], width)} }, g.input("time_proj.timestep"))[0]
		}
		want := g.get(fmt.Sprintf("time_proj.%d", width)).F32
		// The reference computes frequencies in float32, and a phase of 1000 takes up their rounding.
		oracle.Alike(t, "features", features(backbone{cosineFirst: true}), want, 6e-5)
		sineFirst := features(backbone{})
		for i := range want {
			if j := i/width*width + (i+width/2)%width; math.Abs(float64(sineFirst[j]-want[i])) > 6e-5 {
				t.Fatalf("sine first, number %d: %g, want %g", j, sineFirst[j], want[i])
			}
		}
		shifted := features(backbone{cosineFirst: true, freqShift: 1})
		oracle.Near(t, "last frequency with shift 1", shifted[width*5+width-1], math.Sin(999e-4), 1e-6)
	}
}

// As in 2.x: projections are linear, heads differ between levels, weights may be in half precision.
func TestUNetOfSecondVersion(t *testing.T) {
	g := read(t, "variants/sd2.safetensors")
	for _, backend := range backends() {
		for _, c := range []struct{ folder, variant, want string }{{"sd2", "", "out"}, {"sd2", "fp16", "out"}, {"sd2-bf16-sharded", "", "out_bf16_weights"}} {
			e := oracle.OpenOn(t, backend)
			m := loaded(t, e, nil, func() (*Weights, error) { return sd2(t, c.folder, c.variant), nil })
			u, err := readUNet(golden.Path("variants/" + c.folder))
			if err != nil {
				t.Fatal(err)
			}
			out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{u.Apply(m, in[0], in[1], in[2])} },
				g.pictures("sample"), g.input("timestep"), g.input("encoder_hidden_states"))
			worst := oracle.Alike(t, c.folder+c.variant, out[0], g.values(c.want), forward)
			t.Logf("%s %s %s: off by %.1e of the largest entry", backend, c.folder, c.variant, worst)
		}
	}
}

func TestUNetGradients(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g, given := read(t, "unet/gradients.safetensors"), read(t, "unet/forward.safetensors")
		norms := golden.JSON[map[string]float64](t, "unet/gradient-norms.json")
		m := loaded(t, e, nil, f.UNetWeights)
		names := slices.Sorted(maps.Keys(f.UNet.Tensors()))
		if len(norms) != len(names) {
			t.Fatalf("%d norms for %d tensors", len(norms), len(names))
		}
		out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			x, time, text, target := in[0], in[1], in[2], in[3]
			y := f.UNet.Apply(m, x, time, text)
			loss := squared(y, target)
			var weights []*graph.Node
			for _, name := range names {
				weights = append(weights, m.raw(name, x))
			}
			return slices.Concat([]*graph.Node{loss}, graph.Gradient(dot(y, target), x), graph.Gradient(loss, weights...))
		}, given.pictures("sample"), given.input("timestep"), given.input("encoder_hidden_states"), g.pictures("target"))
		oracle.Alike(t, "loss", out[0], g.get("loss").F32, forward)
		worst := oracle.Alike(t, "gradient to the latents", out[1], g.values("d_sample"), backward)
		var compared int
		for i, name := range names {
			gradient := out[2+i]
			if _, ok := g.all["grad."+name]; ok {
				worst = max(worst, oracle.Alike(t, name, gradient, g.weights("grad."+name), backward))
				compared++
			}
			var norm float64
			for _, v := range gradient {
				norm += float64(v) * float64(v)
			}
			// Some are zero but for rounding: a bias before a normalisation that takes it out.
			oracle.Near(t, "norm of the gradient to "+name, math.Sqrt(norm), norms[name], backward*norms[name]+1e-7)
		}
		if compared != 10 {
			t.Errorf("%d gradients compared, want 10", compared)
		}
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

func TestUNetErrors(t *testing.T) {
	e := oracle.Open(t)
	u := UNet{Channels: 4, Widths: []int{8}, Context: 32}
	for _, c := range []struct {
		x, text []int
	}{{[]int{1, 8, 8, 3}, []int{1, 77, 32}}, {[]int{1, 8, 4}, []int{1, 77, 32}}, {[]int{2, 8, 8, 4}, []int{1, 77, 32}}, {[]int{1, 8, 8, 4}, []int{1, 77, 31}}} {
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{u.Apply(Modules{Scope: e.Scope("/nothing")}, in[0], graph.Const(in[0].Graph(), []int32{1}), in[1])}
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = program.Run(engine.Rows(make([]float32, engine.Size(c.x)), c.x[1:]...), engine.Rows(make([]float32, engine.Size(c.text)), c.text[1:]...))
		if err == nil || !strings.Contains(err.Error(), "want [batch, height, width, 4] and [batch, tokens, 32]") {
			t.Errorf("latents %v, text %v: %v", c.x, c.text, err)
		}
	}
}

// A tensor that cannot be used names itself, and what it would have been part of is not there.
func TestLoadErrors(t *testing.T) {
	dir := tiny(t)
	edit(t, dir+"/unet/diffusion_pytorch_model.safetensors", func(f *checkpoint.File) {
		f.Tensors["conv_out.bias"].F32[1] = float32(math.NaN())
	})
	f, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.UNetWeights()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	e := oracle.Open(t)
	_, err = w.Load(e.Scope("/a"), nil)
	wantError(t, err, ErrWeights, "conv_out.bias")
	if _, err := w.Load(e.Scope("/b"), func(name string) bool { return name != "conv_out.bias" }); err != nil {
		t.Error(err)
	}
	if n, want := e.Scope("/b").NumVariables(), len(w.Names())-1; n != want {
		t.Errorf("%d variables, want %d", n, want)
	}
	for v := range e.Scope("/b").IterVariables() {
		if v.Trainable {
			t.Errorf("%s is trained", v.Path())
		}
	}
}
