package sd

import (
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
)

// prompts are the texts of the goldens, behind the empty one.
var prompts = []string{"", "A green colored rabbit.", "Two roses in a vase.", "Two dogs in the park."}

// tinyGuided returns the tiny model under the guidance of the goldens.
func tinyGuided(t testing.TB, e *engine.Engine, f *Folder) (Guided, *diffusion.Discrete) {
	t.Helper()
	p, err := f.Schedule.Process()
	if err != nil {
		t.Fatal(err)
	}
	texts, warnings, err := f.Encode(e.Scope("/texts"), e, Texts{Texts: prompts})
	if err != nil || strings.Join(warnings, "") != "" {
		t.Fatal(warnings, err)
	}
	m := loaded(t, e, nil, f.UNetWeights)
	return Guided{UNet: f.UNet, Modules: m, Prediction: diffusion.Prediction(f.Schedule.Prediction), Scale: 7.5, Texts: texts}, p
}

// The states of prompts are those of transformers, with layers left out too, and what does not fit is told.
func TestEncode(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		g := read(t, "text/encoder.safetensors")
		want := g.get("last_hidden_state").F32 // of the three texts, the empty one, and another one
		size := len(want) / 5
		want = slices.Concat(want[3*size:4*size], want[:3*size])
		long := strings.Repeat("rabbit ", 80)
		states, warnings, err := f.Encode(e.Scope("/texts"), e, Texts{Texts: append(slices.Clone(prompts), long)})
		if err != nil {
			t.Fatal(err)
		}
		got := tensors.MustCopyFlatData[float32](states.MustValue())
		oracle.Alike(t, "states", got[:4*size], want, forward)
		if len(got) != 5*size || states.Trainable || warnings[0] != "" || !strings.Contains(warnings[4], "does not see the end") {
			t.Errorf("%d numbers, to be trained %t, warnings %q", len(got), states.Trainable, warnings)
		}
		if n := e.Params.NumVariables(); n != 1 {
			t.Errorf("%d variables are left, want 1, the states", n)
		}
		skipped, _, err := f.Encode(e.Scope("/skipped"), e, Texts{Texts: prompts[1:2], Skip: 1})
		if err != nil {
			t.Fatal(err)
		}
		oracle.Alike(t, "clip skip 1", tensors.MustCopyFlatData[float32](skipped.MustValue()), g.get("clip_skip_1").F32, forward)
	})
}

// An adapter of the text encoder changes the states as a changed weight does.
func TestEncodeAdapted(t *testing.T) {
	e := oracle.Open(t)
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	const module = "encoder.layers.1.mlp.fc1"
	w := f.Text.Width
	p := lora.Pair{Rank: 1, In: w, Out: f.Text.Intermediate, Scale: 0.5, A: make([]float32, w), B: make([]float32, f.Text.Intermediate)}
	for i := range p.A {
		p.A[i] = float32(i%5) - 2
	}
	for i := range p.B {
		p.B[i] = float32(i%3) / 8
	}
	states, _, err := f.Encode(e.Scope("/texts"), e, Texts{Texts: prompts, Adapters: []map[string]lora.Pair{nil, {module: p}, {module: p}}})
	if err != nil {
		t.Fatal(err)
	}
	m := loaded(t, e, nil, f.TextWeights)
	v := m.Scope.GetVariable(module + ".weight")
	changed := tensors.MustCopyFlatData[float32](v.MustValue())
	for i, d := range p.Delta() {
		changed[i] += 2 * d
	}
	if err := v.SetValue(tensors.FromFlatDataAndDimensions(changed, p.Out, p.In)); err != nil {
		t.Fatal(err)
	}
	tokens, err := f.Tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	ids := make([][]int32, len(prompts))
	for i, text := range prompts {
		ids[i] = numbers(tokens.Encode(text))
	}
	want := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node { return []*graph.Node{f.Text.Apply(m, in[0], 0)} }, ids)[0]
	oracle.Alike(t, "states", tensors.MustCopyFlatData[float32](states.MustValue()), want, forward)
}

// At the states of a recorded path the guided prediction is that of diffusers; without guidance it is that for the text alone. Two rows are evaluated
// for every sample, or one.
func TestGuided(t *testing.T) {
	onBackends(t, func(t *testing.T, e *engine.Engine, f *Folder) {
		guided, p := tinyGuided(t, e, f)
		alone := guided
		alone.Scale = 1
		g := read(t, "trajectories/ddim-eta1.safetensors")
		var x, base []float32 // [step, path, …]
		times, texts := []float32{}, []float32{}
		const steps, dim = 5, 8 * 8 * 4
		rows := g.get("latents")
		rows.Shape, rows.F32 = []int{2 * steps, 4, 8, 8}, rows.F32[:2*steps*dim]
		x = goldens{t, g.file, map[string]checkpoint.Tensor{"x": rows}}.values("x")
		eps := g.get("eps_base")
		eps.Shape = []int{2 * steps, 4, 8, 8}
		base = goldens{t, g.file, map[string]checkpoint.Tensor{"x": eps}}.values("x")
		for i := range 2 * steps {
			times = append(times, float32(p.LevelTime(int(g.get("timestep").I64[i/2]))))
			texts = append(texts, float32(1+i%2))
		}
		calls := e.NetworkCalls()
		run := func(m Guided, x, times, texts []float32) []float32 {
			return oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
				s := diffusion.State{Process: p, X: in[0], T: in[1]}
				if texts != nil {
					s.Given = in[2]
				}
				return []*graph.Node{s.Evaluate(m).Eps}
			}, engine.Rows(x, 8, 8, 4), times, append([]float32{0}, texts...)[min(1, len(texts)):])[0]
		}
		got := run(guided, x, times, texts)
		// Guidance multiplies what the reference and this are off by, 2e-6, by up to 2·7.5 − 1.
		const amplified = 3e-5
		worst := oracle.Alike(t, "guided", got, base, amplified)
		if n := e.NetworkCalls() - calls; n != 4*steps {
			t.Errorf("%d network calls with guidance, want %d", n, 4*steps)
		}
		calls = e.NetworkCalls()
		unguided := run(alone, x[:dim], times[:1], nil)
		if n := e.NetworkCalls() - calls; n != 1 {
			t.Errorf("%d network calls without guidance, want 1", n)
		}
		// ε_c of the tuned model is recorded, that of the base model is not: take it from the U-Net.
		states := tensors.MustCopyFlatData[float32](guided.Texts.MustValue())
		width := f.Text.Positions * f.Text.Width
		want := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			return []*graph.Node{f.UNet.Apply(guided.Modules, in[0], in[1], in[2])}
		}, engine.Rows(x[:dim], 8, 8, 4), []int32{int32(g.get("timestep").I64[0])}, engine.Rows(states[width:2*width], f.Text.Positions, f.Text.Width))[0]
		worst = max(worst, oracle.Alike(t, "without guidance", unguided, want, 1e-6))
		// One time for all rows is the same as that time for each.
		one := run(guided, x[:2*dim], times[:1], texts[:2])
		oracle.Alike(t, "one time", one, got[:2*dim], amplified)
		t.Logf("off by at most %.1e of the largest entry", worst)
	})
}

// A network that says v, or x₀, is the same model as one that says ε, guided too.
func TestGuidedPredictions(t *testing.T) {
	e := oracle.Open(t)
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	m, p := tinyGuided(t, e, f)
	g := read(t, "unet/forward.safetensors")
	times := []float32{float32(p.LevelTime(1)), float32(p.LevelTime(481)), float32(p.LevelTime(981))}
	out := oracle.RunOn(t, e, func(in []*graph.Node) (out []*graph.Node) {
		s := diffusion.State{Process: p, X: in[0], T: in[1], Given: in[2]}
		for _, kind := range []diffusion.Prediction{diffusion.Epsilon, diffusion.Velocity, diffusion.Sample} {
			m := m
			m.Prediction = kind
			out = append(out, m.Noise(s))
		}
		return out
	}, g.pictures("sample"), times, []float32{1, 2, 3})
	x, dim := g.values("sample"), 8*8*4
	for i, kind := range []diffusion.Prediction{diffusion.Velocity, diffusion.Sample} {
		for row, level := range []int{1, 481, 981} {
			want := make([]float32, dim)
			a, b := kind.Noise(p.Alpha(p.LevelTime(level)), p.Sigma(p.LevelTime(level)))
			for j := range want {
				want[j] = float32(a*float64(x[row*dim+j]) + b*float64(out[0][row*dim+j]))
			}
			oracle.Alike(t, string(kind), out[1+i][row*dim:(row+1)*dim], want, forward)
		}
	}
}

func TestGuidedErrors(t *testing.T) {
	e := oracle.Open(t)
	f, err := Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	m, p := tinyGuided(t, e, f)
	one := m
	if one.Texts, _, err = f.Encode(e.Scope("/one"), e, Texts{Texts: prompts[:1]}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    Guided
		p    diffusion.Process
		want string
	}{{m, diffusion.VP{}, "want a *diffusion.Discrete"}, {one, p, "states of 1 texts"}} {
		s := diffusion.Sampler{Engine: e, Process: c.p, Steps: []diffusion.Step{{T: 0.5, A: 1, K: 1, S: 1}}, Shape: []int{8, 8, 4}, Base: c.m, Batch: 1}
		_, err := s.Run(t.Context(), noise.Key{}, 0, 1, nil)
		oracle.WantError(t, err, c.want)
	}
}
