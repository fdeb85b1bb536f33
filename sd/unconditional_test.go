package sd

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// pipelines are the unconditional ones of testdata: noise and one head in early files, velocities, a cosine and several heads in today's.
var pipelines = []string{"ddpm", "ddpm-cosine"}

// uncond opens one of them as a model.
func uncond(t testing.TB, e *engine.Engine, name string) (Unguided, *diffusion.Discrete) {
	t.Helper()
	f, err := OpenUnconditional(golden.Path("unconditional/" + name))
	if err != nil {
		t.Fatal(err)
	}
	p, err := f.Schedule.Process()
	if err != nil {
		t.Fatal(err)
	}
	return Unguided{f.UNet, loaded(t, e, nil, f.Weights), diffusion.Prediction(f.Schedule.Prediction)}, p
}

func TestUNet2D(t *testing.T) {
	for _, backend := range backends() {
		for _, name := range pipelines {
			e, g := oracle.OpenOn(t, backend), read(t, "unconditional/"+name+".safetensors")
			m, p := uncond(t, e, name)
			out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
				return []*graph.Node{m.UNet.Apply(m.Modules, in[0], in[1]), m.UNet.Apply(m.Modules, in[2], graph.Const(in[0].Graph(), []int32{33}))}
			}, g.pictures("sample"), g.input("timestep"), g.pictures("wide"))
			oracle.Alike(t, name+": out", out[0], g.values("out"), forward)
			oracle.Alike(t, name+": wide", out[1], g.values("wide_out"), forward)
			for k, want := range g.get("alphas_cumprod").F32 {
				if got := p.Bar(k); got != float64(want) {
					t.Fatalf("%s: ᾱ at level %d is %g, want %g", name, k, got, want)
				}
			}
		}
	}
}

// Paths are those of diffusers' samplers with the same noise.
func TestUnconditionalPaths(t *testing.T) {
	for _, name := range pipelines {
		e, g := oracle.Open(t), read(t, "unconditional/"+name+".safetensors")
		m, p := uncond(t, e, name)
		program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{diffusion.State{Process: p, X: in[0], T: in[1]}.Evaluate(m).Eps}
		})
		if err != nil {
			t.Fatal(err)
		}
		for kernel, n := range map[string]diffusion.Numbered{"ddpm": {Kernel: "ddpm", Steps: 5}, "ddim": {Kernel: "ddim", Eta: 1, Steps: 5, ToData: true}} {
			steps, err := n.Table(p)
			if err != nil {
				t.Fatal(err)
			}
			levels, _ := n.Levels(p)
			for i, want := range g.get(kernel + ".levels").I64 {
				if levels[i] != int(want) {
					t.Errorf("%s, %s: step %d is at level %d, want %d", name, kernel, i, levels[i], want)
				}
			}
			d := g.get(kernel + ".start").Shape // [paths, channels, height, width]
			x, dim := g.values(kernel+".start"), d[1]*d[2]*d[3]
			z := golden2D(g, kernel+".noise", len(steps))
			for i, st := range steps {
				out, err := program.Run(engine.Rows(x, d[2], d[3], d[1]), []float32{float32(st.T)})
				if err != nil {
					t.Fatal(err)
				}
				eps := make([]float32, len(x))
				if err := engine.Floats(eps, out[0]); err != nil {
					t.Fatal(err)
				}
				for k := range x {
					x[k] = float32(st.A*float64(x[k]) + st.K*float64(eps[k]) + st.S*float64(z[i][k]))
				}
			}
			if len(x) != d[0]*dim {
				t.Fatal(len(x))
			}
			oracle.Alike(t, name+", "+kernel, x, g.values(kernel+".end"), 5*forward) // five steps, each of which is off by forward at most
		}
	}
}

// golden2D returns the parts of a tensor [parts, n, channels, height, width] with the channels last.
func golden2D(g goldens, name string, parts int) (out [][]float32) {
	x := g.get(name)
	size := len(x.F32) / parts
	for i := range parts {
		one := goldens{g.t, g.file, map[string]checkpoint.Tensor{name: {Shape: x.Shape[1:], F32: x.F32[i*size : (i+1)*size]}}}
		out = append(out, one.values(name))
	}
	return out
}

// cifar is the configuration of google/ddpm-cifar10-32.
var cifar = UNet2D{Channels: 3, Widths: []int{128, 256, 256, 256}, Layers: 2, AttendDown: []bool{false, true, false, false}, AttendUp: []bool{false, false, true, false},
	AttendMiddle: true, Groups: 32, Epsilon: 1e-6, FreqShift: 1, Height: 32, Width: 32}

// The architecture of Ho et al. has as many parameters as its published weights.
func TestCIFAR(t *testing.T) {
	n := 0
	tensors := cifar.Tensors()
	for _, shape := range tensors {
		n += engine.Size(shape)
	}
	if n != 35_746_307 {
		t.Errorf("%d parameters, want 35 746 307", n)
	}
	for _, name := range []string{"up_blocks.2.attentions.2.to_out.0.weight", "down_blocks.1.attentions.1.group_norm.bias", "mid_block.attentions.0.to_q.bias", "up_blocks.0.resnets.0.conv_shortcut.weight"} {
		if tensors[name] == nil {
			t.Errorf("there is no %s among %d tensors", name, len(tensors))
		}
	}
	e := oracle.Open(t)
	for name, shape := range tensors { // without values: all shapes meet, and nothing is computed
		dims, _, _ := arranged(shape)
		e.Scope("/cifar").VariableWithShape(name, shapes.Make(dtypes.Float32, dims...))
	}
	picture, time := shapes.Make(dtypes.Float32, 2, 32, 32, 3), shapes.Make(dtypes.Int32, 1)
	_, err := e.Memory(func(in []*graph.Node) []*graph.Node {
		out := cifar.Apply(Modules{Scope: e.Scope("/cifar")}, in[0], in[1])
		if !slices.Equal(out.Shape().Dimensions, picture.Dimensions) {
			t.Errorf("it makes %s of %s", out.Shape(), picture)
		}
		return []*graph.Node{out}
	}, picture, time)
	if err != nil {
		t.Error(err)
	}
}

// What PyTorch itself wrote, with the names from before 2023, all beside the index, is a model as any other.
func TestEarlyFiles(t *testing.T) {
	for name, n := range map[string]int{"ddpm": 11767, "ddpm-cosine": 4789} {
		d, err := Describe(golden.Path("unconditional/"+name), "", true)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := d.Parts[0].Count(); d.Side != 8 || got != n || d.Kind != "unconditional model of pictures" || d.Schedule.Cosine != (name == "ddpm-cosine") {
			t.Errorf("%+v", d)
		}
	}
}

// All that is not computed is refused by key, value and what is supported.
func TestUnconditionalErrors(t *testing.T) {
	const u, s, i = "unet/config.json", "scheduler/scheduler_config.json", "model_index.json"
	for _, c := range []struct {
		file, key string
		value     any
		kind      error
		want      []string
	}{
		{i, "_class_name", "LDMPipeline", ErrUnsupported, []string{"LDMPipeline", "latents", "DDPMPipeline DDIMPipeline"}},
		{i, "_class_name", "StableDiffusionPipeline", ErrUnsupported, []string{"doob init textimage"}},
		{i, "unet", []string{"diffusers", "UNet2DConditionModel"}, ErrUnsupported, []string{"UNet2DConditionModel", "UNet2DModel"}},
		{u, "time_embedding_type", "fourier", ErrUnsupported, []string{"fourier", "positional"}},
		{u, "down_block_types", []string{"AttnSkipDownBlock2D", "DownBlock2D"}, ErrUnsupported, []string{"AttnSkipDownBlock2D", "DownBlock2D and AttnDownBlock2D"}},
		{u, "up_block_types", []string{"UpBlock2D"}, ErrConfig, []string{"1 blocks", "2"}},
		{u, "resnet_time_scale_shift", "scale_shift", ErrUnsupported, []string{"scale_shift", "default"}},
		{u, "downsample_padding", 2, ErrUnsupported, []string{"downsample_padding is 2", "0 1"}},
		{u, "downsample_type", "resnet", ErrUnsupported, []string{`"resnet"`, "conv"}},
		{u, "num_class_embeds", 10, ErrUnsupported, []string{"10", "class"}},
		{u, "out_channels", 2, ErrUnsupported, []string{"out_channels is 2", "variances", "in_channels, 1"}},
		{u, "attention_head_dim", 3, ErrConfig, []string{"expected an even multiple", "attention_head_dim, 3"}},
		{u, "act_fn", "gelu", ErrUnsupported, []string{"gelu", "silu"}},
		{u, "sample_size", 7, ErrConfig, []string{"sample_size is 7", "multiples of 2"}},
		{u, "sample_size", "big", ErrConfig, []string{`"big"`}},
		{s, "_class_name", "ScoreSdeVeScheduler", ErrUnsupported, []string{"ScoreSdeVeScheduler", "DDPMScheduler DDIMScheduler"}},
		{s, "beta_schedule", "sigmoid", ErrUnsupported, []string{"sigmoid", "squaredcos_cap_v2"}},
		{s, "prediction_type", "flow", ErrUnsupported, []string{"flow", "epsilon"}},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(golden.Path("unconditional/ddpm-cosine"))); err != nil {
			t.Fatal(err)
		}
		change(t, filepath.Join(dir, c.file), c.key, c.value)
		_, err := OpenUnconditional(dir)
		wantError(t, err, c.kind, append(c.want, c.key)...)
	}
	_, err := OpenUnconditional(golden.Path("unconditional/ddpm-cosine/unet"))
	wantError(t, err, ErrUnsupported, "without its noise levels", "save_pretrained")
	_, err = OpenUnconditional(t.TempDir())
	if err == nil {
		t.Error("an empty folder is a model")
	}
}
