package finetune

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/steer"
)

// weights are paths with the given ½Σ‖D‖²/s², martingales and rewards, and the log ratios and weights that follow.
func weights(energy, martingale, reward []float64, group int) Weighted {
	n := len(energy)
	w := Weighted{Paths: diffusion.Paths{N: n, Dim: 1, X: make([]float32, n), Energy: energy, LogRatio: make([]float64, n)}, Reward: reward,
		LogW: make([]float64, n), Group: group}
	for i := range energy {
		w.LogRatio[i] = -energy[i] - martingale[i]
		w.LogW[i] = reward[i] + w.LogRatio[i]
	}
	return w
}

// All parts by hand.
func TestCertificate(t *testing.T) {
	w := weights([]float64{1, 3, 2, 2}, []float64{0.5, -1, 1, -0.5}, []float64{2, 4, -1, 0}, 0)
	c := w.Certificate()
	cost, m := []float64{-1, -1, 3, 2}, []float64{0.5, -1, 1, -0.5}
	// mean A 0.75, mean M 0; cov(A,M) = (−0.5+1+3−1)/3, var M = 2.5/3
	beta := -2.5 / 2.5
	var mean, square float64
	for i := range cost {
		v := cost[i] + beta*m[i]
		mean, square = mean+v/4, square+v*v/4
	}
	logW := []float64{0.5, 2, -4, -1.5}
	var sum, squares float64
	for _, lw := range logW {
		sum, squares = sum+math.Exp(lw)/4, squares+math.Exp(2*lw)/4
	}
	oracle.Near(t, "mean reward", c.Reward, 1.25, 1e-12)
	oracle.Near(t, "KL(P^h‖P)", c.KLBase, 2, 1e-12)
	oracle.Near(t, "L_SC", c.LSC, mean, 1e-12)
	oracle.Near(t, "its error", c.LSCSE, math.Sqrt((square-mean*mean)/3), 1e-12)
	oracle.Near(t, "log Ẑ", c.LogZ, math.Log(sum), 1e-12)
	oracle.Near(t, "its error", c.LogZSE, math.Sqrt((squares/(sum*sum)-1)/3), 1e-12)
	oracle.Near(t, "ESS", c.ESS, sum*sum/squares, 1e-12)
	oracle.Near(t, "KL", c.KL, mean+math.Log(sum), 1e-12)
	var moved float64
	for i := range cost {
		d := cost[i] + beta*m[i] - mean + math.Exp(logW[i])/sum - 1
		moved += d * d / 3 / 4
	}
	oracle.Near(t, "error of KL", c.KLSE, math.Sqrt(moved), 1e-12)
	if c.Paths != 4 || c.NonFinite != 0 || !math.IsNaN(float64(c.KHat)) || c.Reliable {
		t.Errorf("certificate is %+v", c)
	}

	// Where a path is lost, β is 1, and KL that of P^h given survival: log Ẑ − log P(survival) − mean log w over the others.
	w.Reward[3], w.LogW[3] = -inf, -inf
	c = w.Certificate()
	logZ := math.Log((math.Exp(0.5) + math.Exp(2) + math.Exp(-4)) / 4)
	oracle.Near(t, "L_SC given survival", c.LSC, 1.5/3, 1e-12)
	oracle.Near(t, "KL given survival", c.KL, logZ-math.Log(3./4)+1.5/3, 1e-12)
	oracle.Near(t, "mean reward given survival", c.Reward, 5./3, 1e-12)
	if c.NonFinite != 1 {
		t.Errorf("%d lost paths, want 1", c.NonFinite)
	}
}

// With equal weights nothing is left to say: whatever A and M are, KL is 0 and has no error.
func TestCertificateAtTheOptimum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 60).Draw(t, "n")
		energy, martingale, reward := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range energy {
			energy[i], martingale[i] = rapid.Float64Range(0, 9).Draw(t, "energy"), rapid.Float64Range(-3, 3).Draw(t, "martingale")
			reward[i] = -2 + energy[i] + martingale[i]
		}
		c := weights(energy, martingale, reward, 0).Certificate()
		oracle.Near(t, "KL", c.KL, 0, 1e-6)
		oracle.Near(t, "its error", c.KLSE, 0, 1e-6)
		oracle.Near(t, "log Ẑ", c.LogZ, -2, 1e-9)
		oracle.Near(t, "its error", c.LogZSE, 0, 1e-6)
		oracle.Near(t, "ESS", c.ESS, 1, 1e-9)
	})
}

// Of several conditions, everything is the mean over the groups with positive weights, of numbers that each group would have alone; only β is
// that of all paths.
func TestCertificateOfGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size, n := rapid.IntRange(2, 30).Draw(t, "size"), rapid.IntRange(2, 5).Draw(t, "groups")
		r := noise.New(rapid.Uint64().Draw(t, "seed")).Rand()
		var energy, martingale, reward []float64
		for range size * n {
			energy, martingale, reward = append(energy, r.ExpFloat64()), append(martingale, r.NormFloat64()), append(reward, r.NormFloat64())
		}
		w := weights(energy, martingale, reward, size)
		c := w.Certificate()
		var ess, logZ, variance, lsc, kl float64
		for g := range n {
			logW := w.LogW[g*size : (g+1)*size]
			ess, logZ = ess+metric.ESS(logW)/float64(size*n), logZ+metric.LogMeanExp(logW)/float64(n)
			variance += (float64(size)/metric.ESS(logW) - 1) / float64(size-1) / float64(n*n)
		}
		var cost, m []float64
		for i := range energy {
			cost, m = append(cost, energy[i]-reward[i]), append(m, martingale[i])
		}
		for i := range cost {
			lsc += (cost[i] + w.beta()*m[i]) / float64(len(cost))
		}
		kl = lsc + logZ
		oracle.Near(t, "ESS", c.ESS, ess, 1e-9)
		oracle.Near(t, "log Ẑ", c.LogZ, logZ, 1e-9)
		oracle.Near(t, "its error", c.LogZSE, math.Sqrt(variance), 1e-9)
		oracle.Near(t, "L_SC", c.LSC, lsc, 1e-9)
		oracle.Near(t, "KL", c.KL, kl, 1e-9)
		// A factor of the weights of one group shows in log Ẑ and L_SC only.
		for i := range size {
			w.LogW[i], w.Reward[i] = w.LogW[i]+30, w.Reward[i]+30
		}
		moved := w.Certificate()
		oracle.Near(t, "ESS of other weights", moved.ESS, float64(c.ESS), 1e-9)
		oracle.Near(t, "KL of other weights", moved.KL, float64(c.KL), 1e-9)
		oracle.Near(t, "log Ẑ of other weights", moved.LogZ, float64(c.LogZ)+30/float64(n), 1e-9)
		// A group of which nothing is left counts for nothing but the paths that it lost.
		lost := slices.Repeat([]float64{-inf}, size)
		dead := weights(append(energy, make([]float64, size)...), append(martingale, make([]float64, size)...), append(slices.Clone(w.Reward), lost...), size).Certificate()
		if dead.NonFinite != size || dead.Paths != size*(n+1) {
			t.Errorf("%d of %d paths lost, want %d", dead.NonFinite, dead.Paths, size)
		}
		oracle.Near(t, "log Ẑ of the others", dead.LogZ, float64(moved.LogZ), 1e-9)
	})
}

// The pool is what its comment says, and goes through its state.
func TestPool(t *testing.T) {
	batches := []Weighted{grouped([]float64{0, 1, 2, -1}, 0), grouped([]float64{1, 1, 0.5}, 0), grouped([]float64{-3, 4, 0, 0, 0}, 0)}
	var pool Pool
	var last Certificate
	for _, w := range batches {
		last, pool = Certify(w, nil, PoolOf(pool.State()))
	}
	ess := func(w Weighted) float64 { return metric.ESS(w.LogW) / float64(w.N) }
	c := []float64{4 * ess(batches[1]), 3 * ess(batches[0]), 5 * ess(batches[1])}
	var sum, weight, spread float64
	for j, w := range batches {
		z, n := math.Exp(metric.LogMeanExp(w.LogW)), float64(w.N)
		sum, weight = sum+c[j]*z, weight+c[j]
		spread += c[j] * c[j] * z * z * (1/ess(w) - 1) / (n - 1)
	}
	oracle.Near(t, "log Ẑ", last.LogZ, math.Log(sum/weight), 1e-12)
	oracle.Near(t, "its error", last.LogZSE, math.Sqrt(spread)/sum, 1e-12)
	oracle.Near(t, "KL", last.KL, float64(last.LSC)+math.Log(sum/weight), 1e-12)
	equal := grouped(make([]float64, 9), 0) // without error
	a, pool := Certify(equal, nil, Pool{})
	b, _ := Certify(equal, nil, pool)
	if a.LogZ != 0 || math.Abs(float64(b.LogZ)) > 1e-12 || a.LogZSE != 0 || b.LogZSE != 0 {
		t.Errorf("certificates of equal weights are %+v and %+v", a, b)
	}
}

// The weights of the mixture are those of its comment, and no larger than exp(r)/a.
func TestMixture(t *testing.T) {
	own, base := weights([]float64{1, 2}, []float64{1, -2}, []float64{0.5, 0}, 0), weights([]float64{700, 1}, []float64{200, 0}, []float64{0.2, -inf}, 0)
	got := mixture(own, base)
	for i, w := range []float64{math.Exp(0.5) / (0.5*math.Exp(2) + 0.5), 2 / (math.Exp(0) + 1)} {
		oracle.Near(t, "log weight", got[0][i], math.Log(w), 1e-12)
	}
	if !math.IsInf(got[1][1], -1) {
		t.Errorf("a lost path has the log weight %g", got[1][1])
	}
	oracle.Near(t, "log weight of a path that h would take e⁹⁰⁰ times as often", got[1][0], 0.2+math.Log(2)-900, 1e-9)
	w := weights([]float64{0}, []float64{900}, []float64{3}, 0)
	w.LogRatio[0] = 900
	oracle.Near(t, "log weight of a path that h never takes", mixture(own, w)[1][0], 3+math.Log(3), 1e-9)
}

// affine is a chain whose law stays normal: the data are oracle.Prior, and h is a multiple of h*. All is known by recursion.
type affine struct {
	problem
	steps []diffusion.Step
	scale float64
}

func (a affine) truth() (logZ, kl float64) {
	base, mean, variance, energy := oracle.Gaussian{SD: 1}, 0.0, 1.0, 0.0
	for _, st := range a.steps {
		alpha, sigma := diffusion.VP{}.Alpha(st.T), diffusion.VP{}.Sigma(st.T)
		p, q := oracle.Prior.Diffuse(alpha, sigma), oracle.Tilted.Diffuse(alpha, sigma)
		slope, at := sigma/(p.SD*p.SD), -sigma*p.Mean/(p.SD*p.SD) // ε_θ = slope·x + at
		pull := a.scale * st.K * sigma * (1/(q.SD*q.SD) - 1/(p.SD*p.SD))
		push := a.scale * st.K * sigma * (p.Mean/(p.SD*p.SD) - q.Mean/(q.SD*q.SD)) // D = pull·x + push
		energy += (pull*pull*variance + (pull*mean+push)*(pull*mean+push)) / (2 * st.S * st.S)
		base = oracle.Gaussian{Mean: (st.A+st.K*slope)*base.Mean + st.K*at, SD: math.Hypot((st.A+st.K*slope)*base.SD, st.S)}
		to := st.A + st.K*slope + pull
		mean, variance = to*mean+st.K*at+push, to*to*variance+st.S*st.S
	}
	logZ = oracle.Reward.LogZ(base) + a.logZ - oracle.Reward.LogZ(oracle.Prior) // the reward is a density
	d := mean - oracle.Reward.Goal
	r := -(d*d+variance)/(2*oracle.Reward.Width*oracle.Reward.Width) + a.logZ - oracle.Reward.LogZ(oracle.Prior)
	return logZ, energy - r + logZ
}

// runs returns what certifies n paths with base paths beside them, after a smaller batch.
func (a affine) runs(t *testing.T, n int) func(key noise.Key) Certificate {
	t.Helper()
	e := oracle.Open(t)
	sampler := func(drive diffusion.Control) *diffusion.Sampler {
		return &diffusion.Sampler{Engine: e, Steps: a.steps, Shape: []int{1}, Base: a.base(), Control: steer.Amplified{Control: a.optimum(), Scale: a.scale}, Drive: drive}
	}
	guided, driven := sampler(nil), sampler(diffusion.Uncontrolled{})
	return func(key noise.Key) Certificate {
		_, pool := Certify(a.weighted(t, guided, key.Sub("first"), n/4, nil), nil, Pool{})
		base := a.weighted(t, driven, key.Sub("base"), n/9, nil)
		c, _ := Certify(a.weighted(t, guided, key.Sub("own"), n, nil), &base, pool)
		return c
	}
}

// Of healthy runs log Ẑ is within three errors of the chain's log Z, and KL within two errors of the chain's or a tenth: all but one in twenty.
func TestCertificateOfHealthyRuns(t *testing.T) {
	total, near, nearKL, reliable := 0, 0, 0, 0
	for i, steps := range [][]diffusion.Step{diffusion.EulerMaruyama{}.Steps(nil, diffusion.Times(8, 2)), diffusion.EulerMaruyama{}.Steps(nil, diffusion.Times(32, 2)),
		diffusion.DDPM{}.Steps(nil, diffusion.Times(8, 2))} {
		for j, scale := range []float64{0, 0.5, 1, 1.3} {
			a := affine{gaussians(t), steps, scale}
			logZ, kl := a.truth()
			run, off := a.runs(t, 800), 0
			for seed := range 20 {
				c := run(noise.New(uint64(100*(4*i+j) + seed)))
				total++
				if math.Abs(float64(c.LogZ)-logZ) <= 3*float64(c.LogZSE) {
					near++
				}
				if d := math.Abs(float64(c.KL) - kl); d <= max(0.1*kl, 2*float64(c.KLSE)) {
					nearKL++
				} else {
					off++
				}
				if c.Reliable {
					reliable++
				}
			}
			if off > 4 { // of 20 with a probability of 0.05 each, more than 4 in 0.3 % of the cases
				t.Errorf("%d steps, %g·h*: KL is off in %d of 20 runs", len(steps), scale, off)
			}
		}
	}
	t.Logf("of %d runs log Ẑ is near in %d, KL in %d, and %d are called reliable", total, near, nearKL, reliable)
	// Two errors hold 95.4 % of a normal law: of so few runs, 95 % less two standard errors.
	least := 0.95*float64(total) - 2*math.Sqrt(0.95*0.05*float64(total))
	if float64(near) < 0.95*float64(total) || float64(nearKL) < least || float64(reliable) < 0.95*float64(total) {
		t.Errorf("of %d runs log Ẑ is near in %d, KL in %d, and %d are called reliable", total, near, nearKL, reliable)
	}
}

// A dozen methods may not accuse each other: of families whose estimates are all right, hardly one has an outlier that lifts the bound over another one.
func TestFamilyOfBounds(t *testing.T) {
	const families, size = 20_000, 12
	r := noise.New(3).Rand()
	accused := func(many int) (n float64) {
		for range families {
			all := make([]Certificate, size)
			for i := range all {
				se := 0.01 * float64(i) / size // that of the first knows log Z
				all[i] = Certificate{Paths: 1000, LogZ: Number(se * r.NormFloat64()), LogZSE: Number(se), Verdict: Verdict{Reliable: true}}
			}
			best := slices.MaxFunc(all, func(a, b Certificate) int { return cmp.Compare(a.Bound(many), b.Bound(many)) })
			if slices.ContainsFunc(all, func(c Certificate) bool { return !c.Against(best, "the best", many).Reliable }) {
				n++
			}
		}
		return n / families
	}
	one := distuv.UnitNormal.CDF(-3)
	bound := 2*one + 3*math.Sqrt(2*one/families) // above its own bound, or below
	if got := accused(size); got > bound {
		t.Errorf("of %d healthy families %.4f have a method that is accused, want at most %.4f", families, got, bound)
	}
	if got := accused(1); got < 2*bound {
		t.Errorf("with three errors only %.4f are accused: the test shows nothing", got)
	}
}

// What the issue began with: with a true KL above log n, a batch's log Ẑ − mean log w cannot say so, and L_SC with a log Z that is known does.
func TestKLBeyondTheLogarithmOfThePaths(t *testing.T) {
	short := 0
	for _, kl := range []float64{8, 12, 16, 24} {
		n, r := 192, noise.New(uint64(kl)).Rand()
		energy, martingale, reward := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range energy { // normal log weights: mean −KL, variance 2·KL, so that E w = 1
			martingale[i] = 0
			reward[i] = -kl + math.Sqrt(2*kl)*r.NormFloat64()
		}
		own := weights(energy, martingale, reward, 0).Certificate()
		known := Certificate{Paths: 1000, LogZ: 0.01, LogZSE: 0.02, Verdict: Verdict{Reliable: true, KLReliable: true, Reason: Reaches}}
		got := own.Against(known, "another", 2)
		oracle.Near(t, fmt.Sprintf("KL %g, with log Z", kl), got.KL, kl, 3*math.Sqrt(2*kl/float64(n))+0.02)
		if own.Reliable || own.KLReliable || !got.KLReliable || got.Reliable {
			t.Errorf("KL %g: verdicts are %+v alone and %+v with log Z", kl, own.Verdict, got.Verdict)
		}
		if float64(own.KL) < kl-2 {
			short++
		}
		oracle.Near(t, "KL against the same again", got.Against(known, "another", 2).KL, float64(got.KL), 1e-12)
	}
	if short < 3 {
		t.Errorf("alone, KL is short by two nats only %d times: the test shows nothing", short)
	}
}
