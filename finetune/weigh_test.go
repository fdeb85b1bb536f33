package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// pathsOf are paths in one dimension with the given endpoints and log ratios.
func pathsOf(x []float32, ratio ...float64) diffusion.Paths {
	return diffusion.Paths{N: len(x), Dim: 1, X: x, LogRatio: ratio, Energy: make([]float64, len(x))}
}

// table is a reward that knows its values in advance.
type table []float64

func (r table) Rewards(context.Context, []float32, int) ([]float64, error) { return r, nil }

func TestWeigh(t *testing.T) {
	nan := math.NaN()
	diverged := []float32{0, float32(nan), float32(inf)}
	for _, c := range []struct {
		name   string
		x      []float32
		reward table
		ratio  []float64
		want   []float64
		err    error
	}{
		{"log w = r + log dP/dP^h", []float32{0, 1}, table{2, -3}, []float64{0.5, 1}, []float64{2.5, -2}, nil},
		{"−∞ forbids a sample", []float32{0, 1}, table{-inf, -3}, []float64{0.5, 1}, []float64{-inf, -2}, nil},
		{"NaN is no reward", []float32{0, 1}, table{1, nan}, []float64{0, 0}, nil, reward.ErrInvalid},
		{"+∞ is no reward", []float32{0, 1}, table{inf, 1}, []float64{0, 0}, nil, reward.ErrInvalid},
		{"diverged paths are rejected, whatever their reward", diverged, table{1, nan, inf}, []float64{0, 0, 0}, []float64{1, -inf, -inf}, nil},
		{"even a good one", diverged, table{1, 100, 100}, []float64{0, 0, 0}, []float64{1, -inf, -inf}, nil},
		{"a ratio that is not finite", []float32{0, 1, 2}, table{1, 1, 1}, []float64{0, nan, inf}, []float64{1, -inf, -inf}, nil},
		{"all forbidden", []float32{0, 1}, table{-inf, -inf}, []float64{0, 0}, nil, ErrNoWeight},
		{"all diverged", diverged[1:], table{nan, 1}, []float64{0, 0}, nil, ErrNoWeight},
	} {
		w, err := Weigh(context.Background(), pathsOf(c.x, c.ratio...), c.reward)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.err)
		}
		dead := 0
		for i, want := range c.want {
			if w.LogW[i] != want {
				t.Errorf("%s: log w of path %d is %g, want %g", c.name, i, w.LogW[i], want)
			}
			if math.IsInf(want, -1) {
				dead++
			}
		}
		if c.err == nil {
			if d := w.Diagnostics(); d.NonFinite != dead || d.Paths != len(c.x) {
				t.Errorf("%s: %d of %d paths counted dead, want %d of %d", c.name, d.NonFinite, d.Paths, dead, len(c.x))
			}
		}
	}
	broken := errors.New("service is down")
	if _, err := Weigh(context.Background(), pathsOf([]float32{0}, 0), failing{broken}); !errors.Is(err, broken) {
		t.Errorf("a failing reward: error %v", err)
	}
}

type failing struct{ error }

func (r failing) Rewards(context.Context, []float32, int) ([]float64, error) { return nil, r.error }

// An external reward may answer with too few or too many values: neither shall pass as weights of other paths.
func TestWeighWantsOneRewardPerPath(t *testing.T) {
	for _, r := range []table{{}, {1}, {1, 2, 3}} {
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Errorf("%d rewards for 2 paths: panic %v, want an error", len(r), p)
				}
			}()
			if w, err := Weigh(context.Background(), pathsOf([]float32{0, 1}, 0, 0), r); err == nil {
				t.Errorf("%d rewards for 2 paths: no error, log weights %v", len(r), w.LogW)
			}
		}()
	}
}

// A diverged path is never learned from, even by selectors that look at the reward alone: a box-shaped reward may well like it.
func TestDivergedPathsAreNeverKept(t *testing.T) {
	x := []float32{0, float32(inf), 1, float32(math.NaN())}
	r := reward.Func(func(x []float32) float64 { return math.Min(10, float64(x[0])) }) // 10 at +∞, NaN at NaN
	w, err := Weigh(context.Background(), pathsOf(x, 0, 0, 0, 0), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []Selector{Relaxed{Rate{0.5}}, RewardOnly{Rate{0.5}}, Elite{Rate{0.5}}, Threshold{}, BestOf{K: 2}, Relaxed{Rate{1}}} {
		alpha, _, err := s.Accept(0, w.LogW, w.Reward)
		if err != nil {
			t.Fatal(err)
		}
		if alpha[1] != 0 || alpha[3] != 0 {
			t.Errorf("%#v keeps diverged paths: α = %v", s, alpha)
		}
		if alpha[0]+alpha[2] == 0 {
			t.Errorf("%#v keeps none of the sound paths", s)
		}
	}
}

func TestDiagnostics(t *testing.T) {
	w := Weighted{Paths: diffusion.Paths{N: 4, Dim: 1, X: make([]float32, 4), Energy: []float64{1, 3, 2, 100}},
		Reward: []float64{2, 4, -1, -inf}, LogW: []float64{math.Log(1), math.Log(2), math.Log(3), -inf}}
	d := w.Diagnostics()
	oracle.Near(t, "mean reward", float64(d.Reward), 5./3, 1e-12)
	oracle.Near(t, "ESS", float64(d.ESS), 36./14/4, 1e-12)
	oracle.Near(t, "log Ẑ", float64(d.LogZ), math.Log(6./4), 1e-12)
	oracle.Near(t, "KL(P^h‖P)", float64(d.KLBase), 2, 1e-12)
	oracle.Near(t, "L_SC", float64(d.LSC), 1./3, 1e-12)
}

// The estimate of KL(P^h‖P_tilted) is never negative and vanishes for equal weights, dead paths or not.
func TestKLIsNotNegative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		logW := drawWeights(t)
		n := len(logW)
		d := Weighted{Paths: diffusion.Paths{N: n, Dim: 1, X: make([]float32, n), Energy: make([]float64, n)}, Reward: logW, LogW: logW}.Diagnostics()
		if kl := float64(d.KL); !(kl >= -1e-9) && !math.IsInf(kl, 1) {
			t.Errorf("KL = %g with %d dead of %d", kl, n-alive(logW), n)
		}
		if ess := float64(d.ESS); !(ess > 0 && ess <= float64(alive(logW))/float64(n)+1e-12) {
			t.Errorf("ESS = %g with %d alive of %d", ess, alive(logW), n)
		}
	})
	equal := Weighted{Paths: diffusion.Paths{N: 3, Dim: 1, X: make([]float32, 3), Energy: make([]float64, 3)},
		Reward: make([]float64, 3), LogW: []float64{7, 7, 7}}
	oracle.Near(t, "KL of equal weights", float64(equal.Diagnostics().KL), 0, 1e-12)
	oracle.Near(t, "ESS of equal weights", float64(equal.Diagnostics().ESS), 1, 1e-12)
}

// JSON has no NaN: what is not finite is null.
func TestEventJSON(t *testing.T) {
	nan := Number(math.NaN())
	event := Event{Iteration: 1, Iterations: 2, Acceptance: 0.5, LogC: nan, Loss: 0.25, NetworkCalls: 7, Seconds: 1.5,
		Diagnostics: Diagnostics{Paths: 3, Reward: Number(inf), ESS: -0.5, LogZ: Number(-inf), LSC: nan, KL: 1e21, KLBase: 1e-9}}
	got, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iteration":1,"iterations":2,"paths":3,"non_finite":0,"reward":null,"ess":-0.5,"log_z":null,"l_sc":null,"kl":1e+21,` +
		`"kl_base":1e-09,"acceptance":0.5,"log_c":null,"loss":0.25,"network_calls":7,"seconds":1.5}`
	if string(got) != want {
		t.Errorf("event is\n%s, want\n%s", got, want)
	}
	var back map[string]any
	if err := json.Unmarshal(got, &back); err != nil {
		t.Error(err)
	}
	// Every number of an event may be what a run that goes wrong makes of it.
	var all Event
	all.Loss, all.Acceptance, all.LogC = event.Loss, event.Acceptance, nan
	all.Diagnostics = Diagnostics{Reward: nan, ESS: nan, LogZ: nan, LSC: nan, KL: nan, KLBase: nan}
	if got, err := json.Marshal(all); err != nil || strings.Contains(string(got), "NaN") || strings.Count(string(got), "null") != 7 {
		t.Errorf("event is %s, %v, want 7 nulls", got, err)
	}
}
