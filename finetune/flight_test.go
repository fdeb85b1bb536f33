package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/tensors"
	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// counter is an objective that makes θ of a constant control the number of updates, and needs no more than endpoints.
type counter struct {
	spy
	h learnt
}

func (*counter) Visitor(noise.Key) diffusion.Visitor { return nil }

func (c *counter) Fit(ctx context.Context, key noise.Key, batch Weighted, buffer *Buffer) (float64, error) {
	loss, err := c.spy.Fit(ctx, key, batch, buffer)
	return loss, errors.Join(err, c.h.Parameters()[0].SetValue(tensors.FromValue(float32(len(c.batches)))))
}

// counted is a run whose h after k iterations is the constant k.
func counted(t *testing.T, iterations int) (*FineTuning, *counter) {
	t.Helper()
	p, e := gaussians(t), oracle.Open(t)
	h := newLearnt(e, 0)
	objective := &counter{h: h}
	return &FineTuning{Sampler: p.sampler(e, diffusion.EulerMaruyama{}, 6, h), Reward: p.reward(), Selector: Relaxed{}, Objective: objective,
		Buffer: &Buffer{Capacity: 100, Dim: 1}, Iterations: iterations, Paths: 8, Key: noise.New(3)}, objective
}

// Every batch is, bit for bit, the one that the h of its version draws for its iteration, weighed under that h; and none flies over a restart.
func TestStaleness(t *testing.T) {
	p := gaussians(t)
	for _, c := range []struct {
		staleness int
		restarts  []int
		versions  []int // of h, by iteration
	}{
		{0, nil, []int{0, 1, 2, 3, 4, 5}},
		{1, nil, []int{0, 0, 1, 2, 3, 4}},
		{3, nil, []int{0, 0, 0, 0, 1, 2}},
		{9, nil, []int{0, 0, 0, 0, 0, 0}},
		{2, []int{4}, []int{0, 0, 0, 1, 4, 4}},
	} {
		f, objective := counted(t, 6)
		f.Staleness, f.Restarts = c.staleness, c.restarts
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		for k, version := range c.versions {
			own := p.sampler(f.Sampler.Engine.Fork(), diffusion.EulerMaruyama{}, 6, push{float64(version)})
			want, err := own.Run(t.Context(), f.Key.Sub("simulate").At(k), 0, 8, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := objective.batches[k]; !cmp.Equal(got.Paths, want) {
				t.Errorf("staleness %d, restarts %v: iteration %d has not the paths of h %d: mean energy %g, want %g", c.staleness, c.restarts, k+1, version,
					got.Energy[0], want.Energy[0])
			} else if lw := got.Reward[0] + want.LogRatio[0]; got.LogW[0] != lw {
				t.Errorf("iteration %d: log w is %g, want %g", k+1, got.LogW[0], lw)
			}
		}
		if len(f.Flight) != 0 || f.Sampler.Engine.Paths() != 6*8 {
			t.Errorf("%d batches are in flight at the end, %d paths were simulated, want 0 and 48", len(f.Flight), f.Sampler.Engine.Paths())
		}
	}
}

// First takes the place of iteration 1 only: what flies with it is of the same h⁰.
func TestStalenessAfterFirst(t *testing.T) {
	f, objective := counted(t, 4)
	f.Staleness, f.First = 2, &diffusion.Paths{N: 2, Dim: 1, X: []float32{0.5, 1}, LogRatio: []float64{0, 0}, Energy: []float64{0, 0}}
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	one := f.Sampler.Engine.Paths()
	if b := objective.batches; b[0].N != 2 || b[1].N != 8 || b[1].Energy[0] != 0 || b[2].Energy[0] != 0 || b[3].Energy[0] == 0 || one != 24 {
		t.Errorf("energies %g, %g, %g, and %d paths simulated; want 0, 0, that of h = 1, and 24", b[1].Energy[0], b[2].Energy[0], b[3].Energy[0], one)
	}
}

// Learning two iterations late comes to the same law.
func TestStaleConverges(t *testing.T) {
	p := gaussians(t)
	f := small(t, p, 7, 60)
	f.Staleness = 2
	var last Event
	f.Observe = func(ev Event) { last = ev }
	if err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	oracle.Near(t, "log Ẑ", float64(last.LogZ), p.logZ, 0.05)
	w := p.weighted(t, f.Sampler, noise.New(8), 1024, nil)
	if c := w.Certificate(); !(c.KL < 0.15 && c.ESS > 0.8) { // as without staleness, see TestFineTuningConverges
		t.Errorf("KL %g, ESS %g", c.KL, c.ESS)
	}
}

// Objectives that watch paths are refused those of another h, and a batch to be left out.
func TestOnPolicy(t *testing.T) {
	for name := range objectives {
		for what, change := range map[string]func(*FineTuning){
			"staleness": func(f *FineTuning) { f.Staleness = 1 },
			"ESS":       func(f *FineTuning) { f.MinESS = 1e-9 },
			"elsewhere": func(f *FineTuning) {
				s := f.Sampler
				f.Simulate = func(ctx context.Context, k int) (diffusion.Paths, error) {
					return (&diffusion.Sampler{Engine: s.Engine, Steps: s.Steps, Shape: s.Shape, Base: s.Base, Control: s.Control}).Run(ctx, f.Key.At(k), 0, 64, nil)
				}
			},
		} {
			f := fiveIterations(t, name, 1)
			change(f)
			f.Iterations = 2
			err := f.Run(t.Context())
			if endpoints := strings.HasPrefix(name, "supervised") || name == "online"; endpoints && err != nil {
				t.Errorf("%s, %s: %v", name, what, err)
			} else if !endpoints && (!errors.Is(err, ErrOnPolicy) || !strings.Contains(err.Error(), "*finetune.")) {
				t.Errorf("%s, %s: error %v, want one of the objective", name, what, err)
			}
		}
	}
}

// Paths from elsewhere are asked for when they are needed, whatever the staleness.
func TestSimulate(t *testing.T) {
	f, objective := counted(t, 3)
	f.Staleness = 2
	var asked []string
	lost := errors.New("all workers are gone")
	f.Simulate = func(_ context.Context, k int) (diffusion.Paths, error) {
		asked = append(asked, fmt.Sprintf("%d after %d", k, len(objective.batches)))
		if k == 2 {
			return diffusion.Paths{}, lost
		}
		return diffusion.Paths{N: 2, Dim: 1, X: []float32{float32(k), 1}, LogRatio: []float64{-1, -2}, Energy: []float64{1, 1}}, nil
	}
	if err := f.Run(t.Context()); !errors.Is(err, lost) {
		t.Errorf("error %v, want %v", err, lost)
	}
	if want := []string{"0 after 0", "1 after 1", "2 after 2"}; !slices.Equal(asked, want) || objective.batches[1].X[0] != 1 {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	if f.Sampler.Engine.Paths() != 0 {
		t.Error("the sampler ran")
	}
}

// batch are paths that share the weight, or of which one has it all.
func batch(uneven bool) diffusion.Paths {
	p := diffusion.Paths{N: 40, Dim: 1, X: make([]float32, 40), LogRatio: make([]float64, 40), Energy: make([]float64, 40)}
	for i := range p.X {
		if p.X[i] = float32(i) / 40; uneven {
			p.X[i]++
		}
	}
	if uneven {
		p.LogRatio[7] = 30
	}
	return p
}

// A batch of too low an ESS leaves no trace but its event: pool and buffer are those of a run without it.
func TestDropped(t *testing.T) {
	run := func(min float64, uneven ...bool) (*FineTuning, *counter, []Event) {
		f, objective := counted(t, len(uneven))
		f.Reward, f.MinESS = reward.Func(func(x []float32) float64 { return float64(x[0]) / 10 }), min
		f.Simulate = func(_ context.Context, k int) (diffusion.Paths, error) { return batch(uneven[k]), nil }
		var events []Event
		f.Observe = func(ev Event) { events = append(events, ev) }
		if err := f.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		return f, objective, events
	}
	f, objective, events := run(0.1, false, true, false)
	plain, _, _ := run(0, false, false)
	if !slices.Equal(f.Pool.State(), plain.Pool.State()) {
		t.Errorf("the pool is %v, that without the batch %v", f.Pool.State(), plain.Pool.State())
	}
	if n := objective.lengths; n[0] == 0 || n[1] != n[0] || n[2] <= n[1] {
		t.Errorf("the buffer has %v samples, want as many after the second iteration as before", n)
	}
	rows, _ := f.Buffer.State()
	if slices.Max(rows) >= 1 {
		t.Error("a sample of the batch was learned from")
	}
	for i, dropped := range []bool{false, true, false} {
		if ev := events[i]; ev.Dropped != dropped || dropped != (ev.Acceptance == 0) {
			t.Errorf("iteration %d: dropped %t, acceptance %g", i+1, ev.Dropped, ev.Acceptance)
		}
	}
	own, err := Weigh(t.Context(), batch(true), f.Reward)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := events[1].LogZ, own.Certificate().LogZ; got != want {
		t.Errorf("log Ẑ of the dropped batch is told as %g, want that of its paths, %g", got, want)
	}
	if _, _, events := run(0, false, true); events[1].Dropped {
		t.Error("a batch was dropped without a bound")
	}

	first, _ := counted(t, 2)
	first.MinESS, first.Simulate = 0.1, func(context.Context, int) (diffusion.Paths, error) { return batch(true), nil }
	oracle.WantError(t, first.Run(t.Context()), "iteration 1", "dropped", "0.025", "0.1", "min_ess")
}

// What [FineTuning] says of the price of a bound: of weights with mean 1, those of the batches that it leaves have a lower mean.
func TestDroppingIsBiased(t *testing.T) {
	key := noise.New(4)
	z := make([]float32, 60)
	logZ := map[float64]float64{}
	for _, min := range []float64{0, 0.3} {
		f := &FineTuning{MinESS: min, Buffer: &Buffer{Capacity: 1, Dim: 1}}
		f.Buffer.Append([]float32{0})
		for i := range 1000 {
			key.Normal(z, uint64(i), 0)
			logW := make([]float64, len(z))
			for j, v := range z {
				logW[j] = 1.2*float64(v) - 1.2*1.2/2
			}
			if _, _, err := f.certify(grouped(logW, 0)); err != nil {
				t.Fatal(err)
			}
		}
		logZ[min], _ = f.Pool.estimate()
	}
	oracle.Near(t, "log Ẑ of all", logZ[0], 0, 4*math.Sqrt((math.Exp(1.2*1.2)-1)/(60*1000)))
	if !(logZ[0.3] < -0.05) {
		t.Errorf("log Ẑ of what the bound leaves is %g, want it low", logZ[0.3])
	}
}

// What was not a state of batches in flight is refused, and what was comes back, conditions too.
func TestFlightState(t *testing.T) {
	want := Flight{batch(true), batch(false)}
	want[1].Given, want[0].StepEnergy = make([]float32, 80), []float64{1, 2}
	got, err := FlightOf(want.State())
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got)\n%s", err, d)
	}
	for name, change := range map[string]func(map[string]checkpoint.Tensor){
		"energies": func(s map[string]checkpoint.Tensor) { delete(s, "1/energy") },
		"log ratios": func(s map[string]checkpoint.Tensor) {
			s["0/log_ratio"] = checkpoint.Tensor{Shape: []int{1}, F64: []float64{1}}
		},
		"endpoints": func(s map[string]checkpoint.Tensor) {
			s["0/x"] = checkpoint.Tensor{Shape: []int{40}, F32: make([]float32, 40)}
		},
	} {
		state := want.State()
		change(state)
		if _, err := FlightOf(state); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
