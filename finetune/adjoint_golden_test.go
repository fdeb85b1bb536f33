package finetune

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// linear is the reward ⟨gradient, x⟩.
type linear struct{ gradient []float32 }

func (r linear) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	return make([]float64, n), nil
}

func (r linear) Graph(x *graph.Node) *graph.Node {
	gradient := graph.Const(x.Graph(), engine.Rows(r.gradient, x.Shape().Dimensions[1:]...))
	return graph.ReduceSum(graph.Reshape(graph.Mul(x, gradient), x.Shape().Dimensions[0], -1), 1)
}

// On two recorded paths of a tuned and guided Stable Diffusion, of a text each, lean adjoints, losses and the gradients to the adapter are those of the
// reference libraries. There the model without guidance is fitted, to adjoints without guidance.
func TestAdjointMatchingOfStableDiffusion(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want, latents := goldenPictures(t, "objectives/adjoint-matching.safetensors"), goldenPictures(t, "trajectories/memoryless.safetensors")["latents"].F32
	process, err := diffusion.NewDiscrete(diffusion.Betas{First: 0.002, Last: 0.009, Steps: 1000})
	must(err)
	steps := diffusion.Scheme{Levels: process, Kernel: "ddim", Steps: 5}.Memoryless().Table(nil)(0)
	f, err := sd.Open(golden.Path("pipeline"))
	must(err)
	const dim, paths = 256, 2
	gradients := map[string][]float32{} // mean over the paths
	var worst float64
	for path := range paths {
		e := oracle.OpenOn(t, backend)
		texts, _, err := f.Encode(e.Scope("/texts"), e, sd.Texts{Texts: []string{"", "A green colored rabbit.", "Two roses in a vase."}})
		must(err)
		w, err := f.UNetWeights()
		must(err)
		modules, err := w.Load(e.Scope("/unet"), nil)
		must(err)
		must(w.Close())
		base := sd.Guided{UNet: f.UNet, Modules: modules, Prediction: diffusion.Epsilon, Scale: 7.5, Texts: texts, Text: path + 1}
		adapter, _, err := lora.Load(golden.Path("lora/peft"), lora.Model{UNet: f.UNet.Tensors()})
		must(err)
		h, err := htransform.NewLoRA(e, base, adapter)
		must(err)
		reward := linear{want["reward_grad"].F32[path*dim : (path+1)*dim]}
		for i := range reward.gradient {
			reward.gradient[i] *= want["reward_multiplier"].F32[0]
		}
		s := &diffusion.Sampler{Engine: e, Process: process, Steps: steps, Shape: []int{8, 8, 4}, Base: base, Batch: 1}
		o, err := NewAdjointMatching(s, h, Training{Updates: 1, Batch: 3, Optimizer: plain}, Matching{}, reward)
		must(err)
		ends := Weighted{Paths: diffusion.Paths{N: 1, Dim: dim}, LogW: []float64{0}}
		for k := range 6 {
			ends.X = latents[(k*paths+path)*dim : (k*paths+path+1)*dim]
			o.record = append(o.record, ends.X)
		}
		o.record = o.record[:5]
		pairs, err := o.adjoints(t.Context(), ends, o.choose(noise.New(1), 1))
		must(err)
		slices.SortFunc(pairs, func(a, b pair) int { return a.step - b.step })
		adjoints := want["adjoint"].F32
		for k, p := range pairs {
			worst = max(worst, oracle.Alike(t, fmt.Sprintf("adjoint of path %d at step %d", path, k), p.adjoint, adjoints[(k*paths+path)*dim:(k*paths+path+1)*dim], 1e-4))
		}
		var fitted []pair
		for _, k := range want["index"].I64 {
			fitted = append(fitted, pairs[k])
		}
		_, err = o.update(fitted)
		must(err)
		var losses []float32
		for i, root := range tensors.MustCopyFlatData[float32](o.roots.MustValue()) {
			losses = append(losses, root*root)
			worst = max(worst, oracle.Alike(t, fmt.Sprintf("loss of path %d at step %d", path, fitted[i].step), losses[i:], want["losses"].F32[i*paths+path:i*paths+path+1], 1e-4))
		}
		for _, v := range h.Parameters() {
			m := tensors.MustCopyFlatData[float32](e.Params.GetVariable("/optimizer" + v.Path() + "/m").MustValue())
			sum := gradients[v.Name()]
			if sum == nil {
				sum = make([]float32, len(m))
			}
			for i := range m {
				sum[i] += 10 * m[i] / paths // the first moment after one step is a tenth of the gradient
			}
			gradients[v.Name()] = sum
		}
	}
	compared := 0
	for name, x := range want {
		parameter, ok := strings.CutPrefix(strings.TrimSuffix(name, ".weight"), "grad.")
		if !ok {
			continue
		}
		compared++
		if strings.HasSuffix(parameter, "B") { // this B is theirs times alpha/rank = 2
			for i := range x.F32 {
				x.F32[i] /= 2
			}
		}
		worst = max(worst, oracle.Alike(t, name, gradients[parameter], x.F32, 1e-4))
	}
	if compared != len(gradients) {
		t.Errorf("%d gradients are known, of %d", compared, len(gradients))
	}
	t.Logf("off by at most %.1e of the largest entry", worst)
}
