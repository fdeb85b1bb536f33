package finetune

import (
	"context"
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// small is Algorithm 1 on the tests' problem, with a small network, from the base process.
func small(t *testing.T, p problem, iterations, updates int) *FineTuning {
	t.Helper()
	e := oracle.Open(t)
	h := free(e, "/h", 24, 1)
	s := p.sampler(e, diffusion.EulerMaruyama{}, 30, h)
	o, err := NewSupervised(s, h, Training{Updates: updates, Batch: 128, Optimizer: nn.Optimizer{LearningRate: 5e-3}, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &FineTuning{Sampler: s, Reward: p.reward(), Selector: Relaxed{Rate{0.4}}, Objective: o, Buffer: &Buffer{Capacity: 1024, Dim: 1},
		Iterations: iterations, Paths: 1024, Key: noise.New(2)}
}

// A few iterations carry P^h near to the tilted law, and the events tell so.
func TestFineTuningConverges(t *testing.T) {
	p := gaussians(t)
	f := small(t, p, 4, 80)
	var events []Event
	f.Observe = func(ev Event) { events = append(events, ev) }
	if err := f.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	var calls int64
	for i, ev := range events {
		if ev.Iteration != i+1 || ev.Iterations != 4 || ev.Paths != 1024 || ev.NonFinite != 0 || ev.Seconds <= 0 {
			t.Errorf("event %d is %+v", i, ev)
		}
		oracle.Near(t, "acceptance", ev.Acceptance, 0.4, 4*math.Sqrt(0.24/1024)) // of which the draw is random
		if want := int64(2*1024*30 + 2*80*128); ev.NetworkCalls != want {
			t.Errorf("%d network calls in iteration %d, want %d", ev.NetworkCalls, i+1, want)
		}
		calls += ev.NetworkCalls
	}
	if len(events) != 4 || calls != f.Sampler.Engine.NetworkCalls() || f.Sampler.Engine.Paths() != 4*1024 {
		t.Errorf("%d events, %d of %d network calls, %d paths", len(events), calls, f.Sampler.Engine.NetworkCalls(), f.Sampler.Engine.Paths())
	}
	// The first paths are the base process's: KL(P‖P_tilted) = 1.3145, KL(P^h‖P) = 0.
	first, last := events[0], events[3]
	oracle.Near(t, "KL at the start", float64(first.KL), 1.3145, 0.25) // the standard error of E r is 0.06
	oracle.Near(t, "KL to the base at the start", float64(first.KLBase), 0, 0)
	oracle.Near(t, "log Ẑ at the end", float64(last.LogZ), p.logZ, 0.05)
	// Over six keys the last KL is 0.05 to 0.06, the ESS 0.90 to 0.93.
	if !(float64(last.KL) < 0.15) || !(float64(last.ESS) > 0.8) || !(float64(last.LSC) < float64(first.LSC)-0.8) || !(last.Loss < first.Loss) {
		t.Errorf("from %+v\nto %+v", first.Certificate, last.Certificate)
	}
}

// The same key gives the same run, event for event.
func TestFineTuningRepeats(t *testing.T) {
	p := gaussians(t)
	run := func(key noise.Key) (events []Event) {
		f := small(t, p, 2, 5)
		f.Key, f.Paths = key, 128
		f.Observe = func(ev Event) { ev.Seconds = 0; events = append(events, ev) }
		if err := f.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return events
	}
	if a, b := run(noise.New(5)), run(noise.New(5)); !slices.EqualFunc(a, b, func(a, b Event) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("two runs of one key:\n%+v\n%+v", a, b)
	}
	if a, b := run(noise.New(5)), run(noise.New(6)); a[0].Reward == b[0].Reward {
		t.Errorf("two keys give mean reward %g", a[0].Reward)
	}
}

// spy is an objective that only looks.
type spy struct {
	keys    []noise.Key
	visits  int
	batches []Weighted
	lengths []int
	// schedules are what the loop says before every iteration.
	schedules [][3]int
}

func (s *spy) Visitor(key noise.Key) diffusion.Visitor {
	s.keys = append(s.keys, key)
	return func(*diffusion.Population) error { s.visits++; return nil }
}

func (s *spy) Schedule(done, from, to int) { s.schedules = append(s.schedules, [3]int{done, from, to}) }

func (s *spy) Fit(_ context.Context, key noise.Key, batch Weighted, buffer *Buffer) (float64, error) {
	s.keys = append(s.keys, key)
	s.batches = append(s.batches, batch)
	s.lengths = append(s.lengths, buffer.Len())
	return float64(len(s.batches)), nil
}

// chosen is a selector with a set answer.
type chosen struct{ progress []float64 }

func (c *chosen) Accept(progress float64, logW, rewards []float64) ([]float64, float64, error) {
	c.progress = append(c.progress, progress)
	alpha := make([]float64, len(logW))
	for i := range alpha {
		if rewards[i] > 0 {
			alpha[i] = 1
		}
	}
	return alpha, math.NaN(), nil
}

// What flows between the stages: fresh paths and keys every iteration, log w = r + log ratio, accepted endpoints in the buffer.
func TestFineTuningWiring(t *testing.T) {
	p := gaussians(t)
	objective, selector := &spy{}, &chosen{}
	r := reward.Func(func(x []float32) float64 { return float64(x[0]) }) // positive rewards are accepted
	f := &FineTuning{Sampler: p.sampler(oracle.Open(t), diffusion.EulerMaruyama{}, 10, push{0.3}), Reward: r, Selector: selector, Objective: objective,
		Buffer: &Buffer{Capacity: 10_000, Dim: 1}, Iterations: 4, Paths: 64, Key: noise.New(3), Prefill: []float32{-7, -8}}
	var events []Event
	f.Observe = func(ev Event) { events = append(events, ev) }
	if err := f.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := []float64{0, 0.25, 0.5, 0.75}; !slices.Equal(selector.progress, want) {
		t.Errorf("progress %v, want %v", selector.progress, want)
	}
	if objective.visits != 40 {
		t.Errorf("%d visits, want 4·10", objective.visits)
	}
	length := 2
	endpoints, keys := map[float32]bool{}, map[noise.Key]bool{}
	for _, key := range objective.keys {
		keys[key] = true
	}
	for k, w := range objective.batches {
		accepted := 0
		for i, x := range w.X {
			endpoints[x] = true
			if oracle.Near(t, "log w", w.LogW[i], float64(x)+w.LogRatio[i], 1e-12); w.LogRatio[i] == 0 || w.Reward[i] != float64(x) {
				t.Errorf("path %d has reward %g at %g and log ratio %g", i, w.Reward[i], x, w.LogRatio[i])
			}
			if x > 0 {
				accepted++
			}
		}
		length += accepted
		if objective.lengths[k] != length {
			t.Errorf("iteration %d: %d samples in the buffer, want %d", k, objective.lengths[k], length)
		}
		oracle.Near(t, "acceptance", events[k].Acceptance, float64(accepted)/64, 1e-12)
		oracle.Near(t, "loss", events[k].Loss, float64(k+1), 0)
		if !math.IsNaN(float64(events[k].LogC)) {
			t.Errorf("log c = %g without one", events[k].LogC)
		}
	}
	if len(endpoints) != 4*64 || len(keys) != 8 {
		t.Errorf("%d different endpoints of 256, %d different keys of 8", len(endpoints), len(keys))
	}
	drawn := make([]float32, 5000)
	if err := f.Buffer.Draw(drawn, noise.New(1).Rand()); err != nil {
		t.Fatal(err)
	}
	for _, x := range drawn {
		if x != -7 && x != -8 && !(endpoints[x] && x > 0) {
			t.Fatalf("the buffer holds %g, which was not accepted", x)
		}
	}
}

func TestFineTuningErrors(t *testing.T) {
	p := gaussians(t)
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for _, c := range []struct {
		name   string
		ctx    context.Context
		change func(*FineTuning)
		want   error
	}{
		{"cancelled", cancelled, func(*FineTuning) {}, context.Canceled},
		{"hopeless reward", context.Background(), func(f *FineTuning) { f.Reward = reward.Func(func([]float32) float64 { return -inf }) }, ErrNoWeight},
		{"broken reward", context.Background(), func(f *FineTuning) { f.Reward = reward.Func(func([]float32) float64 { return math.NaN() }) }, reward.ErrInvalid},
		{"nothing accepted", context.Background(), func(f *FineTuning) {
			f.Selector, f.Reward = &chosen{}, reward.Func(func(x []float32) float64 { return -float64(x[0] * x[0]) })
		}, ErrEmptyBuffer},
		{"no density", context.Background(), func(f *FineTuning) {
			f.Sampler.Steps = diffusion.DDIM{}.Steps(diffusion.VP{}, diffusion.Times(30, 2))
		}, diffusion.ErrNoDensity},
	} {
		f := small(t, p, 2, 2)
		f.Paths = 32
		c.change(f)
		if err := f.Run(c.ctx); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", c.name, err, c.want)
		}
	}
}

// Paths given for the first iteration are weighed in place of simulated ones, and the later iterations are as ever.
func TestFirst(t *testing.T) {
	p := gaussians(t)
	e := oracle.Open(t)
	first := diffusion.Paths{N: 3, Dim: 1, X: []float32{0.5, -1, 2}, LogRatio: []float64{0, 0, 0}, Energy: []float64{0, 0, 0}}
	run := func(first *diffusion.Paths) *spy {
		objective := &spy{}
		f := &FineTuning{Sampler: p.sampler(e, diffusion.EulerMaruyama{}, 10, push{0.3}), Reward: reward.Func(func(x []float32) float64 { return float64(x[0]) }),
			Selector: &chosen{}, Objective: objective, Buffer: &Buffer{Capacity: 100, Dim: 1}, Iterations: 2, Paths: 8, Key: noise.New(3), First: first}
		if err := f.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		return objective
	}
	got, simulated := run(&first), run(nil)
	if b := got.batches[0]; !slices.Equal(b.X, first.X) || !slices.Equal(b.LogW, []float64{0.5, -1, 2}) || got.lengths[0] != 2 {
		t.Errorf("iteration 1 has endpoints %v of log weights %v and %d in the buffer", b.X, b.LogW, got.lengths[0])
	}
	if !slices.Equal(got.batches[1].X, simulated.batches[1].X) {
		t.Error("iteration 2 is not what it was")
	}
	if e.Paths() != 8+16 {
		t.Errorf("%d paths were simulated, want 24", e.Paths())
	}
}
