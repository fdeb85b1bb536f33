package main

import (
	"context"
	"math"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// weighing says what becomes of the ratio ρ = dP^h/dP^g between the h that learns, the current one, and the older g that has driven the paths. The weight of a path is
//
//	w = exp(r) · dP/dP^h · clip(ρ, low, high)
//
// Without clipping this is exp(r)·dP/dP^g, the weight under the path's own h, which package finetune has without knowing ρ. With low = high = 1 the paths are taken for
// those of the current h; policy gradients of the kind of PPO clip ρ to [0.8, 1.2].
type weighing struct {
	name      string
	low, high float64
}

var own, clipped, ignored = weighing{"own h", 0, math.Inf(1)}, weighing{"clipped", 0.8, 1.2}, weighing{"ignored", 1, 1}

// weighed returns what simulates for a run, with the h of its Staleness iterations before, and weighs as is said. Of a path it needs the log ratios of two h.
func (t toy) weighed(e *engine.Engine, now diffusion.Control, w weighing, f *finetune.FineTuning) func(context.Context, int) (diffusion.Paths, error) {
	old := t.control(e, "/old", noise.New(0))
	driven, followed := t.sampler(e, old, nil), t.sampler(e, now, old)
	var versions []map[string]checkpoint.Tensor
	return func(ctx context.Context, k int) (diffusion.Paths, error) {
		current, err := nn.State(e, nn.Averaged("/h"))
		if err != nil {
			return diffusion.Paths{}, err
		}
		version := map[string]checkpoint.Tensor{}
		for name, v := range current {
			version["old"+strings.TrimPrefix(name, "ema/h")] = v
		}
		versions = append(versions, version)
		if err := nn.Restore(e, versions[max(0, k-f.Staleness)], "/old"); err != nil {
			return diffusion.Paths{}, err
		}
		key := f.Key.Sub("simulate").At(k)
		paths, err := followed.Run(ctx, key, 0, f.Paths, nil)
		if err != nil || w.low == w.high { // then ρ does not matter
			return paths, err
		}
		under, err := driven.Run(ctx, key, 0, f.Paths, nil)
		if err != nil {
			return diffusion.Paths{}, err
		}
		for i, l := range paths.LogRatio {
			paths.LogRatio[i] = l + min(max(under.LogRatio[i]-l, math.Log(w.low)), math.Log(w.high))
		}
		return paths, nil
	}
}
