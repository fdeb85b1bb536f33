package htransform_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// backend is that of tests that are made on XLA too, and only the one case that is, "" for all: there it takes long to compile.
var backend, only string

// latents is the shape of the tiny model's.
var latents = []int{8, 8, 4}

const latentDim = 8 * 8 * 4

// tiny is the tiny Stable Diffusion under the guidance of the goldens, and its adapter.
type tiny struct {
	guided  sd.Guided
	process *diffusion.Discrete
	model   lora.Model
}

func openTiny(t testing.TB, e *engine.Engine) tiny {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f, err := sd.Open(golden.Path("pipeline"))
	must(err)
	process, err := f.Schedule.Process()
	must(err)
	texts, _, err := f.Encode(e.Scope("/texts"), e, sd.Texts{Texts: []string{"", "A green colored rabbit.", "Two roses in a vase.", "Two dogs in the park."}})
	must(err)
	w, err := f.UNetWeights()
	must(err)
	defer w.Close()
	m, err := w.Load(e.Scope("/unet"), nil)
	must(err)
	return tiny{sd.Guided{UNet: f.UNet, Modules: m, Prediction: diffusion.Prediction(f.Schedule.Prediction), Scale: 7.5, Texts: texts}, process, lora.Model{UNet: f.UNet.Tensors()}}
}

// tuned returns the h that an adapter of testdata is, one of alpha 8 and rank 4.
func (m tiny) tuned(t testing.TB, e *engine.Engine, file string) htransform.LoRA {
	t.Helper()
	a, _, err := lora.Load(golden.Path("lora/"+file), m.model)
	if err != nil {
		t.Fatal(err)
	}
	h, err := htransform.NewLoRA(e, m.guided, a)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// with returns the base model under other guidance.
func (m tiny) with(scale float64) sd.Guided {
	m.guided.Scale = scale
	return m.guided
}

// goldens reads a file of tensors, of which pictures are [n, height, width, channels] then.
func goldens(t testing.TB, file string) map[string]checkpoint.Tensor {
	t.Helper()
	f, err := checkpoint.Load(golden.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range f.Tensors {
		d := x.Shape
		if len(d) < 4 || !slices.Equal(d[len(d)-3:], []int{4, 8, 8}) {
			continue
		}
		moved := make([]float32, len(x.F32))
		pixels := latents[0] * latents[1]
		for i := range x.F32 {
			picture, channel, pixel := i/latentDim, i%latentDim/pixels, i%pixels
			moved[picture*latentDim+pixel*latents[2]+channel] = x.F32[i]
		}
		x.F32 = moved
		f.Tensors[name] = x
	}
	return f.Tensors
}

// ofItsOwn is a condition of paths: text 1 for the first one, text 2 for the second …
var ofItsOwn = &diffusion.Condition{Shape: []int{1}, Draw: func(_ noise.Key, path int, y []float32) { y[0] = float32(path + 1) }}

// stand is a step that goes nowhere, at which a visitor may put paths elsewhere.
func stand(t float64) diffusion.Step { return diffusion.Step{T: t, Next: t, A: 1, Uncontrolled: true} }

// At all states of five recorded paths of a tuned and guided model, ε of the base model, ε_h and the log ratios are those of the reference libraries.
//
// The log ratio of a path is within 1e-4 of itself. That of a step cannot be: ε_h is a small difference of two ε, which are off by 3e-6 of their largest entry in
// float32 whoever computes them, and the ratio is a sum of terms of both signs that may cancel. diffusers in float32 is off from diffusers in float64 by
// 4e-4 to 7e-4, as its sums are ordered, of a ratio of ddim-eta1 (−0.07, of terms of 16) and by 0.1 of one of memoryless (−0.0005, of terms of 6), and by at most 8e-6 of the
// sum of the terms' sizes (testdata/ratios.py, November 2026). So that is what a step's ratio is held to, as ε is to its largest entry.
func TestLoRAPaths(t *testing.T) {
	for name, c := range map[string]struct {
		n     diffusion.Numbered
		betas diffusion.Betas
	}{
		"ddim-eta1":                    {n: diffusion.Numbered{Eta: 1, Offset: 1}},
		"ddim-eta0":                    {n: diffusion.Numbered{Offset: 1}},
		"ddim-eta0.5-set-alpha-to-one": {n: diffusion.Numbered{Eta: 0.5, Offset: 1, ToData: true}},
		"ddpm":                         {n: diffusion.Numbered{Kernel: "ddpm", Offset: 1}},
		"memoryless":                   {diffusion.Numbered{Kernel: "memoryless", Eta: 1, Spacing: "trailing"}, diffusion.Betas{First: 0.002, Last: 0.009, Steps: 1000}},
	} {
		if only != "" && name != only {
			continue
		}
		t.Run(name, func(t *testing.T) {
			e := oracle.OpenOn(t, backend)
			m := openTiny(t, e)
			h, process, path := m.tuned(t, e, "peft"), m.process, goldens(t, "trajectories/"+name+".safetensors")
			if c.betas.Steps > 0 {
				var err error
				if process, err = diffusion.NewDiscrete(c.betas); err != nil {
					t.Fatal(err)
				}
			}
			c.n.Steps = 5
			table, err := c.n.Table(process)
			if err != nil {
				t.Fatal(err)
			}
			s := &diffusion.Sampler{Engine: e, Process: process, Steps: table, Shape: latents, Base: m.guided, Control: h, Given: ofItsOwn, Batch: 2}
			if c.n.Eta == 0 && c.n.Kernel == "" { // no noise, no weight
				if _, err := s.Run(t.Context(), noise.New(1), 0, 2, nil); !errors.Is(err, diffusion.ErrNoDensity) {
					t.Errorf("err = %v, want ErrNoDensity", err)
				}
				for i := range table {
					table[i].Uncontrolled = true
				}
			}
			var steps []diffusion.Step
			for _, st := range table {
				steps = append(steps, stand(st.T), st)
			}
			s = &diffusion.Sampler{Engine: e, Process: process, Steps: steps, Shape: latents, Base: m.guided, Control: h, Given: ofItsOwn, Batch: 2}
			const size = 2 * latentDim
			// Guidance multiplies what the reference and this are off by, 2e-6, by up to 2·7.5 − 1.
			const amplified = 3e-5
			var worst, off float64
			var got, want [2]float64 // of whole paths
			wants := path["log_ratio"].F64
			if _, err := s.Run(t.Context(), noise.New(1), 0, 2, func(p *diffusion.Population) error {
				i, st := p.Index/2, p.Step
				at := func(name string) []float32 { return path[name].F32[i*size : (i+1)*size] }
				if p.Index%2 == 0 {
					copy(p.X, at("latents"))
					return nil
				}
				tuned := make([]float32, size)
				for j := range tuned {
					tuned[j] = p.Eps[j] + p.EpsH[j]
				}
				worst = max(worst, oracle.Alike(t, fmt.Sprintf("ε of the base model at step %d", i), p.Eps, at("eps_base"), amplified))
				worst = max(worst, oracle.Alike(t, fmt.Sprintf("ε of the tuned model at step %d", i), tuned, at("eps_tuned"), amplified))
				if st.Uncontrolled {
					return nil
				}
				for j := range 2 {
					var ratio, terms float64
					for k := j * latentDim; k < (j+1)*latentDim; k++ {
						d := st.K * float64(p.EpsH[k]) / st.S
						term := -d*d/2 - d*float64(at("noise")[k])
						ratio, terms = ratio+term, terms+d*d/2+math.Abs(d*float64(at("noise")[k]))
					}
					oracle.Near(t, fmt.Sprintf("log ratio of step %d, path %d", i, j), ratio, wants[0], amplified*terms)
					off = max(off, math.Abs(ratio-wants[0])/terms)
					got[j], want[j], wants = got[j]+ratio, want[j]+wants[0], wants[1:]
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if len(wants) > 0 {
				t.Fatalf("%d log ratios of steps that have a density were not compared", len(wants))
			}
			relative := 0.0
			for j, w := range want {
				oracle.Near(t, fmt.Sprintf("log ratio of path %d", j), got[j], w, 1e-4*math.Abs(w))
				if w != 0 {
					relative = max(relative, math.Abs(got[j]/w-1))
				}
			}
			t.Logf("ε off by at most %.1e of the largest entry, log ratios of steps by %.1e of their terms, of paths by %.1e of themselves", worst, off, relative)
		})
	}
}

// Five guided steps of the pipeline itself, by the base model, and by the tuned one as a model: its own adapter added to the base.
func TestGuidedSteps(t *testing.T) {
	e := oracle.OpenOn(t, backend)
	m, g := openTiny(t, e), goldens(t, "images/images.safetensors")
	steps, err := diffusion.Numbered{Offset: 1, Steps: 5}.Table(m.process)
	if err != nil {
		t.Fatal(err)
	}
	a, _, err := lora.Load(golden.Path("lora/kohya/lora.safetensors"), m.model)
	if err != nil {
		t.Fatal(err)
	}
	tuned := m.guided
	if tuned.Modules, err = tuned.Modules.Adapted(e.Scope("/adapter"), m.model.UNet, []map[string]lora.Pair{a.UNet}); err != nil {
		t.Fatal(err)
	}
	for name, base := range map[string]sd.Guided{"latents": m.guided, "lora.latents": tuned} {
		s := &diffusion.Sampler{Engine: e, Process: m.process, Steps: append([]diffusion.Step{stand(1)}, steps...), Shape: latents, Base: base, Given: ofItsOwn, Batch: 2}
		paths, err := s.Run(t.Context(), noise.New(1), 0, 2, func(p *diffusion.Population) error {
			if p.Index == 0 {
				copy(p.X, g["start"].F32)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		worst := oracle.Alike(t, name, paths.X, g[name].F32, 1e-4)
		t.Logf("%s: off by %.1e of the largest entry", name, worst)
	}
}

// One adapter in five spellings, two of which cannot hold its alpha, is the same h; so is one that was saved and read again.
func TestLoRASpellings(t *testing.T) {
	g, want := goldens(t, "unet/forward.safetensors"), goldens(t, "lora/lora.safetensors")
	shared := oracle.Open(t)
	m := openTiny(t, shared)
	m.guided.Scale = 0 // these outputs are those for the text alone
	var times []float32
	for _, level := range g["timestep"].I64 {
		times = append(times, float32(m.process.LevelTime(int(level))))
	}
	out := func(e *engine.Engine, h htransform.LoRA) []float32 {
		return oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
			s := diffusion.State{Process: m.process, X: in[0], T: in[1], Given: in[2]}.Evaluate(m.guided)
			return []*graph.Node{graph.Add(s.Eps, h.Noise(s))}
		}, engine.Rows(g["sample"].F32, latents...), times, []float32{1, 2, 3})[0]
	}
	for file, name := range map[string]string{"peft": "out", "diffusers": "out", "diffusers-no-alpha": "out_scale_1", "attn-procs": "out_scale_1", "kohya/lora.safetensors": "out"} {
		e := shared.Fork()
		h := m.tuned(t, e, file)
		got := out(e, h)
		oracle.Alike(t, file, got, want[name].F32, 1e-5)
		if file != "peft" {
			continue
		}
		a, err := h.Adapter()
		if err != nil {
			t.Fatal(err)
		}
		for _, spelling := range []lora.Spelling{lora.PEFT, lora.Diffusers, lora.Kohya} {
			file := filepath.Join(t.TempDir(), "learned.safetensors")
			if err := a.Save(file, spelling); err != nil {
				t.Fatal(err)
			}
			back, _, err := lora.Load(file, m.model)
			if err != nil {
				t.Fatal(err)
			}
			other := shared.Fork()
			again, err := htransform.NewLoRA(other, m.guided, back)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(out(other, again), got) {
				t.Errorf("saved as %s and read again, it is another h", spelling)
			}
		}
	}
}

// The loss (15), which fits the guided model or, without guidance, the conditional one, and its gradients to the adapter, also with
// blocks that are computed again.
func TestLoRAGradients(t *testing.T) {
	e := oracle.OpenOn(t, backend)
	m, g := openTiny(t, e), goldens(t, "objectives/denoising.safetensors")
	h := m.tuned(t, e, "peft")
	conditional := h
	conditional.Base.Scale = 0
	recomputed := h
	recomputed.Base.Modules.Checkpoint = true
	times := []float32{float32(m.process.LevelTime(int(g["timestep"].I64[0]))), float32(m.process.LevelTime(int(g["timestep"].I64[1])))}
	out := oracle.RunOn(t, e, func(in []*graph.Node) (out []*graph.Node) {
		for _, h := range []htransform.LoRA{h, conditional, recomputed} {
			d := diffusion.Diffuse(m.process, m.with(h.Base.Scale), in[0], in[1], in[2], in[3])
			loss, _ := d.Loss(h, false)
			out = append(out, d.X, loss)
			var nodes []*graph.Node
			for _, v := range h.Parameters() {
				nodes = append(nodes, engine.Parameter(v, loss))
			}
			out = append(out, graph.Gradient(loss, nodes...)...)
		}
		return out
	}, engine.Rows(g["x0"].F32, latents...), times, engine.Rows(g["eps"].F32, latents...), []float32{1, 2})
	var worst float64
	each := 2 + len(h.Parameters())
	for i, name := range []string{"guided", "cond", "guided"} {
		got := out[i*each:]
		oracle.Alike(t, "noised samples", got[0], g["xt"].F32, 1e-6)
		oracle.Alike(t, name+" loss", got[1], g[name+"_loss"].F32, 1e-5)
		for j, v := range h.Parameters() {
			want := slices.Clone(g[name+"_grad."+v.Name()+".weight"].F32)
			if v.Name()[len(v.Name())-1] == 'B' { // this B is theirs times alpha/rank = 2
				for k := range want {
					want[k] /= 2
				}
			}
			worst = max(worst, oracle.Alike(t, name+" gradient to "+v.Name(), got[2+j], want, 1e-4))
		}
	}
	for j, want := range out[:each] {
		if got := out[2*each+j]; !slices.Equal(got, want) {
			oracle.Alike(t, fmt.Sprintf("output %d, with blocks computed again", j), got, want, 1e-5) // their gradients are added in another order
		}
	}
	t.Logf("gradients off by at most %.1e of the largest entry", worst)
}

// A new adapter is h = 0 to the last bit, so that all path weights are 1; a step counts four rows of the network, or two without guidance.
func TestNewLoRAIsZero(t *testing.T) {
	for _, backend := range oracle.Backends() {
		for scale, calls := range map[float64]int64{7.5: 4, 0: 2} {
			e := oracle.OpenOn(t, backend)
			m := openTiny(t, e)
			m.guided.Scale = scale
			h, err := htransform.LoRASettings{Rank: 4}.New(e.Scope(htransform.Path), m.guided, noise.New(3))
			if err != nil {
				t.Fatal(err)
			}
			steps, err := diffusion.Numbered{Eta: 1, Offset: 1, Steps: 2}.Table(m.process)
			if err != nil {
				t.Fatal(err)
			}
			before := e.NetworkCalls()
			s := &diffusion.Sampler{Engine: e, Process: m.process, Steps: steps, Shape: latents, Base: m.guided, Control: h, Batch: 2}
			paths, err := s.Run(t.Context(), noise.New(1), 0, 2, func(p *diffusion.Population) error {
				if i := slices.IndexFunc(p.EpsH, func(v float32) bool { return v != 0 }); i >= 0 {
					t.Errorf("%s, guidance %g: ε_h[%d] = %g at step %d", backend, scale, i, p.EpsH[i], p.Index)
				}
				return nil
			})
			if err != nil || !slices.Equal(paths.LogRatio, []float64{0, 0}) {
				t.Errorf("%s, guidance %g: log ratios %v, %v", backend, scale, paths.LogRatio, err)
			}
			if n := e.NetworkCalls() - before; n != calls*2*2 {
				t.Errorf("%d network calls for 2 paths of 2 steps, want %d", n, calls*2*2)
			}
		}
	}
}

// Averages of the parameters are another h, and leave that of the parameters alone.
func TestLoRAWithin(t *testing.T) {
	e := oracle.Open(t)
	m := openTiny(t, e)
	h := m.tuned(t, e, "peft")
	moved := h.Within(func(s *model.Scope) *model.Scope { return e.Scope("/elsewhere" + s.Scope()) }).(htransform.LoRA)
	for _, v := range h.Parameters() {
		value, err := v.MustValue().Clone()
		if err != nil {
			t.Fatal(err)
		}
		if v.Name()[len(v.Name())-1] == 'B' {
			value = tensors.FromShape(v.Shape())
		}
		if _, err := e.Params.CreateVariable("/elsewhere"+v.Path(), value); err != nil {
			t.Fatal(err)
		}
	}
	g := goldens(t, "unet/forward.safetensors")
	out := oracle.RunOn(t, e, func(in []*graph.Node) []*graph.Node {
		s := diffusion.State{Process: m.process, X: in[0], T: in[1]}.Evaluate(m.guided)
		return []*graph.Node{h.Noise(s), moved.Noise(s)}
	}, engine.Rows(g["sample"].F32, latents...), []float32{0.5})
	zero := func(x []float32) bool { return !slices.ContainsFunc(x, func(v float32) bool { return v != 0 }) }
	if zero(out[0]) || !zero(out[1]) || len(moved.Parameters()) != len(h.Parameters()) {
		t.Errorf("h is zero: %t, and where its B are: %t; %d parameters, want %d", zero(out[0]), zero(out[1]), len(moved.Parameters()), len(h.Parameters()))
	}
}

func TestLoRAErrors(t *testing.T) {
	e := oracle.Open(t)
	m := openTiny(t, e)
	_, err := htransform.LoRASettings{}.New(e.Scope(htransform.Path), m.guided, noise.New(1))
	oracle.WantError(t, err, "rank 0")
	_, err = htransform.NewLoRA(e, m.guided, lora.Adapter{Text: map[string]lora.Pair{"encoder.layers.0.mlp.fc1": {}}})
	oracle.WantError(t, err, "1 maps of the text encoder")
	_, err = htransform.NewLoRA(e, m.guided, lora.Adapter{})
	oracle.WantError(t, err, "changes no module")
}
