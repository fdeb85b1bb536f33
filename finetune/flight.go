package finetune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
)

// ErrOnPolicy says that an objective would be given paths that another h than the current one has driven.
var ErrOnPolicy = errors.New("this objective needs the paths of its own current h")

// Flight are paths in flight: those of the next iterations, in their order, that an older h drives. What is carried is endpoints and weights.
//
// Which objectives are right on them? An endpoint that was drawn from P^g and weighed by log dP/dP^g (Lemma 4) is one of the tilted law with exactly its weight,
// whatever g is, and whatever has become of h since: no ratio of h to g is in it, and nothing is to be clipped. The loss (15) asks no more of its samples than
// their law, and the regulariser (17) is of the current h at the states that the loss has noised itself. So [Supervised] is right with every [Selector]; those
// that look at rewards alone tilt what they are given once more, as ever, and with staleness s take about s+1 iterations for a round of that. Theorem 5 holds for
// each batch with the h that drove it: F(P^{h^{k+1}}) ≤ F(P̃) ≤ F(P^{h^{k−s}}), so that a round of progress takes s+1 iterations here too.
//
// Objectives that watch the paths, by a [diffusion.Visitor], take gradients of what their steps were under the current h, and are refused: [VarGrad] puts ℓ = −log w,
// which is (57) at g = h only; the lean adjoint of [AdjointMatching] has its fixed point at h* on paths of h; [DPOK] and [DDPO] clip the ratio of steps
// to one near 1, and would learn nothing from the rest.
//
// To resume a run, the paths are kept and not the h that drove them. In most presets they are the smaller of the two, and need not be simulated again.
type Flight []diffusion.Paths

// simulate returns the paths of iteration k. Those of the iterations up to k+Staleness that are not in flight set off now, with the current h; none flies over the end
// of the segment, so that a restart finds none and nothing is simulated in vain. What comes from elsewhere comes when it is asked for.
func (f *FineTuning) simulate(ctx context.Context, k, to int) (diffusion.Paths, error) {
	end := min(to, k+f.Staleness+1)
	if f.Simulate != nil {
		end = k + 1
	}
	for j := k + len(f.Flight); j < end; j++ {
		paths, err := f.paths(ctx, j)
		if err != nil {
			return diffusion.Paths{}, err
		}
		f.Flight = append(f.Flight, paths)
	}
	now := f.Flight[0]
	f.Flight = slices.Delete(f.Flight, 0, 1)
	return now, nil
}

// paths simulates those of iteration k with the current h, unless they come from elsewhere.
func (f *FineTuning) paths(ctx context.Context, k int) (diffusion.Paths, error) {
	if k == 0 && f.First != nil {
		return *f.First, nil
	}
	visit := f.Objective.Visitor(f.Key.Sub("visit").At(k))
	if visit != nil && (f.Simulate != nil || f.Staleness > 0 || f.MinESS > 0) {
		return diffusion.Paths{}, fmt.Errorf("finetune: %w, and watches them on their way: %T takes no Simulate, Staleness or MinESS; the supervised loss does", ErrOnPolicy, f.Objective)
	}
	if f.Simulate != nil {
		return f.Simulate(ctx, k)
	}
	return f.Sampler.Run(ctx, f.Key.Sub("simulate").At(k), 0, f.Paths, visit)
}

// State returns the paths as tensors, by names of their own. They share memory with them.
func (f Flight) State() map[string]checkpoint.Tensor {
	out := map[string]checkpoint.Tensor{}
	for i, p := range f {
		name := func(what string) string { return fmt.Sprintf("%d/%s", i, what) }
		out[name("x")] = checkpoint.Tensor{Shape: []int{p.N, p.Dim}, F32: p.X}
		out[name("log_ratio")] = checkpoint.Tensor{Shape: []int{p.N}, F64: p.LogRatio}
		out[name("energy")] = checkpoint.Tensor{Shape: []int{p.N}, F64: p.Energy}
		out[name("step_energy")] = checkpoint.Tensor{Shape: []int{len(p.StepEnergy)}, F64: p.StepEnergy}
		if p.Given != nil {
			out[name("given")] = checkpoint.Tensor{Shape: []int{p.N, len(p.Given) / p.N}, F32: p.Given}
		}
	}
	return out
}

// FlightOf returns the paths of a state.
func FlightOf(state map[string]checkpoint.Tensor) (f Flight, err error) {
	for i := 0; ; i++ {
		of := func(what string) checkpoint.Tensor { return state[fmt.Sprintf("%d/%s", i, what)] }
		x := of("x")
		if x.Shape == nil {
			return f, nil
		}
		p := diffusion.Paths{X: x.F32, LogRatio: of("log_ratio").F64, Energy: of("energy").F64, StepEnergy: of("step_energy").F64, Given: of("given").F32}
		if len(x.Shape) == 2 {
			p.N, p.Dim = x.Shape[0], x.Shape[1]
		}
		if p.N == 0 || len(p.X) != p.N*p.Dim || len(p.LogRatio) != p.N || len(p.Energy) != p.N {
			return nil, fmt.Errorf("finetune: batch %d in flight has endpoints %v, %d log ratios and %d energies, want one of each per path: it is of another version", i, x.Shape, len(p.LogRatio), len(p.Energy))
		}
		f = append(f, p)
	}
}
