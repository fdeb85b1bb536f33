package method

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/internal/config"
)

func checked(m Method) error {
	c := &config.Check{}
	m.Check(c, "key")
	return c.Err()
}

// A setting that is out of range is noted with its key and its value, for every method that has it; others are not.
func TestCheck(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	type change struct {
		what string
		do   func()
	}
	changes := func(m Method) (out []change) {
		whole := func(key string, v *int, values ...int) {
			for _, n := range values {
				out = append(out, change{fmt.Sprintf("key.%s is %d,", key, n), func() { *v = n }})
			}
		}
		number := func(key string, v *float64, values ...float64) {
			for _, x := range values {
				out = append(out, change{fmt.Sprintf("key.%s is %g,", key, x), func() { *v = x }})
			}
		}
		loop := func(l *Loop) {
			whole("iterations", &l.Iterations, 0, -1)
			whole("paths", &l.Paths, 0, -2)
			whole("buffer", &l.Buffer, 0, -3)
			whole("updates", &l.Updates, 0, -4)
			whole("batch", &l.Batch, 0, -5)
			whole("prefill", &l.Prefill, -1)
			number("learning_rate", &l.LearningRate, -1, nan, inf)
			number("weight_decay", &l.WeightDecay, -1, nan, inf)
			number("ema", &l.EMA, -0.1, 1, nan)
			whole("staleness", &l.Staleness, -1, 2, 9) // of two iterations
			number("min_ess", &l.MinESS, -0.1, 1, nan)
			for _, r := range [][]int{{0}, {-1}, {1, 1}, {2}, {1, 3}} {
				out = append(out, change{fmt.Sprintf("key.restarts are %v,", r), func() { l.Restarts = r }})
			}
		}
		if s, ok := m.(interface{ Shared() *Supervised }); ok {
			loop(&s.Shared().Loop)
			number("kl", &s.Shared().KL, -1, nan)
		}
		rates := func(set func([]float64)) {
			for _, r := range []float64{0, -0.1, 1.1, nan, inf} {
				out = append(out, change{fmt.Sprintf("key.acceptance has %g,", r), func() { set([]float64{0.5, r}) }})
			}
		}
		scales := func(s *Scales) {
			out = append(out, change{"key.scales is empty", func() { s.Scales = nil }})
			for _, v := range []float64{-1, nan, inf} {
				out = append(out, change{fmt.Sprintf("key.scales has %g,", v), func() { s.Scales = []float64{1, v} }})
			}
			whole("paths", &s.Paths, 1, 0, -1)
		}
		particles := func(p *Particles) {
			number("threshold", &p.Threshold, 0, -1, 1.5, nan)
			whole("particles", &p.Particles, 0, -1)
		}
		switch m := m.(type) {
		case *Neutral:
			rates(func(r []float64) { m.Acceptance = r })
		case *Importance:
			rates(func(r []float64) { m.Acceptance = r })
		case *RewardOnly:
			rates(func(r []float64) { m.Acceptance = r })
		case *CEM:
			rates(func(r []float64) { m.Acceptance = r })
		case *RAFT:
			whole("best_of", &m.BestOf, 0, -1)
		case *ReST:
			for _, q := range [][2]float64{{-0.1, 0.5}, {0.6, 0.5}, {0.5, 1.1}, {nan, 0.5}, {0.5, nan}} {
				out = append(out, change{fmt.Sprintf("key.low and high are %g and %g,", q[0], q[1]), func() { m.Low, m.High = q[0], q[1] }})
			}
		case *VarGrad:
			loop(&m.Loop)
			whole("steps", &m.Steps, -1)
			whole("paths", &m.Paths, 1)
		case *Online:
			loop(&m.Loop)
			whole("steps", &m.Steps, -1)
		case *AdjointMatching:
			loop(&m.Loop)
			whole("steps", &m.Steps, -1)
			number("quantile", &m.Quantile, -0.1, 0, 1.1, nan)
		case *DPOK:
			loop(&m.Loop)
			number("reward_weight", &m.RewardWeight, 0, -1, nan, inf)
			number("kl", &m.DPOKSettings.KL, -1, nan, inf)
			number("clip", &m.Clip, 0, 1, nan)
			whole("transitions", &m.Transitions, 0, -1)
			whole("value.width", &m.Value.Width, 0)
			whole("value.updates", &m.Value.Updates, 0)
			whole("value.batch", &m.Value.Batch, -1)
			number("value.learning_rate", &m.Value.LearningRate, 0, nan, inf)
		case *DDPO:
			loop(&m.Loop)
			whole("paths", &m.Paths, 1)
			number("clip", &m.Clip, 0, 1, nan)
			whole("window", &m.Window, -1, 1)
		case *Guidance:
			scales(&m.Scales)
		case *DPS:
			scales(&m.Scales)
		case *Amplified:
			scales(&m.Scales)
		case *SMCTwisted:
			particles(&m.Particles)
		case *SMCFK:
			particles(&m.Particles)
		case *WithSMC:
			particles(&m.Particles)
		case *BestOfK:
			whole("k", &m.K, 0, -1)
		case *Rejection:
			number("rate", &m.Rate, 0, -1, 1.5, nan)
		case *Polished:
			whole("paths", &m.Paths, 1, 0)
			whole("rounds", &m.Rounds, 0, -1)
		case *Fast:
			whole("steps", &m.Steps, 0, -1)
		}
		return out
	}
	for _, name := range everyName() {
		if err := checked(small(New(name))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		n := len(changes(small(New(name))))
		if n == 0 && name != "base" && name != "resampled" {
			t.Errorf("%s: no setting is known", name)
		}
		for i := range n {
			m := small(New(name))
			c := changes(m)[i]
			c.do()
			if err := checked(m); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), c.what) {
				t.Errorf("%s: error %v, want one with %q", name, err, c.what)
			}
		}
	}
}

// Methods that learn from endpoints may learn from those of an older h, and leave some out; the others say why not, and which do.
func TestOnPolicy(t *testing.T) {
	for _, name := range everyName() {
		m := small(New(name))
		if !Learns(m) {
			continue
		}
		if s, ok := m.(interface{ Shared() *Supervised }); ok {
			before := m.Cost(Work{Samples: 10, Steps: 5})
			s.Shared().Staleness, s.Shared().MinESS = 1, 0.5
			if err := checked(m); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			before.Kept += 40 // in flight
			if after := m.Cost(Work{Samples: 10, Steps: 5}); after != before {
				t.Errorf("%s: the cost is %+v, want %+v", name, after, before)
			}
			continue
		}
		var l *Loop
		switch m := m.(type) {
		case *VarGrad:
			l = &m.Loop
		case *Online:
			l = &m.Loop
		case *AdjointMatching:
			l = &m.Loop
		case *DPOK:
			l = &m.Loop
		case *DDPO:
			l = &m.Loop
		default:
			t.Fatalf("%s: is it right on paths of another h?", name)
		}
		l.Staleness, l.MinESS = 1, 0.5
		for _, key := range []string{"key.staleness is 1, want 0", "key.min_ess is 0.5, want 0", "raft"} {
			if err := checked(m); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: error %v, want one with %q", name, err, key)
			}
		}
	}
}

// A loop that nobody has given settings is refused with all that is missing; the other methods work as they are.
func TestCheckDefaults(t *testing.T) {
	for _, name := range everyName() {
		err := checked(New(name))
		if !Learns(New(name)) {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		for _, key := range []string{"iterations", "paths", "buffer", "updates", "batch"} {
			if err == nil || !strings.Contains(err.Error(), "key."+key+" is 0") {
				t.Errorf("%s: error %v, want one with key.%s", name, err, key)
			}
		}
	}
}

// Going on with a run begins with a warm restart, once.
func TestExtend(t *testing.T) {
	l := Loop{Iterations: 9, Restarts: []int{3}}
	before := l.Restarts
	for _, done := range []int{0, 9, 3, 6, 6} {
		l.Extend(done)
	}
	if fmt.Sprint(l.Restarts) != "[3 6]" || len(before) != 1 || l.Length() != 9 {
		t.Errorf("restarts are %v", l.Restarts)
	}
	if paths, prefill := (&Loop{Paths: 5, Prefill: 4}).Sizes(); paths != 5 || prefill != 4 {
		t.Errorf("sizes are %d and %d", paths, prefill)
	}
}
