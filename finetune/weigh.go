package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// ErrNoWeight says that every path has weight zero, so that nothing can be kept and nothing estimated.
var ErrNoWeight = errors.New("every path weight is zero")

// Weighted are simulated paths with their rewards and log importance weights (12), log w = r(x_0) + log dP/dP^h.
// A path whose simulation diverged has log w = −∞.
type Weighted struct {
	diffusion.Paths
	Reward []float64 // [N]
	LogW   []float64 // [N], finite or −∞
}

// Weigh evaluates the reward on all endpoints. Errors wrap [reward.ErrInvalid] and [ErrNoWeight].
func Weigh(ctx context.Context, paths diffusion.Paths, r reward.Reward) (Weighted, error) {
	rewards, err := reward.Evaluate(ctx, r, paths.X, paths.N)
	if err != nil {
		return Weighted{}, err
	}
	w := Weighted{Paths: paths, Reward: rewards, LogW: make([]float64, paths.N)}
	alive := false
	for i, r := range rewards {
		w.LogW[i] = r + paths.LogRatio[i]
		if math.IsNaN(w.LogW[i]) || math.IsInf(w.LogW[i], 1) {
			w.LogW[i] = math.Inf(-1)
		}
		alive = alive || !math.IsInf(w.LogW[i], -1)
	}
	if !alive {
		return Weighted{}, fmt.Errorf("%w: all %d log weights are −∞ or not finite", ErrNoWeight, paths.N)
	}
	return w, nil
}

// keep draws u ~ U(0,1) for every path and returns the endpoints of those with u < α.
func (w Weighted) keep(alpha []float64, key noise.Key) []float32 {
	var kept []float32
	for i, a := range alpha {
		if key.Uniform(uint64(i), 0) < a {
			kept = append(kept, w.X[i*w.Dim:(i+1)*w.Dim]...)
		}
	}
	return kept
}

// Number is a float64 that JSON can carry: values that are not finite are written as null.
type Number float64

// MarshalJSON implements json.Marshaler.
func (n Number) MarshalJSON() ([]byte, error) {
	if v := float64(n); !math.IsNaN(v) && !math.IsInf(v, 0) {
		return strconv.AppendFloat(nil, v, 'g', -1, 64), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON implements json.Unmarshaler: null is NaN.
func (n *Number) UnmarshalJSON(text []byte) error {
	if string(text) == "null" {
		*n = Number(math.NaN())
		return nil
	}
	v, err := strconv.ParseFloat(string(text), 64)
	*n = Number(v)
	return err
}

// Diagnostics are the estimates that path weights give for free.
type Diagnostics struct {
	Paths     int    `json:"paths"`
	NonFinite int    `json:"non_finite"` // paths with weight zero
	Reward    Number `json:"reward"`     // mean r over P^h
	ESS       Number `json:"ess"`        // (Σw)²/Σw² as a share of the paths
	LogZ      Number `json:"log_z"`      // log mean w, an estimate of log Z
	LSC       Number `json:"l_sc"`       // stochastic-control loss (10), mean of ½Σ‖D‖²/s² − r
	KL        Number `json:"kl"`         // of KL(P^h‖P_tilted)
	KLBase    Number `json:"kl_base"`    // KL(P^h‖P) (17), mean of ½Σ‖D‖²/s²
}

// Diagnostics estimates how far P^h is from the tilted path law. KL(P^h‖P_tilted) = L_SC + log Z (10) is estimated as
// log Ẑ − mean log w: the same expectation, because −log w differs from the integrand of L_SC by a martingale, but never
// negative, and free of variance at h*. All means are over the paths of positive weight, so KL is that of P^h given survival.
func (w Weighted) Diagnostics() Diagnostics {
	d := Diagnostics{Paths: w.N}
	var r, logW, energy, n float64
	for i, lw := range w.LogW {
		if math.IsInf(lw, -1) {
			d.NonFinite++
			continue
		}
		n++
		r, logW, energy = r+w.Reward[i], logW+lw, energy+w.Energy[i]
	}
	logZ := metric.LogMeanExp(w.LogW)
	d.Reward, d.ESS, d.LogZ = Number(r/n), Number(metric.ESS(w.LogW)/float64(w.N)), Number(logZ)
	d.KLBase, d.LSC, d.KL = Number(energy/n), Number((energy-r)/n), Number(logZ+math.Log(float64(w.N)/n)-logW/n)
	return d
}
