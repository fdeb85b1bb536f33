package finetune

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// Relaxed rejection of the base law N(0.3, 0.9²) toward the reward of package oracle: the accepted law lies between the base and
// the tilted N(0.923, 0.499²), which it is where c reaches the largest weight, at rates below E[w]/max w = 0.392. The base is a
// grid of its quantiles, so that nothing here is random.
func TestRejectionMoments(t *testing.T) {
	const n = 100_000
	base := distuv.Normal{Mu: oracle.Prior.Mean, Sigma: oracle.Prior.SD}
	x, r := make([]float64, n), make([]float64, n)
	for i := range x {
		x[i] = base.Quantile((float64(i) + 0.5) / n)
		r[i] = oracle.Reward.At(x[i])
	}
	for _, c := range []struct{ rate, mean, sd, decrease float64 }{
		{0.9, 0.473, 0.763, 0.631}, {0.5, 0.883, 0.526, 1.300}, {0.3, 0.9231, 0.4992, 1.3145}, {0.1, 0.9231, 0.4992, 1.3145},
	} {
		alpha, logC, err := Relaxed{Rate{c.rate}}.Accept(0, r, nil)
		if err != nil {
			t.Fatal(err)
		}
		var mean, square, logMean, cov, f, total float64
		ell := 0.0
		for i := range x {
			ell += max(r[i], logC) / n
			total += alpha[i]
		}
		for i := range x {
			mean += alpha[i] * x[i] / total
			square += alpha[i] * x[i] * x[i] / total
			logMean += math.Log(alpha[i]) / n
			cov += alpha[i] * (max(r[i], logC) - ell) / n
			// F(P̃) − F(P) = KL(P̃‖P) − E_P̃ r + E_P r, the accepted law having density α/E[α].
			f += alpha[i]/total*(math.Log(alpha[i]*n/total)-r[i]) + r[i]/n
		}
		name := fmt.Sprintf("ρ = %g: ", c.rate)
		oracle.Near(t, name+"accepted mean", mean, c.mean, 0.004)
		oracle.Near(t, name+"accepted sd", math.Sqrt(square-mean*mean), c.sd, 0.004)
		decrease := cov*n/total + math.Log(total/n) - logMean
		oracle.Near(t, name+"decrease of F by Theorem 5", decrease, c.decrease, 0.003)
		oracle.Near(t, name+"decrease of F by definition", -f, decrease, 1e-6)
	}
}

// What is kept is drawn with probability α from the endpoints: as many and as distributed as α says.
func TestKeepDrawsByAlpha(t *testing.T) {
	const n = 20_000
	w := Weighted{Paths: diffusion.Paths{N: n, Dim: 2, X: make([]float32, 2*n)}}
	alpha := make([]float64, n)
	for i := range alpha {
		w.X[2*i], w.X[2*i+1] = float32(i), -float32(i)
		alpha[i] = float64(i) / (n - 1)
	}
	kept := w.keep(alpha, noise.New(1))
	var mean float64
	for i := 0; i < len(kept); i += 2 {
		if kept[i] != -kept[i+1] {
			t.Fatalf("kept %v: not an endpoint", kept[i:i+2])
		}
		mean += float64(kept[i]) / float64(len(kept)/2) / n
	}
	oracle.Near(t, "share kept", float64(len(kept)/2)/n, 0.5, 4*math.Sqrt(1./6/n))
	oracle.Near(t, "mean of the kept, of a triangular law", mean, 2./3, 4*math.Sqrt(1./18/(n/2)))
	again := w.keep(alpha, noise.New(1))
	if len(again) != len(kept) || again[100] != kept[100] {
		t.Error("the same key keeps other paths")
	}
	for name, all := range map[string]float64{"none": 0, "all": 1} {
		for i := range alpha {
			alpha[i] = all
		}
		oracle.Near(t, name, float64(len(w.keep(alpha, noise.New(1)))), all*2*n, 0)
	}
}

// With the rate n/N, n endpoints are kept: every path with its probability α of (14), none twice, and never one without weight.
func TestAccepted(t *testing.T) {
	const n, keys = 4, 20_000
	logW := []float64{-1, 2, -0.3, -inf, -4, 0.5, 1, -2, 0, -1.5}
	x := make([]float32, len(logW))
	for i := range x {
		x[i] = float32(i)
	}
	w := Weighted{Paths: pathsOf(x, logW...), LogW: logW}
	alpha, _, err := Relaxed{Rate{n / float64(len(logW))}}.Accept(0, logW, nil)
	if err != nil {
		t.Fatal(err)
	}
	count := make([]float64, len(logW))
	for key := range uint64(keys) {
		kept, err := w.Accepted(n, noise.New(key))
		if err != nil {
			t.Fatal(err)
		}
		if len(kept) != n || len(slices.Compact(slices.Clone(kept))) != n {
			t.Fatalf("key %d: kept %v, want %d different endpoints", key, kept, n)
		}
		for _, v := range kept {
			count[int(v)]++
		}
	}
	for i, a := range alpha {
		oracle.Near(t, fmt.Sprintf("share of the draws with path %d", i), count[i]/keys, a, 4*math.Sqrt(a*(1-a)/keys)+1e-5)
	}
	if alpha[1] < 0.999 || alpha[4] > 0.05 { // the test needs both ends of α
		t.Errorf("α is %v", alpha)
	}
	// What has no weight is left out even if something must be repeated for it.
	few := Weighted{Paths: pathsOf(x[:3], 0, 0, 0), LogW: []float64{0, -inf, -1}}
	if kept, err := few.Accepted(3, noise.New(1)); err != nil || len(kept) != 3 || slices.Contains(kept, 1) {
		t.Errorf("of three paths, two with weight: kept %v, error %v", kept, err)
	}
	if _, err := few.Accepted(4, noise.New(1)); err == nil {
		t.Error("4 of 3 paths: no error")
	}
}
