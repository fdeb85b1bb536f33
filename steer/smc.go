package steer

import (
	"context"
	"math"
	"slices"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// SMC is sequential Monte Carlo over the sampling chain. The sampler's control is the proposal and its Twist is ψ_t; the
// particles' log weights between two resamplings are
//
//	log w = Σ log dP/dP^h per step + log ψ_t(x_t) − log ψ(x at the last resampling)
//
// with exp r in place of ψ at the end, so the particles are exact as their number grows, whatever proposal and twist.
//
//   - Twisted diffusion sampler (Wu et al. 2023): control [Twisted], twist r(x̂₀).
//   - Feynman–Kac steering (Singhal et al. 2025): no control, twist r(x̂₀), whose differences are the potentials.
//   - With a fine-tuned control: no twist. Its own path ratio is then the twist it implies, under which intermediate
//     weights are constant where h is exact, and all correction is left to the last resampling.
type SMC struct {
	Sampler *diffusion.Sampler
	Reward  reward.Reward
	// Threshold is the effective share of the particles below which they are resampled; 0 means 0.5.
	Threshold float64
}

// Particles are the result of sequential Monte Carlo: weighted endpoints.
type Particles struct {
	diffusion.Paths
	LogW        []float64 // since the last resampling [N]
	LogZ        float64   // log Ẑ, an estimate of log Z whose exponential is unbiased
	Resamplings int
	// LogAncestors are the weights by the particles of the start that the final ones descend from [N]: log of Ẑ·N times the share of the final
	// weight that is theirs, −∞ for those without descendants. Their mean is Ẑ, and as if they were independent, their spread over √N
	// estimates its error (Lee & Whiteley, "Variance estimation in the particle filter", 2018, up to factors 1 + O(1/N)).
	LogAncestors []float64
}

// Run simulates n particles.
func (s SMC) Run(ctx context.Context, key noise.Key, n int) (Particles, error) {
	threshold := s.Threshold
	if threshold == 0 {
		threshold = 0.5
	}
	out := Particles{LogW: make([]float64, n)}
	// base is what LogRatio + LogTwist of a particle was when it was last resampled, and so must not count again.
	base, ancestors := make([]float64, n), make([]int, n)
	for i := range ancestors {
		ancestors[i] = i
	}
	uniform := key.Sub("resample")
	visitor := func(p *diffusion.Population) error {
		for i := range base {
			out.LogW[i] = weight(p.LogRatio[i]+p.LogTwist[i], base[i])
		}
		if metric.ESS(out.LogW) >= threshold*float64(n) {
			return nil
		}
		out.LogZ += metric.LogMeanExp(out.LogW)
		out.Resamplings++
		parents, old := Systematic(out.LogW, uniform.Uniform(0, uint32(p.Index)), n), slices.Clone(ancestors)
		p.Resample(parents)
		for i := range base {
			ancestors[i] = old[parents[i]]
			base[i] = p.LogRatio[i] + p.LogTwist[i]
		}
		return nil
	}
	if s.Sampler.Twist == nil {
		visitor = nil
	}
	paths, err := s.Sampler.Run(ctx, key.Sub("paths"), 0, n, visitor)
	if err != nil {
		return Particles{}, err
	}
	rewards, err := reward.Evaluate(ctx, s.Reward, paths.X, paths.Given, n)
	if err != nil {
		return Particles{}, err
	}
	for i, r := range rewards {
		out.LogW[i] = weight(paths.LogRatio[i]+r, base[i])
	}
	out.Paths = paths
	last := metric.LogMeanExp(out.LogW)
	out.LogZ += last
	share := make([]float64, n) // of Ẑ·N
	for i, lw := range out.LogW {
		share[ancestors[i]] += math.Exp(lw - last)
	}
	for _, s := range share {
		out.LogAncestors = append(out.LogAncestors, out.LogZ+math.Log(s))
	}
	return out, nil
}

// weight returns total − base, and −∞ for particles that diverged.
func weight(total, base float64) float64 {
	if w := total - base; !math.IsNaN(w) && !math.IsInf(w, 1) {
		return w
	}
	return math.Inf(-1)
}

// Resample returns n unweighted endpoints, row-major, by systematic resampling.
func (p Particles) Resample(n int, key noise.Key) []float32 {
	out := make([]float32, 0, n*p.Dim)
	for _, a := range Systematic(p.LogW, key.Uniform(0, 0), n) {
		out = append(out, p.X[a*p.Dim:(a+1)*p.Dim]...)
	}
	return out
}

// Systematic returns n ancestors, sorted, such that path i appears ⌊n·w_i⌋ or ⌈n·w_i⌉ times for normalised weights w,
// and n·w_i times on average over u ~ U(0,1) (Kitagawa 1996). All weights −∞ count as equal.
func Systematic(logW []float64, u float64, n int) []int {
	norm := metric.LogMeanExp(logW) + math.Log(float64(len(logW)))
	out := make([]int, 0, n)
	var cumulative float64
	last := len(logW) - 1
	for i, lw := range logW {
		if !math.IsInf(lw, -1) {
			last = i
		}
		if math.IsInf(norm, -1) {
			cumulative += float64(n) / float64(len(logW))
		} else {
			cumulative += float64(n) * math.Exp(lw-norm)
		}
		for len(out) < n && float64(len(out))+u < cumulative {
			out = append(out, i)
		}
	}
	for len(out) < n { // rounding of the last cumulative weight
		out = append(out, last)
	}
	return out
}
