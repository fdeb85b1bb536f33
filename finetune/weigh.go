package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
)

// ErrNoWeight says that every path has weight zero, so that nothing can be kept and nothing estimated.
var ErrNoWeight = errors.New("every path weight is zero")

// Weighted are simulated paths with their rewards and log importance weights (12), log w = r(x_0) + log dP/dP^h.
// A path whose simulation diverged has log w = −∞.
type Weighted struct {
	diffusion.Paths
	Reward []float64 // [N]
	LogW   []float64 // [N], finite or −∞
	// Group is the number of consecutive paths that share a condition, and so a law to sample; 0 means all.
	Group int
}

// groups returns the paths of every condition, as intervals.
func (w Weighted) groups() (out [][2]int) {
	size := w.Group
	if size <= 0 {
		size = w.N
	}
	for lo := 0; lo < w.N; lo += size {
		out = append(out, [2]int{lo, min(lo+size, w.N)})
	}
	return out
}

// accept lets a selector judge every group by itself: weights of different target laws do not compare. Log c is the mean
// over the groups. A group whose paths all have weight zero is rejected.
func (w Weighted) accept(s Selector, progress float64) (alpha []float64, logC float64, err error) {
	var alive float64
	for _, g := range w.groups() {
		a, c, err := s.Accept(progress, w.LogW[g[0]:g[1]], w.Reward[g[0]:g[1]])
		if errors.Is(err, ErrNoWeight) && g[1]-g[0] < w.N {
			a, c = make([]float64, g[1]-g[0]), 0
		} else if err != nil {
			return nil, 0, err
		} else {
			alive++
		}
		alpha, logC = append(alpha, a...), logC+c
	}
	if alive == 0 {
		return nil, 0, fmt.Errorf("%w: in all %d groups", ErrNoWeight, len(w.groups()))
	}
	return alpha, logC / alive, nil
}

// Weigh evaluates the reward on all endpoints. Errors wrap [reward.ErrInvalid] and [ErrNoWeight].
func Weigh(ctx context.Context, paths diffusion.Paths, r reward.Reward) (Weighted, error) {
	rewards, err := reward.Evaluate(ctx, r, paths.X, paths.Given, paths.N)
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

// Accepted returns n endpoints of every group, row-major, kept by relaxed rejection (14) with the rate n over the paths of a group: after the
// last iteration, one more step toward the tilted law, as every iteration takes to learn from (Theorem 5). Paths are drawn systematically
// and not one by one, so that there are exactly n, each kept with its probability α. None appears twice, but where fewer than n have a
// positive weight.
func (w Weighted) Accepted(n int, key noise.Key) ([]float32, error) {
	var kept []float32
	for i, g := range w.groups() {
		from := key
		if w.Group > 0 {
			from = key.At(i)
		}
		alpha, _, err := relax(w.LogW[g[0]:g[1]], float64(n)/float64(g[1]-g[0]))
		if err != nil {
			return nil, err
		}
		for j, a := range alpha {
			alpha[j] = math.Log(a)
		}
		paths := diffusion.Paths{N: g[1] - g[0], Dim: w.Dim, X: w.X[g[0]*w.Dim : g[1]*w.Dim]}
		kept = append(kept, steer.Particles{Paths: paths, LogW: alpha}.Resample(n, from)...)
	}
	return kept, nil
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
