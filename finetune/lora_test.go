package finetune

import (
	"math"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/sd"
)

// Algorithm 1 learns an adapter of a guided U-Net: the reward rises, and weighted by their path weights the paths of h say of log Z what paths of the
// base model say. The tiny U-Net is of random numbers; taken for a velocity that is nearly 0, it is a denoiser of nearly normal data, as (15) wants it.
func TestLoRALearns(t *testing.T) {
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
			v.MustSetValue(tensors.FromFlatDataAndDimensions(values, v.Shape().Dimensions...))
		}
	}
	base := sd.Guided{UNet: f.UNet, Modules: modules, Prediction: diffusion.Velocity, Scale: 2, Texts: texts}
	h, err := htransform.LoRASettings{Rank: 4}.New(e, base, noise.New(1))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := diffusion.Numbered{Kernel: "ddpm", Large: true, Offset: 1, Steps: 5}.Table(process)
	if err != nil {
		t.Fatal(err)
	}
	const side, dim, paths = 4, 4 * 4 * 4, 256
	bright := reward.Func(func(x []float32) (sum float64) {
		for _, v := range x {
			sum += float64(v)
		}
		return 12 * sum / dim
	})
	s := &diffusion.Sampler{Engine: e, Process: process, Steps: steps, Shape: []int{side, side, 4}, Base: base, Batch: paths}
	o, err := NewSupervised(s, h, Training{Updates: 20, Batch: 32, Optimizer: nn.Optimizer{LearningRate: 1e-2}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var events []Event
	tuning := &FineTuning{Sampler: s, Reward: bright, Selector: Relaxed{Rate{0.25}}, Objective: o, Buffer: &Buffer{Capacity: 128, Dim: dim},
		Iterations: 3, Paths: paths, Key: noise.New(2), Observe: func(ev Event) { events = append(events, ev) }}
	if err := tuning.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	run := func(key string) Weighted {
		p, err := s.Run(t.Context(), noise.New(3).Sub(key), 0, paths, nil)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Weigh(t.Context(), p, bright)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	learned := run("learned")
	own, first := learned.Certificate(), events[0].Certificate
	mean, se := metric.MeanSE(learned.Reward)
	if float64(first.KLBase) != 0 || !(mean-float64(first.Reward) > 4*math.Hypot(se, se)) {
		t.Errorf("reward %g ± %g from %g: want it to rise", mean, se, first.Reward)
	}
	oracle.Near(t, "log Ẑ from h", float64(own.LogZ), float64(first.LogZ), 4*math.Hypot(float64(own.LogZSE), float64(first.LogZSE)))
}
