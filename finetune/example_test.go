package finetune_test

import (
	"context"
	"fmt"
	"log"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/gmm"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// The data are N(1, 1) and the reward, a black box, is the log-likelihood of measuring 5 with unit noise. So the tilted
// law is the posterior N(3, ½).
func Example() {
	ctx, key := context.Background(), noise.New(1)
	e, err := engine.Open("go")
	if err != nil {
		log.Fatal(err)
	}
	data, err := gmm.Isotropic([]float64{1}, [][]float64{{1}}, 1)
	if err != nil {
		log.Fatal(err)
	}
	misfit := reward.Func(func(x []float32) float64 { return -0.5 * float64((x[0]-5)*(x[0]-5)) })

	h := htransform.RewardFree{NN1: nn.MLP{Scope: e.Scope("/h"), In: 2, Out: 1, Width: 32, Depth: 2, Timed: true}.Init(key, 0, 0)} // of x and x̂₀

	process := diffusion.VP{} // or another path from data to noise: any diffusion.Process
	sampler := &diffusion.Sampler{
		Engine:  e,
		Process: process,
		Steps:   diffusion.EulerMaruyama{}.Steps(process, diffusion.Times(24, 2)),
		Shape:   []int{1},
		Base:    diffusion.Mixture{Density: data}, // or a network: any diffusion.Model
	}
	objective, err := finetune.NewSupervised(sampler, h, // from here on the sampler is guided by h
		finetune.Training{Updates: 50, Batch: 128, Optimizer: nn.Optimizer{LearningRate: 3e-3}, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}}, 0)
	if err != nil {
		log.Fatal(err)
	}
	mean := func() (sum float64) {
		paths, err := sampler.Run(ctx, key.Sub("mean"), 0, 2000, nil)
		if err != nil {
			log.Fatal(err)
		}
		for _, x := range paths.X {
			sum += float64(x)
		}
		return sum / float64(paths.N)
	}

	fmt.Printf("base model: mean %.0f\n", mean())
	err = (&finetune.FineTuning{
		Sampler:    sampler,
		Reward:     misfit,
		Selector:   finetune.Relaxed{Rate: finetune.Rate{0.3}},
		Objective:  objective,
		Buffer:     &finetune.Buffer{Capacity: 2048, Dim: 1},
		Iterations: 8,
		Paths:      1024,
		Key:        key,
	}).Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("fine-tuned: mean %.0f\n", mean())
	// Output:
	// base model: mean 1
	// fine-tuned: mean 3
}
