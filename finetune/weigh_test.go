package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
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
			if d := w.Certificate(); d.NonFinite != dead || d.Paths != len(c.x) {
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

// JSON has no NaN: what is not finite is null.
func TestEventJSON(t *testing.T) {
	nan := Number(math.NaN())
	event := Event{Iteration: 1, Iterations: 2, Acceptance: 0.5, LogC: nan, Loss: 0.25, NetworkCalls: 7, Seconds: 1.5,
		Certificate: Certificate{Paths: 3, Reward: Number(inf), ESS: -0.5, LogZ: Number(-inf), LSC: nan, KL: 1e21, KLBase: 1e-9, KHat: nan, Verdict: Verdict{Reason: "no path"}}}
	got, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iteration":1,"iterations":2,"paths":3,"non_finite":0,"reward":null,"ess_fraction":-0.5,"log_z":null,"log_z_se":0,"l_sc":null,"l_sc_se":0,"kl":1e+21,` +
		`"kl_se":0,"kl_base":1e-09,"k_hat":null,"reliable":false,"kl_reliable":false,"reason":"no path","acceptance":0.5,"log_c":null,"loss":0.25,"network_calls":7,"seconds":1.5}`
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
	all.Certificate = Certificate{Reward: nan, ESS: nan, LogZ: nan, LSC: nan, KL: nan, KLBase: nan, LogZSE: nan, LSCSE: nan, KLSE: nan, KHat: nan}
	if got, err := json.Marshal(all); err != nil || strings.Contains(string(got), "NaN") || strings.Count(string(got), "null") != 11 {
		t.Errorf("event is %s, %v, want 11 nulls", got, err)
	}
}
