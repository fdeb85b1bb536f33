package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/ml/model"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// grouped are paths of which nothing matters but the log weights, which are also their rewards.
func grouped(logW []float64, size int) Weighted {
	n := len(logW)
	return Weighted{Paths: diffusion.Paths{N: n, Dim: 1, X: make([]float32, n), Energy: make([]float64, n), LogRatio: make([]float64, n)}, Reward: logW, LogW: logW, Group: size}
}

// drawGroups are weights in groups of one size, of which the last may be smaller; some groups are dead, but not all.
func drawGroups(t *rapid.T) Weighted {
	size := rapid.IntRange(1, 12).Draw(t, "size")
	var logW []float64
	for range rapid.IntRange(1, 6).Draw(t, "groups") {
		group := make([]float64, size)
		dead := rapid.IntRange(0, 3).Draw(t, "one in four groups is dead") == 0
		for i := range group {
			if group[i] = rapid.Float64Range(-20, 20).Draw(t, "log weight"); dead {
				group[i] = -inf
			}
		}
		logW = append(logW, group...)
	}
	logW[0] = 1
	return grouped(logW[:len(logW)-rapid.IntRange(0, size-1).Draw(t, "missing")], size)
}

// members calls fn for every group of paths.
func (w Weighted) members(fn func(lo, hi int)) {
	for lo := 0; lo < w.N; lo += w.Group {
		fn(lo, min(lo+w.Group, w.N))
	}
}

// Every group has the rate, as far as it has positive weights. A factor of all weights of one group, such as the constant
// in its likelihood, changes nothing of what is kept.
func TestEveryGroupReachesItsRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawGroups(t)
		rate := rapid.Float64Range(0.05, 1).Draw(t, "rate")
		alpha, _, err := w.accept(Relaxed{Rate{rate}}, 0)
		if err != nil || len(alpha) != w.N {
			t.Fatalf("%d acceptances of %d paths, %v", len(alpha), w.N, err)
		}
		w.members(func(lo, hi int) {
			n := float64(hi - lo)
			oracle.Near(t, "mean acceptance of a group", sum(alpha[lo:hi])/n, min(rate, float64(alive(w.LogW[lo:hi]))/n), 1e-3)
			for i := lo; i < hi; i++ {
				if math.IsInf(w.LogW[i], -1) && alpha[i] != 0 {
					t.Errorf("path %d of weight zero: α = %g", i, alpha[i])
				}
			}
		})

		moved := grouped(slices.Clone(w.LogW), w.Group)
		at := rapid.IntRange(0, w.N-1).Draw(t, "group of path") / w.Group * w.Group
		shift := rapid.Float64Range(-100, 100).Draw(t, "shift")
		for i := at; i < min(at+w.Group, w.N); i++ {
			moved.LogW[i] += shift
		}
		same, _, err := moved.accept(Relaxed{Rate{rate}}, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range alpha {
			oracle.Near(t, "α of a path, one group shifted", same[i], alpha[i], 4e-6*float64(w.Group)) // settled to 1e-6 in the mean
		}
	})
}

// Selectors by rank take the best of every group, however much better another one is.
func TestSelectorsByRankSelectWithinGroups(t *testing.T) {
	w := grouped([]float64{1, 3, 2, 4, 900, 700, 600, 800, -50, -60}, 4)
	for name, c := range map[string]struct {
		selector Selector
		want     []float64
	}{
		"elite":     {Elite{Rate{0.25}}, []float64{0, 0, 0, 1, 1, 0, 0, 0, 1, 0}},
		"threshold": {Threshold{Low: 0.5, High: 0.5}, []float64{0, 1, 0, 1, 1, 0, 0, 1, 1, 0}},
		"best of 3": {BestOf{K: 3}, []float64{0, 1, 0, 1, 1, 0, 0, 1, 1, 0}}, // of 3 and of the one that is left
	} {
		alpha, logC, err := w.accept(c.selector, 0)
		if err != nil || !slices.Equal(alpha, c.want) || !math.IsNaN(logC) {
			t.Errorf("%s: α = %v, log c = %g, %v; want %v without log c", name, alpha, logC, err, c.want)
		}
	}
}

// A dead group keeps nothing and costs the others nothing; that all are dead is an error.
func TestDeadGroups(t *testing.T) {
	w := grouped([]float64{-inf, -inf, -inf, 2, 2, 2, -inf, -inf, -inf, 9, 9}, 3)
	alpha, logC, err := w.accept(Relaxed{Rate{0.5}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range alpha {
		want := 0.5
		if math.IsInf(w.LogW[i], -1) {
			want = 0
		}
		oracle.Near(t, fmt.Sprintf("α of path %d", i), a, want, 1e-5)
	}
	oracle.Near(t, "log c, mean over the groups alive", logC, (2+9)/2.+math.Log(2), 1e-4)
	if _, _, err := grouped([]float64{-inf, -inf, -inf, -inf}, 2).accept(Relaxed{}, 0); !errors.Is(err, ErrNoWeight) {
		t.Errorf("all groups dead: error %v, want ErrNoWeight", err)
	}
	broken := errors.New("no such rate")
	if _, _, err := w.accept(faulty{broken}, 0); !errors.Is(err, broken) {
		t.Errorf("a selector that fails: error %v", err)
	}
	p := gaussians(t)
	for _, group := range []int{0, 3, 8, 100} {
		f := small(t, p, 1, 1)
		f.Paths, f.Group, f.Reward = 8, group, reward.Func(func([]float32) float64 { return -inf })
		if err := f.Run(context.Background()); !errors.Is(err, ErrNoWeight) {
			t.Errorf("all paths dead in groups of %d: error %v, want ErrNoWeight", group, err)
		}
	}
}

type faulty struct{ error }

func (f faulty) Accept(float64, []float64, []float64) ([]float64, float64, error) {
	return nil, 0, f.error
}

// counting is a selector that notes how many paths it is shown at a time, and takes them all.
type counting struct{ shown []int }

func (c *counting) Accept(_ float64, logW, _ []float64) ([]float64, float64, error) {
	c.shown = append(c.shown, len(logW))
	return slices.Repeat([]float64{1}, len(logW)), math.NaN(), nil
}

// misfit is the conditional reward −(x−y)²/(2·0.6²); without a measurement, it is 1.2.
type misfit struct{}

func (misfit) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	return misfit{}.RewardsGiven(context.Background(), x, slices.Repeat([]float32{1.2}, n), n)
}

func (misfit) RewardsGiven(_ context.Context, x, y []float32, n int) ([]float64, error) {
	out := make([]float64, n)
	for i := range out {
		d := float64(x[i]) - float64(y[i])
		out[i] = -d * d / 0.72
	}
	return out, nil
}

func (misfit) GraphGiven(x, y *graph.Node) *graph.Node {
	return graph.ReduceSum(graph.MulScalar(graph.Square(graph.Sub(x, y)), -1/0.72), 1)
}

// FineTuning tells everybody of its groups: the selector, and by the batch the objective and the certificate. Rewards are
// those of each path's own condition.
func TestFineTuningInGroups(t *testing.T) {
	p := gaussians(t)
	objective, selector := &spy{}, &counting{}
	s := p.sampler(oracle.Open(t), diffusion.EulerMaruyama{}, 10, push{0.3})
	s.Given = &diffusion.Condition{Shape: []int{1}, Draw: func(_ noise.Key, path int, y []float32) { y[0] = float32(path / 4) }}
	f := &FineTuning{Sampler: s, Reward: misfit{}, Selector: selector, Objective: objective, Group: 4,
		Buffer: &Buffer{Capacity: 100, Dim: 1}, Iterations: 2, Paths: 10, Key: noise.New(3)}
	var events []Event
	f.Observe = func(ev Event) { events = append(events, ev) }
	if err := f.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if want := []int{4, 4, 2, 4, 4, 2}; !slices.Equal(selector.shown, want) {
		t.Errorf("the selector was shown %v paths at a time, want %v", selector.shown, want)
	}
	for k, w := range objective.batches {
		if w.Group != 4 || len(w.Given) != 10 {
			t.Errorf("the objective sees groups of %d paths and %d conditions", w.Group, len(w.Given))
		}
		for i, x := range w.X {
			d := float64(x) - float64(i/4)
			oracle.Near(t, "reward", w.Reward[i], -d*d/0.72, 1e-12)
		}
		if d := cmp.Diff(events[k].Certificate, w.Certificate(), cmp.Comparer(sameBits)); d != "" {
			t.Errorf("the event has another certificate than the batch:\n%s", d)
		}
		w.Group = 0
		if events[k].ESS == w.Certificate().ESS {
			t.Error("the event's certificate is that of no groups")
		}
	}
}

// followed is the control h = θ·y with a set θ; learntFollowed is the same with trainable θ = /h/theta.
type followed struct {
	control diffusion.Control
}

type learntFollowed struct{ learnt }

func (c learntFollowed) Noise(s diffusion.State) *graph.Node { return followed{c.learnt}.Noise(s) }

func (c learntFollowed) Within(place func(*model.Scope) *model.Scope) htransform.Learned {
	return learntFollowed{learnt{place(c.scope)}}
}

func (c followed) Noise(s diffusion.State) *graph.Node { return graph.Mul(c.control.Noise(s), s.Given) }

// With groups, VarGrad's gradient is that of the mean of the variances within, of a control that sees its own path's condition.
// As without groups, it is taken independently: off-policy, by the five-point rule, exact for a control linear in θ.
func TestVarGradOfGroups(t *testing.T) {
	p := gaussians(t)
	const paths, theta, size = 300, 0.4, 64 // the last group has 44
	given := &diffusion.Condition{Shape: []int{1}, Draw: func(key noise.Key, path int, y []float32) {
		key.Sub("condition").Normal(y, uint64(path/size), 0)
	}}
	weigh := func(s *diffusion.Sampler, visit diffusion.Visitor) Weighted {
		s.Given = given
		simulated, err := s.Run(context.Background(), noise.New(3), 0, paths, visit)
		if err != nil {
			t.Fatal(err)
		}
		w, err := Weigh(context.Background(), simulated, misfit{})
		if err != nil {
			t.Fatal(err)
		}
		w.Group = size
		return w
	}
	spread := func(delta float64) (total float64) { // mean over the groups of Var ℓ
		s := p.sampler(oracle.Open(t), diffusion.DDPM{}, 20, followed{push{theta + delta}})
		s.Drive = followed{push{theta}}
		w := weigh(s, nil)
		w.members(func(lo, hi int) { total += variance(w.LogW[lo:hi]) / math.Ceil(1.*paths/size) })
		return total
	}
	// fit takes one step after the weights were changed.
	fit := func(change func(w *Weighted)) (gradient, loss float64) {
		e := oracle.Open(t)
		h := learntFollowed{newLearnt(e, theta)}
		s := p.sampler(e, diffusion.DDPM{}, 20, h)
		s.Given = given
		o, err := NewVarGrad(s, h, plain, 0)
		if err != nil {
			t.Fatal(err)
		}
		w := weigh(s, o.Visitor(noise.New(1)))
		change(&w)
		if loss, err = o.Fit(context.Background(), noise.New(1), w, nil); err != nil {
			t.Fatal(err)
		}
		return firstGradient(e), loss
	}
	const d = 0.05
	want := (8*(spread(d)-spread(-d)) - (spread(2*d) - spread(-2*d))) / (12 * d)
	gradient, loss := fit(func(*Weighted) {})
	oracle.Near(t, "gradient", gradient, want, 2e-3*math.Abs(want))
	oracle.Near(t, "mean of Var ℓ", loss, spread(0), 1e-4*loss)

	// Constants of the groups drop out; without groups they would not.
	shift := func(w *Weighted) {
		for i := range w.LogW {
			w.LogW[i] += 20 * float64(i/size)
		}
	}
	shifted, shiftedLoss := fit(shift)
	oracle.Near(t, "gradient, the groups' weights shifted", shifted, gradient, 1e-4*math.Abs(gradient))
	oracle.Near(t, "mean of Var ℓ, the groups' weights shifted", shiftedLoss, loss, 1e-9)
	if other, otherLoss := fit(func(w *Weighted) { shift(w); w.Group = 0 }); math.Abs(other-gradient) < 0.1*math.Abs(gradient) || otherLoss < 2*loss {
		t.Errorf("without groups, shifted weights have gradient %g and Var ℓ %g, in groups %g and %g", other, otherLoss, gradient, loss)
	}
	// One group of all is none.
	whole, wholeLoss := fit(func(w *Weighted) { w.Group = 0 })
	all, allLoss := fit(func(w *Weighted) { w.Group = paths })
	oracle.Near(t, "gradient of one group", all, whole, 0)
	oracle.Near(t, "Var ℓ of one group", allLoss, wholeLoss, 0)
	// Lone paths have no variance.
	lone, loneLoss := fit(func(w *Weighted) { w.Group = 1 })
	oracle.Near(t, "gradient of lone paths", lone, 0, 0)
	oracle.Near(t, "Var ℓ of lone paths", loneLoss, 0, 0)
	// A group whose paths are all dead is left out of the gradient.
	dead, deadLoss := fit(func(w *Weighted) {
		for i := range size {
			w.LogW[i] = -inf
		}
	})
	if math.IsNaN(dead) || dead == 0 || !(deadLoss > 0 && deadLoss < 2*loss) {
		t.Errorf("with a dead group: gradient %g, Var ℓ %g", dead, deadLoss)
	}
}
