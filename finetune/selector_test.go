package finetune

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/internal/oracle"
)

// The same properties are checked on the same cases in every run, unless a seed is given.
func TestMain(m *testing.M) {
	flag.Set("rapid.seed", "1")
	flag.Set("rapid.nofailfile", "true") // the seed reproduces
	os.Exit(m.Run())
}

var inf = math.Inf(1)

func sum(v []float64) (s float64) {
	for _, x := range v {
		s += x
	}
	return s
}

// drawWeights are log weights of any spread from 1e-3 to 1e9, with ties, some of them −∞ or −1e100, at least one finite.
func drawWeights(t *rapid.T) []float64 {
	spread := math.Pow(10, rapid.Float64Range(-3, 9).Draw(t, "log10 spread"))
	w := rapid.SliceOfN(rapid.Float64Range(-1, 1), 1, 100).Draw(t, "weights")
	if rapid.Bool().Draw(t, "ties") {
		for i := range w {
			w[i] = math.Round(2 * w[i])
		}
	}
	dead := rapid.SliceOfN(rapid.IntRange(0, 4), len(w), len(w)).Draw(t, "one in five is dead")
	shift := rapid.Float64Range(-1e3, 1e3).Draw(t, "shift")
	for i := range w {
		switch w[i] = w[i]*spread + shift; {
		case dead[i] == 0 && i > 0:
			w[i] = -inf
		case dead[i] == 1 && i > 0 && rapid.Bool().Draw(t, "far"):
			w[i] = -1e100
		}
	}
	return w
}

func alive(logW []float64) (n int) {
	for _, lw := range logW {
		if !math.IsInf(lw, -1) {
			n++
		}
	}
	return n
}

// Whatever the weights, the mean acceptance is the rate, or all of the positive weights are accepted where those are too few.
func TestRelaxedReachesItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logW := drawWeights(t)
		rate := rapid.Float64Range(0.001, 1).Draw(t, "rate")
		alpha, logC, err := Relaxed{Rate{rate}}.Accept(0, logW, nil)
		if err != nil {
			t.Fatal(err)
		}
		n := float64(len(logW))
		oracle.Near(t, "mean acceptance", sum(alpha)/n, math.Min(rate, float64(alive(logW))/n), 1e-12+1e-15*math.Abs(logC)) // the rounding of log c
		for i, a := range alpha {
			if want := math.Min(1, math.Exp(logW[i]-logC)); math.Abs(a-want) > 1e-12 {
				t.Errorf("α = %g of log w = %g, log c = %g; want min(1, w/c) = %g", a, logW[i], logC, want)
			}
		}
	})
}

// A higher rate never has a higher c, nor a lower α of any path; a common factor of the weights is a factor of c.
func TestRelaxedIsMonotoneAndInvariant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logW := drawWeights(t)
		low := rapid.Float64Range(0.001, 1).Draw(t, "low")
		high := rapid.Float64Range(low, 1).Draw(t, "high")
		few, logC, err := Relaxed{Rate{low}}.Accept(0, logW, nil)
		if err != nil {
			t.Fatal(err)
		}
		tolerance := 1e-12 + 4e-15*math.Abs(logC) // the rounding of log c
		many, lowerC, err := Relaxed{Rate{high}}.Accept(0, logW, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range few {
			if many[i] < few[i]-tolerance {
				t.Errorf("path %d: α = %g at rate %g, %g at rate %g", i, few[i], low, many[i], high)
			}
		}
		if high > low+1e-3 && lowerC > logC {
			t.Errorf("log c = %g at rate %g, %g at rate %g", logC, low, lowerC, high)
		}

		shift := rapid.Float64Range(-1e3, 1e3).Draw(t, "shift")
		moved := slices.Clone(logW)
		for i := range moved {
			moved[i] += shift
		}
		same, _, err := Relaxed{Rate{low}}.Accept(0, moved, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range same {
			oracle.Near(t, fmt.Sprintf("α of path %d, all log weights shifted by %g", i, shift), same[i], few[i], tolerance+1e-6) // 1e9·2⁻⁵³ of rounding
		}
	})
}

func TestRelaxedCases(t *testing.T) {
	for _, c := range []struct {
		name  string
		logW  []float64
		rate  float64
		alpha []float64
	}{
		{"ties share the rate", []float64{7, 7, 7, 7}, 0.25, []float64{0.25, 0.25, 0.25, 0.25}},
		{"all are wanted", []float64{-900, 0, 900}, 1, []float64{1, 1, 1}},
		{"too few are positive: all of those", []float64{-inf, 3, -inf, -5}, 0.7, []float64{0, 1, 0, 1}},
		{"just as many are positive", []float64{-inf, 3, -inf, -5}, 0.5, []float64{0, 1, 0, 1}},
		{"fewer wanted than positive", []float64{-inf, 3, -inf, 3}, 0.25, []float64{0, 0.5, 0, 0.5}},
		{"a lone path", []float64{-1e9}, 0.5, []float64{0.5}},
		{"a hopeless rest", []float64{0, -1e12, -1e12, -1e12}, 0.2, []float64{0.8, 0, 0, 0}},
		{"a hopeless path", []float64{0, -1e100, 0, 0}, 0.25, []float64{1. / 3, 0, 1. / 3, 1. / 3}},
		{"a NaN is a dead path", []float64{math.NaN(), 1, 1, 1}, 0.375, []float64{0, 0.5, 0.5, 0.5}},
	} {
		alpha, _, err := Relaxed{Rate{c.rate}}.Accept(0, c.logW, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for i := range alpha {
			oracle.Near(t, fmt.Sprintf("%s: α of path %d", c.name, i), alpha[i], c.alpha[i], 1e-7)
		}
	}
	// Reward-only is the same rule on the rewards.
	logW, rewards := []float64{0, 1, 2, 3}, []float64{5, -2, 0.1, -inf}
	want, wantC, _ := Relaxed{Rate{0.4}}.Accept(0, rewards, nil)
	got, gotC, err := RewardOnly{Rate{0.4}}.Accept(0, logW, rewards)
	if err != nil || !slices.Equal(got, want) || gotC != wantC {
		t.Errorf("reward-only: α = %v, log c = %g, %v; want %v, %g", got, gotC, err, want, wantC)
	}
}

func TestHardSelectors(t *testing.T) {
	nan := math.NaN()
	falling := func(n int) []float64 {
		r := make([]float64, n)
		for i := range r {
			r[i] = float64(n - i)
		}
		return r
	}
	first := func(n, of int) []float64 {
		alpha := make([]float64, of)
		for i := range n {
			alpha[i] = 1
		}
		return alpha
	}
	for _, c := range []struct {
		selector Selector
		progress float64
		reward   []float64
		alpha    []float64
	}{
		{Elite{Rate{0.5}}, 0, []float64{1, 4, 2, 3}, []float64{0, 1, 0, 1}},
		{Elite{Rate{0.25}}, 0, []float64{-inf, nan, 1, 5, -inf, nan}, []float64{0, 0, 1, 1, 0, 0}}, // ⌈1.5⌉
		{Elite{Rate{1}}, 0, []float64{-inf, nan, 1, 5}, []float64{0, 0, 1, 1}},
		{Elite{Rate{1e-9}}, 0, []float64{1, 2}, []float64{0, 1}},
		{Elite{Rate{0.5}}, 0, []float64{3, 3, 3, 3}, []float64{1, 1, 0, 0}}, // ties: the first ones
		{Elite{Rate{0.1}}, 0, falling(30), first(3, 30)},
		{Elite{Rate{0.07}}, 0, falling(100), first(7, 100)}, // 0.07·100 rounds up to 7.000000000000001
		{Elite{Rate{0.5, 0.25}}, 0.5, falling(4), first(1, 4)},
		{Threshold{}, 0.9, falling(4), first(4, 4)},
		{Threshold{Low: 0, High: 1}, 0.5, falling(4), first(2, 4)},
		{Threshold{Low: 0.75, High: 0.75}, 0, falling(4), first(1, 4)},
		{Threshold{Low: 1, High: 1}, 0, falling(4), first(1, 4)}, // never none
		{Threshold{Low: 0.7, High: 0.7}, 0, falling(10), first(3, 10)},
		{BestOf{}, 0, []float64{2, -inf, nan, 1}, []float64{1, 0, 0, 1}},
		{BestOf{K: 2}, 0, []float64{1, 2, 4, 3, 5}, []float64{0, 1, 1, 0, 1}},
		{BestOf{K: 3}, 0, []float64{nan, 2, -inf, -inf, nan, -inf}, []float64{0, 1, 0, 0, 0, 0}},
		{BestOf{K: 99}, 0, []float64{1, 3, 2}, []float64{0, 1, 0}},
	} {
		alpha, logC, err := c.selector.Accept(c.progress, make([]float64, len(c.reward)), c.reward)
		if err != nil || !slices.Equal(alpha, c.alpha) {
			t.Errorf("%#v at %g keeps %g of %d paths, %v; want %g, α = %.9v", c.selector, c.progress, sum(alpha), len(alpha), err, sum(c.alpha), c.alpha)
		}
		if !math.IsNaN(logC) {
			t.Errorf("%T: log c = %g, want NaN", c.selector, logC)
		}
	}
}

// No hard selector drops a path for a worse one.
func TestHardSelectorsKeepTheBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rewards := drawWeights(t)
		rate := rapid.Float64Range(0.01, 1).Draw(t, "rate")
		for _, s := range []Selector{Elite{Rate{rate}}, Threshold{Low: 1 - rate, High: 1}} {
			alpha, _, err := s.Accept(0, rewards, rewards)
			if err != nil {
				t.Fatal(err)
			}
			worst, best := inf, -inf
			for i, a := range alpha {
				if a == 1 {
					worst = min(worst, rewards[i])
				} else {
					best = max(best, rewards[i])
				}
			}
			if best > worst {
				t.Errorf("%#v kept reward %g and dropped %g", s, worst, best)
			}
			want := min(math.Ceil(rate*float64(len(rewards))-1e-9), float64(alive(rewards)))
			oracle.Near(t, fmt.Sprintf("%T keeps", s), sum(alpha), want, 0)
		}
		k := rapid.IntRange(1, 9).Draw(t, "k")
		alpha, _, err := BestOf{K: k}.Accept(0, nil, rewards)
		if err != nil {
			t.Fatal(err)
		}
		for lo := 0; lo < len(rewards); lo += k {
			hi := min(lo+k, len(rewards))
			best, want := slices.Max(rewards[lo:hi]), 1.0
			if math.IsInf(best, -1) {
				want = 0
			}
			oracle.Near(t, "kept of a group", sum(alpha[lo:hi]), want, 0)
			for i := lo; i < hi; i++ {
				if alpha[i] == 1 && rewards[i] != best {
					t.Errorf("group %v: kept %g", rewards[lo:hi], rewards[i])
				}
			}
		}
	})
}

func TestSelectorErrors(t *testing.T) {
	logW := []float64{0, 1, 2}
	for _, rate := range []float64{-1, 0, 1.5, math.NaN(), inf} {
		for _, s := range []Selector{Relaxed{Rate{rate}}, RewardOnly{Rate{rate}}, Elite{Rate{rate}}} {
			func() {
				defer func() {
					if r := recover(); r != nil {
						t.Errorf("%#v panics: %v", s, r)
					}
				}()
				if alpha, _, err := s.Accept(0, logW, logW); err == nil {
					t.Errorf("%#v: no error, α = %v", s, alpha)
				}
			}()
		}
	}
	dead := []float64{-inf, math.NaN(), -inf}
	for _, s := range []Selector{Relaxed{}, RewardOnly{}} {
		if _, _, err := s.Accept(0, dead, dead); !errors.Is(err, ErrNoWeight) {
			t.Errorf("%T of dead paths: error %v, want ErrNoWeight", s, err)
		}
	}
}

func TestRateStages(t *testing.T) {
	for _, c := range []struct {
		rate     Rate
		progress float64
		want     float64
	}{
		{nil, 0.3, 0.5}, {Rate{0.2}, 0, 0.2}, {Rate{0.2}, 0.999, 0.2},
		{Rate{0.1, 0.3}, 0.49, 0.1}, {Rate{0.1, 0.3}, 0.5, 0.3}, {Rate{0.1, 0.3}, 1, 0.3},
		{Rate{0.1, 0.3, 0.6}, 1. / 3, 0.3}, {Rate{0.1, 0.3, 0.6}, 2. / 3, 0.6}, {Rate{0.1, 0.3, 0.6}, 8. / 24, 0.3},
	} {
		oracle.Near(t, fmt.Sprintf("%v at %g", c.rate, c.progress), c.rate.At(c.progress), c.want, 0)
	}
}
