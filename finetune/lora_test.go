package finetune

import (
	"context"
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/sd"
)

// Algorithm 1 learns an adapter of a guided U-Net: the reward rises, and weighted by their path weights the paths of h say of log Z what paths of the
// base model say. The tiny U-Net is of random numbers; taken for a velocity that is nearly 0, it is a denoiser of nearly normal data, as (15) wants it.
func TestLoRALearns(t *testing.T) {
	for name, objective := range map[string]func(*diffusion.Sampler, htransform.Learned) (Objective, error){
		"supervised": func(s *diffusion.Sampler, h htransform.Learned) (Objective, error) {
			return NewSupervised(s, h, Training{Updates: 30, Batch: 24, Optimizer: nn.Optimizer{LearningRate: 1.5e-2}}, 0)
		},
		"adjoint matching": func(s *diffusion.Sampler, h htransform.Learned) (Objective, error) {
			return NewAdjointMatching(s, h, Training{Updates: 20, Batch: 24, Optimizer: nn.Optimizer{LearningRate: 1.5e-2}}, Matching{Steps: 2, Quantile: 0.9}, brightness{})
		},
	} {
		t.Run(name, func(t *testing.T) { learnsAdapter(t, objective) })
	}
}

// brightness is 14 times the mean of a picture's numbers.
type brightness struct{}

func (brightness) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i, v := range x {
		out[i*n/len(x)] += 14 * float64(v) * float64(n) / float64(len(x))
	}
	return out, nil
}

func (brightness) Graph(x *graph.Node) *graph.Node {
	return graph.MulScalar(graph.ReduceMean(graph.Reshape(x, x.Shape().Dimensions[0], -1), 1), 14)
}

func learnsAdapter(t *testing.T, objective func(*diffusion.Sampler, htransform.Learned) (Objective, error)) {
	e := oracle.Open(t)
	f, err := sd.Open(golden.Path("pipeline"))
	if err != nil {
		t.Fatal(err)
	}
	process, err := f.Schedule.Process()
	if err != nil {
		t.Fatal(err)
	}
	texts, _, err := f.Encode(e.Scope("/texts"), e, sd.Texts{Texts: []string{"", "A green colored rabbit."}})
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
	for v := range modules.Scope.IterVariables() {
		if v.Name() == "conv_out.weight" || v.Name() == "conv_out.bias" {
			values := tensors.MustCopyFlatData[float32](v.MustValue())
			for i := range values {
				values[i] *= 0.1
			}
			if err := v.SetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...)); err != nil {
				t.Fatal(err)
			}
		}
	}
	base := sd.Guided{UNet: f.UNet, Modules: modules, Prediction: diffusion.Velocity, Scale: 2, Texts: texts}
	h, err := htransform.LoRASettings{Rank: 4}.New(e.Scope(htransform.Path), base, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := diffusion.Numbered{Kernel: "ddpm", Large: true, Offset: 1, Steps: 5}.Table(process)
	if err != nil {
		t.Fatal(err)
	}
	const side, dim, paths = 4, 4 * 4 * 4, 128
	bright := brightness{}
	sampler := func() *diffusion.Sampler {
		return &diffusion.Sampler{Engine: e, Process: process, Steps: steps, Shape: []int{side, side, 4}, Base: base, Batch: paths}
	}
	run := func(s *diffusion.Sampler) Weighted { // of the same noise
		p, err := s.Run(t.Context(), noise.New(3), 0, paths, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Weigh(t.Context(), p, bright)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	s, before := sampler(), run(sampler())
	o, err := objective(s, h)
	if err != nil {
		t.Fatal(err)
	}
	start := &before.Paths
	if _, ok := o.(*AdjointMatching); ok { // which must see its paths
		start = nil
	}
	tuning := &FineTuning{Sampler: s, Reward: bright, Selector: Relaxed{Rate{0.25}}, Objective: o, Buffer: &Buffer{Capacity: 128, Dim: dim},
		Iterations: 2, Paths: paths, Key: noise.New(2), First: start}
	if err := tuning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := run(s)
	risen := make([]float64, paths)
	for i := range risen {
		risen[i] = after.Reward[i] - before.Reward[i]
	}
	mean, se := metric.MeanSE(risen)
	first, last := before.Certificate(), after.Certificate()
	t.Logf("the reward has risen by %.2f ± %.2f; log Ẑ %.2f ± %.2f, before %.2f ± %.2f", mean, se, last.LogZ, last.LogZSE, first.LogZ, first.LogZSE)
	if !(mean > 0.4 && mean > 4*se) {
		t.Errorf("the reward has risen by %g ± %g: want much", mean, se)
	}
	oracle.Near(t, "log Ẑ from h", float64(last.LogZ), float64(first.LogZ), 4*math.Hypot(float64(last.LogZSE), float64(first.LogZSE)))
}
