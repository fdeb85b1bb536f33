package finetune

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/metric"
)

// Certificate says how far the law P^h of paths is from the tilted law, and whether that may be believed. What is estimated is of the simulated
// chain: its log Z, and not that of the process which it discretises. And all of it holds in what the paths reach: no number here knows of
// mass that no path has visited.
type Certificate struct {
	Paths     int    `json:"paths"`
	NonFinite int    `json:"non_finite"`   // paths with weight zero
	Reward    Number `json:"reward"`       // mean r over P^h
	ESS       Number `json:"ess_fraction"` // (Σw)²/Σw² as a share of the paths, see [Certify]
	LogZ      Number `json:"log_z"`
	LogZSE    Number `json:"log_z_se"`
	LSC       Number `json:"l_sc"` // stochastic-control loss (10)
	LSCSE     Number `json:"l_sc_se"`
	KL        Number `json:"kl"` // of KL(P^h‖P_tilted)
	KLSE      Number `json:"kl_se"`
	KLBase    Number `json:"kl_base"` // KL(P^h‖P) (17), mean of ½Σ‖D‖²/s²
	KHat      Number `json:"k_hat"`   // of the weights behind log Ẑ, see [metric.ParetoShape]
	// StepEnergy [steps] says of which steps KLBase is the sum.
	StepEnergy []Number `json:"step_energy,omitempty"`
	Verdict
}

// Certify judges paths of P^h:
//
//	log Ẑ   what the pool knows after them; of a pool that is empty, log mean w
//	L_SC    mean of A + βM, with A = ½Σ‖D‖²/s² − r (10), the martingale M = Σ⟨D,z⟩/s, and the β that leaves the least variance
//	KL      L_SC + log Ẑ
//
// A + M is −log w, constant at h*, where so the error vanishes; far from it plain A is the better estimate. A batch's own log Ẑ − mean log w,
// by contrast, cannot exceed about the logarithm of its size, whatever the true KL.
//
// With base paths beside those of P^h, on which LogRatio is log dP/dP^h too, the weights behind log Ẑ are those of the defensive mixture of n
// paths of P^h and m of P, a = m/(n+m) (Hesterberg 1995):
//
//	w = exp(r) / ((1−a)·dP^h/dP + a) ≤ exp(r)/a
//
// They are bounded if r is, whatever h does, and see mass of the base law that h misses. So their ESS, over the n paths of P^h, counts where it is
// less than that of these alone, which of an h that has collapsed is 1. Where paths have weight zero, L_SC and KL are those of
// P^h given survival, with β = 1.
//
// Paths of several conditions have no common log Z: what is reported are then means over the groups that have paths of positive weight, and
// neither base paths nor pool count.
func Certify(own Weighted, base *Weighted, pool Pool) (Certificate, Pool) {
	if len(own.groups()) == 1 {
		return own.certify(base, pool, own.beta())
	}
	var c Certificate
	var logW []float64 // of every group over its mean
	var groups []Certificate
	for _, g := range own.groups() {
		part := own.part(g)
		if part.survivors() == 0 {
			c.Paths, c.NonFinite = c.Paths+part.N, c.NonFinite+part.N
			continue
		}
		of, _ := part.certify(nil, Pool{}, own.beta())
		groups = append(groups, of)
		for _, lw := range part.LogW {
			logW = append(logW, lw-float64(of.LogZ))
		}
	}
	n := Number(len(groups))
	for _, of := range groups {
		c.Paths, c.NonFinite = c.Paths+of.Paths, c.NonFinite+of.NonFinite
		for _, f := range []struct{ to, from *Number }{{&c.Reward, &of.Reward}, {&c.ESS, &of.ESS}, {&c.LogZ, &of.LogZ}, {&c.LSC, &of.LSC}, {&c.KL, &of.KL},
			{&c.KLBase, &of.KLBase}} {
			*f.to += *f.from / n
		}
		for _, f := range []struct{ to, from *Number }{{&c.LogZSE, &of.LogZSE}, {&c.LSCSE, &of.LSCSE}, {&c.KLSE, &of.KLSE}} {
			*f.to = Number(math.Hypot(float64(*f.to), float64(*f.from/n)))
		}
	}
	c.KHat, c.StepEnergy = Number(metric.ParetoShape(logW)), own.steps()
	c.judge(own.Group, len(groups))
	return c, pool
}

// Certificate is [Certify] of these paths alone.
func (w Weighted) Certificate() Certificate {
	c, _ := Certify(w, nil, Pool{})
	return c
}

// certify judges paths of one condition, not all of which have weight zero.
func (w Weighted) certify(base *Weighted, pool Pool, beta float64) (Certificate, Pool) {
	strata := [][]float64{w.LogW}
	if base != nil {
		strata = mixture(w, *base)
	}
	z := estimate(strata...)
	ess := metric.ESS(w.LogW) / float64(w.N)
	if base != nil {
		ess = min(ess, metric.ESS(slices.Concat(strata...))/float64(w.N))
	}
	pool = pool.add(z, ess)
	logZ, variance := pool.estimate()
	// What a path moves in L_SC; and in KL, where its weight makes up for it at h*.
	part := pool.part * float64(w.N) / float64(z.paths)
	var cost, moved, reward, energy []float64
	for i, lw := range w.LogW {
		if math.IsInf(lw, -1) {
			continue
		}
		a, m := w.Energy[i]-w.Reward[i], -w.LogRatio[i]-w.Energy[i]
		cost = append(cost, a+beta*m)
		moved = append(moved, a+beta*m+part*math.Exp(strata[0][i]-z.value))
		reward, energy = append(reward, w.Reward[i]), append(energy, w.Energy[i])
	}
	n := float64(len(cost))
	others := max(0, variance-pool.part*pool.part*z.parts[0]) // of log Ẑ, by other paths than these
	lsc := stat.Mean(cost, nil)
	c := Certificate{Paths: w.N, NonFinite: w.N - len(cost), Reward: Number(stat.Mean(reward, nil)), KLBase: Number(stat.Mean(energy, nil)),
		ESS: Number(ess), LogZ: Number(logZ), LogZSE: Number(math.Sqrt(variance)),
		LSC: Number(lsc), LSCSE: Number(math.Sqrt(stat.Variance(cost, nil) / n)),
		KL: Number(lsc + logZ + math.Log(float64(w.N)/n)), KLSE: Number(math.Sqrt(stat.Variance(moved, nil)/n + others)),
		KHat: Number(metric.ParetoShape(slices.Concat(strata...))), StepEnergy: w.steps()}
	c.judge(z.paths, 1)
	if pool.Batches > 1 && logZ+3*math.Sqrt(variance) < pool.Bound {
		c.Doubt(below(pool.Bound, "earlier paths of its own"))
	}
	pool.learn(c, z)
	return c, pool
}

// beta is the coefficient of M with which A + βM varies least over all paths of positive weight, within their groups; 1 where some have none,
// since M is a martingale over all paths only.
func (w Weighted) beta() float64 {
	var cov, variance float64
	for _, g := range w.groups() {
		var a, m []float64
		for i := g[0]; i < g[1]; i++ {
			if math.IsInf(w.LogW[i], -1) {
				return 1
			}
			a, m = append(a, w.Energy[i]-w.Reward[i]), append(m, -w.LogRatio[i]-w.Energy[i])
		}
		if len(a) > 1 {
			cov, variance = cov+stat.Covariance(a, m, nil), variance+stat.Variance(m, nil)
		}
	}
	if variance == 0 {
		return 1
	}
	return -cov / variance
}

// mixture returns the log weights of paths of P^h, and of base paths, under the mixture of both.
func mixture(own, base Weighted) [][]float64 {
	a := float64(base.N) / float64(own.N+base.N)
	of := func(w Weighted) []float64 {
		out := make([]float64, w.N)
		for i, lw := range w.LogW {
			if out[i] = math.Inf(-1); !math.IsInf(lw, -1) {
				out[i] = w.Reward[i] - logAdd(math.Log1p(-a)-w.LogRatio[i], math.Log(a))
			}
		}
		return out
	}
	return [][]float64{of(own), of(base)}
}

// part returns the paths of an interval.
func (w Weighted) part(g [2]int) Weighted {
	p := w.Paths
	p.N, p.LogRatio, p.Energy = g[1]-g[0], w.LogRatio[g[0]:g[1]], w.Energy[g[0]:g[1]]
	return Weighted{Paths: p, Reward: w.Reward[g[0]:g[1]], LogW: w.LogW[g[0]:g[1]]}
}

// steps returns the energies of steps as they are told.
func (w Weighted) steps() (out []Number) {
	for _, v := range w.StepEnergy {
		out = append(out, Number(v))
	}
	return out
}

// survivors returns the number of paths of positive weight.
func (w Weighted) survivors() (n int) {
	for _, lw := range w.LogW {
		if !math.IsInf(lw, -1) {
			n++
		}
	}
	return n
}
