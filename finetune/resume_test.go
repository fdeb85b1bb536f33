package finetune

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// objectives are all of them, with everything in the optimiser that depends on the number of steps.
var objectives = map[string]func(s *diffusion.Sampler, h htransform.Learned, p problem) (Objective, error){
	"supervised": func(s *diffusion.Sampler, h htransform.Learned, _ problem) (Objective, error) {
		return NewSupervised(s, h, Training{Updates: 3, Batch: 32, Optimizer: averaging, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}}, 0.1)
	},
	stale: func(s *diffusion.Sampler, h htransform.Learned, _ problem) (Objective, error) {
		return NewSupervised(s, h, Training{Updates: 3, Batch: 32, Optimizer: averaging, Denoising: diffusion.Denoising{Times: diffusion.TimeLaw{Power: 2}}}, 0)
	},
	"VarGrad": func(s *diffusion.Sampler, h htransform.Learned, _ problem) (Objective, error) {
		return NewVarGrad(s, h, averaging, 4)
	},
	"online": func(s *diffusion.Sampler, h htransform.Learned, p problem) (Objective, error) {
		return NewOnline(s, h, Training{Updates: 2, Batch: 32, Optimizer: averaging}, s.Steps, p.reward())
	},
	"adjoint matching": func(s *diffusion.Sampler, h htransform.Learned, p problem) (Objective, error) {
		return NewAdjointMatching(s, h, Training{Updates: 3, Batch: 32, Optimizer: averaging}, Matching{Steps: 4, Quantile: 0.8}, p.reward())
	},
	"DPOK": func(s *diffusion.Sampler, h htransform.Learned, _ problem) (Objective, error) {
		return NewDPOK(s, h, Training{Updates: 3, Batch: 32, Optimizer: averaging}, DPOKSettings{RewardWeight: 1, KL: 0.1, Clip: 0.1, Transitions: 700,
			Value: ValueSettings{Width: 8, Updates: 2, Batch: 40, LearningRate: 1e-2}}, noise.New(5))
	},
	"DDPO": func(s *diffusion.Sampler, h htransform.Learned, _ problem) (Objective, error) {
		return NewDDPO(s, h, Training{Updates: 3, Batch: 32, Optimizer: averaging}, DDPOSettings{Clip: 0.1, Window: 100})
	},
}

// stale is learned on paths of an older h, and some batches are dropped.
const stale = "supervised, stale"

var averaging = nn.Optimizer{LearningRate: 5e-3, WeightDecay: 0.01, EMA: 0.8}

// state is all that an iteration hands to the next one: every variable of the engine, the buffer, and what the objective keeps itself.
type state struct {
	Own       map[string]checkpoint.Tensor
	Variables map[string][]float32
	Rows      []float32
	Next      int
	Pool      []float64
	Seen      []float64
	Flight    map[string]checkpoint.Tensor
}

func (f *FineTuning) state() state {
	s := state{Variables: map[string][]float32{}}
	for v := range f.Sampler.Engine.Params.IterVariables() {
		s.Variables[v.Path()] = tensors.MustCopyFlatData[float32](v.MustValue())
	}
	rows, next := f.Buffer.State()
	s.Rows, s.Next, s.Pool, s.Seen, s.Flight = slices.Clone(rows), next, f.Pool.State(), f.Seen.State(), f.Flight.State()
	if o, ok := f.Objective.(Lasting); ok {
		own, err := o.State()
		if err != nil {
			panic(err) // variables that are not there
		}
		for name, v := range own {
			v.F32, v.F64 = slices.Clone(v.F32), slices.Clone(v.F64)
			own[name] = v
		}
		s.Own = own
	}
	return s
}

// fiveIterations is a run in a new engine, with a network of the given seed. It simulates with the averages and its buffer,
// of 70 samples, is full after the second iteration.
func fiveIterations(t *testing.T, objective string, seed uint64) *FineTuning {
	t.Helper()
	p, e := gaussians(t), oracle.Open(t)
	h := p.informed(e, "/h", 8, seed)
	s := p.sampler(e, diffusion.EulerMaruyama{}, 8, h)
	o, err := objectives[objective](s, h, p)
	if err != nil {
		t.Fatal(err)
	}
	f := &FineTuning{Sampler: s, Reward: p.reward(), Selector: Relaxed{Rate{0.9, 0.5, 0.3}}, Objective: o, Buffer: &Buffer{Capacity: 70, Dim: 1},
		Iterations: 5, Paths: 64, Key: noise.New(2), Prefill: []float32{-1, 0, 1}}
	if objective == stale {
		f.Staleness, f.MinESS = 2, 0.48
	}
	return f
}

// resume makes the run go on from a state after so many iterations.
func (f *FineTuning) resume(t *testing.T, from state, done int) {
	t.Helper()
	for v := range f.Sampler.Engine.Params.IterVariables() {
		if err := v.SetValue(tensors.FromFlatDataAndDimensions(from.Variables[v.Path()], v.Shape().Dimensions...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Buffer.Restore(from.Rows, from.Next); err != nil {
		t.Fatal(err)
	}
	if o, ok := f.Objective.(Lasting); ok {
		if err := o.Restore(from.Own); err != nil {
			t.Fatal(err)
		}
	}
	flight, err := FlightOf(from.Flight)
	if err != nil {
		t.Fatal(err)
	}
	f.Start, f.Pool, f.Seen, f.Flight = done, PoolOf(from.Pool), SeenOf(from.Seen), flight
}

// record runs it and returns the events and, after each iteration, the state.
func (f *FineTuning) record(t *testing.T) (events []Event, states []state) {
	t.Helper()
	f.Observe = func(ev Event) { ev.Seconds = 0; events = append(events, ev) }
	f.Keep = func(done int) error {
		if len(events) == 0 || events[len(events)-1].Iteration != done {
			t.Errorf("%d iterations are done, after the events %+v", done, events)
		}
		states = append(states, f.state())
		return nil
	}
	if err := f.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	return events, states
}

// A run that is stopped after any iteration and continued in a new engine, from what Keep saw there, ends with the same
// bits as one that was not: parameters, moments, averages, buffer and events.
func TestResume(t *testing.T) {
	for name := range objectives {
		t.Run(name, func(t *testing.T) {
			events, states := fiveIterations(t, name, 1).record(t)
			if len(states) != 5 || states[4].Next == 0 || len(states[4].Variables) < 4*4 {
				t.Fatalf("%d states, the last with %d variables; the buffer replaces number %d: it has not wrapped around",
					len(states), len(states[4].Variables), states[4].Next)
			}
			if dropped := slices.ContainsFunc(events, func(ev Event) bool { return ev.Dropped }); name == stale && !(dropped && len(states[1].Flight) == 2*4) {
				t.Fatalf("nothing was dropped, or %d tensors are in flight", len(states[1].Flight))
			}
			for done := 1; done <= 5; done++ {
				f := fiveIterations(t, name, 99) // other parameters, to be overwritten
				f.resume(t, states[done-1], done)
				gotEvents, gotStates := f.record(t)
				if d := cmp.Diff(events[done:], gotEvents, cmp.Comparer(sameBits)); d != "" && done < 5 {
					t.Errorf("events after resuming at %d (-uninterrupted +resumed):\n%s", done, d)
				}
				if len(gotStates) != 5-done {
					t.Fatalf("%d iterations after %d of 5", len(gotStates), done)
				}
				if d := cmp.Diff(states[4], f.state()); d != "" {
					t.Errorf("state after resuming at %d (-uninterrupted +resumed):\n%s", done, d)
				}
			}
		})
	}
}

// A run that has ended and is continued for more iterations is bit for bit one that restarts its learning rate there: it was
// the same before, and is the same after.
func TestContinue(t *testing.T) {
	for name := range objectives {
		t.Run(name, func(t *testing.T) {
			short := fiveIterations(t, name, 1)
			short.Iterations = 3
			_, before := short.record(t)

			longer := fiveIterations(t, name, 99)
			longer.Iterations, longer.Restarts = 6, []int{3}
			longer.resume(t, before[2], 3)
			events, after := longer.record(t)

			whole := fiveIterations(t, name, 1)
			whole.Iterations, whole.Restarts = 6, []int{3}
			wantEvents, want := whole.record(t)
			if d := cmp.Diff(want, append(before, after...)); d != "" {
				t.Errorf("states (-one run +continued):\n%s", d)
			}
			if d := cmp.Diff(wantEvents[3:], events, cmp.Comparer(sameBits)); d != "" {
				t.Errorf("events (-one run +continued):\n%s", d)
			}
			// Where the rate does not start anew, all iterations are others but the first of VarGrad, which is one step.
			plain := fiveIterations(t, name, 1)
			plain.Iterations = 6
			_, other := plain.record(t)
			for i := 1; i < 6; i++ {
				if cmp.Equal(other[i].Variables, want[i].Variables) {
					t.Errorf("iteration %d is the same without a restart", i+1)
				}
			}
		})
	}
}

// Between restarts the learning rate falls once, and selectors make progress up to the first.
func TestRestarts(t *testing.T) {
	p := gaussians(t)
	for _, c := range []struct {
		restarts  []int
		schedules [][3]int // iterations done; from, to
		progress  []float64
	}{
		{nil, [][3]int{{0, 0, 4}, {1, 0, 4}, {2, 0, 4}, {3, 0, 4}}, []float64{0, 0.25, 0.5, 0.75}},
		{[]int{2}, [][3]int{{0, 0, 2}, {1, 0, 2}, {2, 2, 4}, {3, 2, 4}}, []float64{0, 0.5, 1, 1}},
		{[]int{1, 3, 9}, [][3]int{{0, 0, 1}, {1, 1, 3}, {2, 1, 3}, {3, 3, 4}}, []float64{0, 1, 1, 1}},
	} {
		objective, selector := &spy{}, &chosen{}
		f := &FineTuning{Sampler: p.sampler(oracle.Open(t), diffusion.EulerMaruyama{}, 2, push{0.3}), Reward: p.reward(), Selector: selector, Objective: objective,
			Buffer: &Buffer{Capacity: 10, Dim: 1}, Iterations: 4, Paths: 8, Key: noise.New(3), Restarts: c.restarts}
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(objective.schedules, c.schedules) || !slices.Equal(selector.progress, c.progress) {
			t.Errorf("restarts %v: schedules %v, progress %v; want %v and %v", c.restarts, objective.schedules, selector.progress, c.schedules, c.progress)
		}
	}
}

func sameBits(a, b Number) bool { return math.Float64bits(float64(a)) == math.Float64bits(float64(b)) }

// What cannot be kept ends the run, there and then.
func TestKeepFails(t *testing.T) {
	f := fiveIterations(t, "VarGrad", 1)
	full := errors.New("no space left on device")
	var kept []int
	f.Keep = func(done int) error {
		if kept = append(kept, done); done == 2 {
			return full
		}
		return nil
	}
	if err := f.Run(context.Background()); !errors.Is(err, full) || !slices.Equal(kept, []int{1, 2}) {
		t.Errorf("kept %v, error %v; want 1, 2 and %v", kept, err, full)
	}
}

// What is not the state of the objective is refused.
func TestLastingRefuses(t *testing.T) {
	for name, state := range map[string]map[string]checkpoint.Tensor{
		"DPOK": {"transitions/rows": {Shape: []int{0, 5}}}, "DDPO": {}, "DPOK ": {"transitions/next": {Shape: []int{1}, I64: []int64{0}}},
	} {
		o := fiveIterations(t, strings.TrimSpace(name), 1).Objective.(Lasting)
		if err := o.Restore(state); err == nil || !strings.Contains(err.Error(), "another") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A restored buffer goes on like the one whose state it has, and shares nothing with it.
func TestBufferRestore(t *testing.T) {
	for _, n := range []int{0, 1, 3, 4, 5, 7, 8} {
		a := &Buffer{Capacity: 4, Dim: 2}
		for i := range n {
			a.Append([]float32{float32(i), -float32(i)})
		}
		rows, next := a.State()
		b := &Buffer{Capacity: 4, Dim: 2}
		if err := b.Restore(rows, next); err != nil {
			t.Errorf("after %d samples: %v", n, err)
			continue
		}
		for i := n; i < n+6; i++ {
			x := []float32{float32(i), -float32(i)}
			a.Append(x)
			b.Append(x)
			if d := cmp.Diff(a, b, cmp.AllowUnexported(Buffer{})); d != "" {
				t.Errorf("%d samples, of which %d restored (-original +restored):\n%s", i+1, n, d)
			}
		}
	}
}

func TestBufferRestoreRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		rows, next int
	}{
		"part of a sample":     {5, 0},
		"too many samples":     {10, 0},
		"no such sample":       {8, 4},
		"negative":             {8, -1},
		"wrapped but not full": {6, 1},
	} {
		b := &Buffer{Capacity: 4, Dim: 2}
		b.Append([]float32{1, 2})
		if err := b.Restore(make([]float32, c.rows), c.next); err == nil {
			t.Errorf("%s: no error", name)
		}
		if rows, next := b.State(); !slices.Equal(rows, []float32{1, 2}) || next != 0 {
			t.Errorf("%s: the buffer is now %v, next %d", name, rows, next)
		}
	}
}

// An event comes back from JSON as it was; what was not finite, as NaN.
func TestEventFromJSON(t *testing.T) {
	nan := Number(math.NaN())
	want := Event{Iteration: 1, Iterations: 2, Acceptance: 0.1, LogC: nan, Loss: 1. / 3, NetworkCalls: 7, Seconds: 1.5,
		Certificate: Certificate{Paths: 3, Reward: 1. / 7, ESS: -0.5, LogZ: nan, LSC: 1e-300, KL: 1e21, KLBase: 5}}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Event
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.Comparer(sameBits)); d != "" {
		t.Errorf("event (-written +read):\n%s", d)
	}
	if err := json.Unmarshal([]byte(`{"reward": "much"}`), &got); err == nil {
		t.Error("a word as a number: no error")
	}
}
