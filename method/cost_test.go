package method

import (
	"math"
	"slices"
	"testing"
)

// Every method, and every learned one with every ending, draws as many samples as were asked for, says what it knows of them, and costs
// what was predicted, as the engine has counted it. A method that takes the h of another one is charged with that one's training too.
func TestEveryMethod(t *testing.T) {
	for _, c := range []struct {
		what       string
		names      []string
		pool       int
		prefill    int
		samples    int
		conditions []float64
		self       bool
	}{
		{"plain", everyName(), 0, 0, 30, nil, false},
		{"pool", representatives(), 70, 0, 30, nil, false},
		{"prefill", representatives(), 0, 50, 30, nil, false},
		{"conditions", representatives(), 0, 0, 13, []float64{1.2, -0.6, 2}, false},
		{"self", representatives(), 70, 0, 30, nil, true},
	} {
		t.Run(c.what, func(t *testing.T) {
			for _, name := range c.names {
				t.Run(name, func(t *testing.T) {
					target := newTarget(t, 1, c.samples, c.conditions...)
					target.PoolSize, target.Batch = c.pool, 40
					if c.self {
						relative(target)
					}
					offer := ^Needs(0)
					if c.conditions != nil {
						offer &^= Unconditional
					}
					m := small(New(name))
					if s, ok := m.(interface{ Shared() *Supervised }); ok {
						s.Shared().Prefill = c.prefill
						if name == "raft" { // one for which gradient steps evaluate all networks
							s.Shared().KL = 0.1
						}
					}
					if m.About().Needs.Missing(offer) != "" {
						return
					}
					var want Spent // of the other method
					if of := m.About().Of; of != "" {
						work := target.Work()
						work.Samples = 0
						cost := small(New(of)).Cost(work)
						want = Spent{Paths: int64(cost.Base + cost.Paths + cost.Own), Calls: int64(cost.Calls(work))}
					}
					spent := target.Meter()
					s := draw(t, m, target)
					all := spent()
					cost := m.Cost(target.Work())
					want = want.Plus(Spent{Paths: int64(cost.Base + cost.Paths + cost.Own), Calls: int64(cost.Calls(target.Work()))})
					if all.Paths != want.Paths || all.Calls != want.Calls || all.Seconds <= 0 {
						t.Errorf("%d paths, %d calls, %g seconds, want %d, %d and more than 0", all.Paths, all.Calls, all.Seconds, want.Paths, want.Calls)
					}
					judge(t, m, s, max(1, len(c.conditions)), c.samples)
				})
			}
		})
	}
}

// representatives are the methods that stand for themselves, with one of every ending.
func representatives() []string {
	names, _ := Names()
	return append(names, "importance_amplified", "vargrad_rejection", "importance_smc", "cem_fast", "raft_polished")
}

// judge looks at what is said of samples.
func judge(t *testing.T, m Method, s *Samples, conditions, members int) {
	t.Helper()
	if len(s.X) != conditions*members || s.Count != conditions || s.Members != members || s.From != 0 {
		t.Errorf("%d samples, of %d conditions from %d, %d each; want %d of %d", len(s.X), s.Count, s.From, s.Members, members, conditions)
	}
	for _, v := range s.X {
		if v-v != 0 {
			t.Fatalf("a sample is %g", v)
		}
	}
	c := s.Certificate
	if c == nil || !(c.ESS > 0 && c.ESS <= 1+1e-9) || math.IsNaN(float64(c.LogZ)) || Plain(m) && c.NonFinite != 0 || c.Reason == "" || math.IsNaN(float64(c.KL)) == Plain(m) {
		t.Fatalf("%s: the certificate is %+v", m.About().Name, c)
	}
	if Plain(m) && c.Paths != conditions*members {
		t.Errorf("the certificate is of %d paths, want %d", c.Paths, conditions*members)
	}
	var scales []float64
	if p, ok := m.(*Polished); ok {
		if len(s.Scale) != 3 || p.Rounds < 1 {
			t.Errorf("scales %v, want three", s.Scale)
		}
		return
	}
	switch m := m.(type) {
	case *Guidance:
		scales = m.Scales.Scales
	case *DPS:
		scales = m.Scales.Scales
	case *Amplified:
		scales = m.Scales.Scales
	default:
		if s.Scale != nil {
			t.Errorf("scale %v, want none", s.Scale)
		}
		return
	}
	if len(s.Scale) != 1 || !slices.Contains(scales, s.Scale[0]) {
		t.Errorf("scale %v, want one of %v", s.Scale, scales)
	}
}

// Paths and calls of one method by hand: 24 steps, two networks where there is a control, 2 updates of 20.
func TestCostByHand(t *testing.T) {
	w := Work{Samples: 30, Conditions: 1, Steps: 24, Dim: 1}
	pooled, self, defended, regular := w, w, w, small(New("importance")).(*Importance)
	pooled.Pool, self.Self, defended.Defended, regular.KL = 70, 1, true, 0.1
	for _, c := range []struct {
		m     Method
		w     Work
		paths float64
		calls float64
	}{
		{&Base{}, w, 30, 30 * 24},
		{small(New("importance")), w, 2*40 + 30, 2*(2*40+30)*24 + 2*3*20*2},
		{small(New("importance")), pooled, 70 + 40 + 30, 70*24 + 2*(40+30)*24 + 2*3*20*2},
		{small(New("vargrad")), w, 2*40 + 30, 2*(2*40+30)*24 + 2*40*5*2},
		{small(New("dpok")), w, 2*40 + 30, 2*(2*40+30)*24 + 2*3*20*2},
		{small(New("ddpo")), self, 2*40 + 30, 3*(2*40+30)*24 + 2*3*20*3},
		{small(New("online")), w, 2*40 + 30 + 2*3*20, 2*(2*40+30)*24 + 2*3*20*4*2},
		{small(New("adjoint_matching")), w, 2*40 + 30, 2*(2*40+30)*24 + 3*2*40*24 + 2*3*20*2}, // backwards once, which counts as two calls
		{small(New("guidance")), w, 2*30 + 30, (2*30 + 30) * 24},
		{small(New("importance")), self, 2*40 + 30, 3*(2*40+30)*24 + 2*3*20*2},
		{regular, self, 2*40 + 30, 3*(2*40+30)*24 + 2*3*20*3},
		{regular, w, 2*40 + 30, 2*(2*40+30)*24 + 2*3*20*2},
		{small(New("vargrad")), self, 2*40 + 30, 3*(2*40+30)*24 + 2*40*5*3},
		{small(New("guidance")), self, 2*30 + 30, (2*30 + 30) * 24},
		{&Polished{Paths: 20, Rounds: 2}, self, 3*20 + 30, 3 * (3*20 + 30) * 24},
		{&Polished{Paths: 20, Rounds: 2}, w, 3*20 + 30, 2 * (3*20 + 30) * 24},
		{&BestOfK{K: 3}, w, 90, 90 * 24},
		{&Resampled{}, w, 30, 30 * 24},
		{&Resampled{}, pooled, 70, 70 * 24},
		{&SMCFK{Particles: Particles{Particles: 2}}, w, 60, 60 * 24},
		{&SMCTwisted{Particles: Particles{Particles: 2}}, w, 60, 60 * 24},
		{New("x_smc"), w, 60, 2 * 60 * 24},
		{&Rejection{Rate: 0.4}, w, 75, 2 * 75 * 24},
		{&Rejection{Rate: 0.4}, Work{Samples: 33, Conditions: 3, Steps: 24}, 3 * 28, 2 * 3 * 28 * 24}, // ⌈11/0.4⌉ of each
		{&Fast{Steps: 5}, w, 30, 2 * 30 * 5},
		{&Fast{Steps: 5}, defended, 34, 2 * 34 * 5}, // a tenth and more of 34 are base paths
		{small(New("guidance")), defended, 2*30 + 34, (2*30 + 34) * 24},
		{small(New("importance")), defended, 2*40 + 34, 2*(2*40+34)*24 + 2*3*20*2},
		{&Rejection{Rate: 0.4}, defended, 75, 2 * 75 * 24},
	} {
		cost := c.m.Cost(c.w)
		if paths, calls := cost.Base+cost.Paths+cost.Own, cost.Calls(c.w); paths != c.paths || calls != c.calls {
			t.Errorf("%s: %g paths and %g calls, want %g and %g", c.m.About().Name, paths, calls, c.paths, c.calls)
		}
		if m := cost.Memory(c.w); m < 4*c.w.Samples*c.w.Dim {
			t.Errorf("%s: %g bytes", c.m.About().Name, m)
		}
	}
	// What is in the pool takes no time of its own; without a pool, or beyond it, base paths take theirs.
	for _, c := range []struct {
		m    Method
		w    Work
		want float64
	}{{&Base{}, w, 30 * 24 * 2}, {&Base{}, pooled, 0}, {&BestOfK{K: 3}, w, 90 * 24 * 2}, {&BestOfK{K: 3}, pooled, 20 * 24 * 2}, {&Resampled{}, pooled, 0}} {
		if got := c.m.Cost(c.w).Seconds(c.w, 2, 5); got != c.want {
			t.Errorf("%s takes %g s with a pool of %g, want %g", c.m.About().Name, got, c.w.Pool, c.want)
		}
	}
	// A backward pass through the base model takes twice a forward one, and so a twisted step is three times as long.
	smc := &SMCTwisted{Particles: Particles{Particles: 1}}
	if got, want := smc.Cost(w).Seconds(w, 2, 5), 3*30*24*2.; got != want {
		t.Errorf("twisted SMC takes %g s, want %g", got, want)
	}
	if got, want := small(New("importance")).Cost(w).Seconds(w, 2, 5), 2*110*24*2+2*3*20*5.; got != want {
		t.Errorf("importance takes %g s, want %g", got, want)
	}
}

// What shall not count does not, and what an earlier process has done does.
func TestMeter(t *testing.T) {
	target := newTarget(t, 1, 10)
	spent := target.Meter()
	sample := func(n int) {
		if _, err := target.Sampler(nil, nil, 6).Run(t.Context(), target.Keys.Root, 0, n, nil); err != nil {
			t.Fatal(err)
		}
	}
	sample(10)
	preview := target.Meter()
	sample(30)
	target.Excuse(preview())
	if s := spent(); s.Paths != 10 || s.Calls != 60 {
		t.Errorf("after a preview: %+v, want 10 paths and 60 calls", s)
	}
	target.Recall(Spent{Paths: 100, Calls: 1000, Seconds: 5})
	sample(1)
	if s := spent(); s.Paths != 101 || s.Calls != 1006 || s.Seconds < 5 {
		t.Errorf("recalled: %+v, want 101 paths, 1006 calls and more than 5 s", s)
	}
	if s := preview(); s.Seconds > 60 || math.IsNaN(s.Seconds) {
		t.Errorf("a preview took %g s", s.Seconds)
	}
}
