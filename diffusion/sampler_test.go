package diffusion_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// network is a small random network as a control: batched matrix products may round differently by batch size.
type network struct{ nn.Network }

func (c network) Noise(s diffusion.State) *graph.Node {
	return graph.MulScalar(c.Apply(s.T, s.X), 0.3)
}

// planar is a sampler in two dimensions whose base model and control are networks.
func planar(t *testing.T, batch int) *diffusion.Sampler {
	t.Helper()
	e := oracle.Open(t)
	base := nn.MLP{Scope: e.Scope("/base"), In: 2, Out: 2, Width: 24, Depth: 2, Timed: true}.Init(noise.New(1), 1, 0)
	h := nn.MLP{Scope: e.Scope("/h"), In: 2, Out: 2, Width: 24, Depth: 2, Timed: true}.Init(noise.New(2), 1, 0)
	return &diffusion.Sampler{Engine: e, Steps: grid(diffusion.DDPM{}, 12), Shape: []int{2},
		Base: diffusion.Network{Velocity: base}, Control: network{h}, Batch: batch}
}

// Path i is a function of the key and i. Bit for bit at one batch size, whatever n and the threads, and at every batch size
// where the networks are elementwise; a matrix product of the stock backend rounds a row differently in some batch sizes.
func TestPathsDoNotDependOnBatchOrNumber(t *testing.T) {
	const n = 200
	elementwise := func(t *testing.T, batch int) *diffusion.Sampler {
		return &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(diffusion.DDPM{}, 12), Shape: []int{1}, Base: prior, Control: pull{1}, Batch: batch}
	}
	for name, sampler := range map[string]func(t *testing.T, batch int) *diffusion.Sampler{"elementwise": elementwise, "network": planar} {
		run := func(batch, n int, seed uint64) diffusion.Paths {
			paths, err := sampler(t, batch).Run(context.Background(), noise.New(seed), 0, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			return paths
		}
		want := run(64, n, 3)
		for _, c := range []struct{ batch, n, threads int }{{7, n, 2}, {1000, n, 2}, {0, n, 2}, {64, n, 1}, {64, 50, 2}, {64, 50, 1}, {64, 1, 1}, {7, 50, 1}} {
			old := runtime.GOMAXPROCS(c.threads)
			got := run(c.batch, c.n, 3)
			runtime.GOMAXPROCS(old)
			same := slices.Equal(got.X, want.X[:c.n*want.Dim]) && slices.Equal(got.LogRatio, want.LogRatio[:c.n]) &&
				slices.Equal(got.Energy, want.Energy[:c.n])
			if exact := c.batch == 64 || name == "elementwise"; exact && !same {
				t.Errorf("%s, batch %d, %d threads: the first %d paths differ from those of 200 in batches of 64", name, c.batch, c.threads, c.n)
			}
			for i, x := range got.X {
				oracle.Near(t, name+": x", x, float64(want.X[i]), 2e-5)
			}
			for i := range got.LogRatio {
				oracle.Near(t, name+": log ratio", got.LogRatio[i], want.LogRatio[i], 2e-5)
			}
		}
		for i, x := range run(64, n, 4).X {
			if x == want.X[i] {
				t.Errorf("%s: number %d is the same under another key", name, i)
			}
		}
	}
}

func TestNoiseFreeSteps(t *testing.T) {
	steps := grid(diffusion.DDIM{}, 50)
	s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: steps, Shape: []int{1}, Base: prior, Control: pull{0.5}}
	if _, err := s.Run(context.Background(), noise.New(1), 0, 10, nil); !errors.Is(err, diffusion.ErrNoDensity) {
		t.Errorf("control on noise-free steps: error %v, want ErrNoDensity", err)
	}
	if calls := s.Engine.NetworkCalls(); calls != 0 {
		t.Errorf("%d network calls before the refusal", calls)
	}
	// Without control it is a deterministic map that carries N(0,1) to the data law. No path weight: the ratio is 1.
	const n = 20_000
	paths := simulate(t, steps, n, nil, nil)
	chain(steps, 0).law(t, "DDIM η=0", paths.X, nil)
	for i, ratio := range paths.LogRatio {
		if ratio != 0 || paths.Energy[i] != 0 {
			t.Fatalf("path %d has log ratio %g and energy %g without control", i, ratio, paths.Energy[i])
		}
	}
	// An uncontrolled step ignores the control, and so may be noise-free.
	for i := range steps {
		steps[i].Uncontrolled = true
	}
	controlled := simulate(t, steps, n, pull{1}, nil)
	if !slices.Equal(controlled.X, paths.X) || !slices.Equal(controlled.LogRatio, paths.LogRatio) {
		t.Error("the control moved paths or weights on uncontrolled steps")
	}
}

// A visitor sees everything that the step is about to be made of: recomputing the step from it gives the next state and
// the step's share of the weight.
func TestVisitorSeesTheStep(t *testing.T) {
	s := planar(t, 16)
	s.Twist = func(st diffusion.State) *graph.Node { return graph.ReduceSum(graph.Square(st.X), 1) }
	const n = 40
	var x, ratio, energy []float64
	visits := 0
	seen := map[float32]bool{}
	check := func(gotX []float32, gotRatio, gotEnergy []float64) {
		t.Helper()
		for i := range gotX {
			oracle.Near(t, "x", gotX[i], x[i], 2e-6*(1+math.Abs(x[i])))
		}
		for i := range gotRatio {
			oracle.Near(t, "log ratio", gotRatio[i], ratio[i], 1e-9)
			oracle.Near(t, "energy", gotEnergy[i], energy[i], 1e-9)
		}
	}
	paths, err := s.Run(context.Background(), noise.New(5), 0, n, func(p *diffusion.Population) error {
		if p.Index != visits || p.Step != s.Steps[visits] {
			t.Errorf("visit %d is of step %d, %+v", visits, p.Index, p.Step)
		}
		visits++
		if x == nil {
			x, ratio, energy = make([]float64, 2*n), make([]float64, n), make([]float64, n)
		} else {
			check(p.X, p.LogRatio, p.Energy)
		}
		z := make([]float32, 2)
		for i := range n {
			p.Noise(i, z)
			if seen[z[0]] || z[0] == p.X[2*i] { // at the first step X is itself noise
				t.Errorf("step %d moves path %d by noise that was used before", p.Index, i)
			}
			seen[z[0]] = true
			var square float64
			for a := range 2 {
				j := 2*i + a
				square += float64(p.X[j]) * float64(p.X[j])
				d, sz := p.Step.K*float64(p.EpsH[j]), p.Step.S*float64(z[a])
				x[j] = p.Step.A*float64(p.X[j]) + p.Step.K*float64(p.Eps[j]) + d + sz
				ratio[i] += -d*d/(2*p.Step.S*p.Step.S) - d*float64(z[a])/p.Step.S
				energy[i] += d * d / (2 * p.Step.S * p.Step.S)
			}
			oracle.Near(t, "twist", p.LogTwist[i], square, 1e-5*(1+square))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check(paths.X, paths.LogRatio, paths.Energy)
	if visits != len(s.Steps) {
		t.Errorf("%d visits of %d steps", visits, len(s.Steps))
	}
}

// Resampling moves whole paths: state, predictions, weights. What follows is fresh noise of the place, not of the ancestor.
func TestResample(t *testing.T) {
	s := planar(t, 16)
	s.Drive, s.Twist = diffusion.Uncontrolled{}, func(st diffusion.State) *graph.Node { return graph.ReduceSum(st.X, 1) }
	ancestors := []int{3, 3, 0, 0, 0, 7, 1, 3}
	paths, err := s.Run(context.Background(), noise.New(6), 0, len(ancestors), func(p *diffusion.Population) error {
		if p.Index != 5 {
			return nil
		}
		x, eps, epsH := slices.Clone(p.X), slices.Clone(p.Eps), slices.Clone(p.EpsH)
		ratio, energy, twist := slices.Clone(p.LogRatio), slices.Clone(p.Energy), slices.Clone(p.LogTwist)
		p.Resample(ancestors)
		for i, a := range ancestors {
			for c := range 2 {
				if p.X[2*i+c] != x[2*a+c] || p.Eps[2*i+c] != eps[2*a+c] || p.EpsH[2*i+c] != epsH[2*a+c] {
					t.Errorf("path %d is not a copy of path %d", i, a)
				}
			}
			if p.LogRatio[i] != ratio[a] || p.Energy[i] != energy[a] || p.LogTwist[i] != twist[a] {
				t.Errorf("the weights of path %d are not those of path %d", i, a)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if paths.X[0] == paths.X[2] || paths.X[4] == paths.X[6] {
		t.Error("copies of one ancestor did not part")
	}
}

// On paths driven by g, resampling must move the predictions of g as well: here all copies would else walk apart.
func TestResampleMovesTheDrive(t *testing.T) {
	steps := grid(diffusion.EulerMaruyama{}, 4)
	s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: steps, Shape: []int{1}, Base: prior, Control: pull{0.5}, Drive: pull{3}}
	var want float64
	paths, err := s.Run(context.Background(), noise.New(7), 0, 2, func(p *diffusion.Population) error {
		if p.Index != len(steps)-1 {
			return nil
		}
		p.Resample([]int{1, 1})
		slope, offset := tilted.line(p.Step.T)
		a, b := prior.line(p.Step.T)
		x, z := float64(p.X[0]), make([]float32, 1)
		p.Noise(0, z)
		want = p.Step.A*x + p.Step.K*(a*x+b+3*((slope-a)*x+offset-b)) + p.Step.S*float64(z[0])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	oracle.Near(t, "endpoint of the copy", paths.X[0], want, 1e-4)
}

// A control that would come too late is refused.
func TestGuide(t *testing.T) {
	s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(diffusion.DDPM{}, 3), Shape: []int{1}, Base: prior}
	if err := s.Guide(pull{1}); err != nil || s.Control != diffusion.Control(pull{1}) {
		t.Errorf("control %v, error %v", s.Control, err)
	}
	if _, err := s.Run(context.Background(), noise.New(1), 0, 5, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Guide(pull{0.5}); err == nil || s.Control != diffusion.Control(pull{1}) {
		t.Errorf("after a run: control %v, error %v", s.Control, err)
	}
}

func TestSamplerStops(t *testing.T) {
	s := planar(t, 16)
	ctx, cancel := context.WithCancel(context.Background())
	visits := 0
	_, err := s.Run(ctx, noise.New(1), 0, 4, func(*diffusion.Population) error {
		if visits++; visits == 3 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || visits != 3 {
		t.Errorf("cancelled at the third visit: error %v after %d", err, visits)
	}
	broken := errors.New("broken")
	if _, err := s.Run(context.Background(), noise.New(1), 0, 4, func(*diffusion.Population) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("the visitor's error became %v", err)
	}
}

// counted is a control that stands for one with a network.
type counted struct{ diffusion.Control }

func (c counted) Noise(s diffusion.State) *graph.Node {
	engine.CountCall(s.X)
	return c.Control.Noise(s)
}

// A network counts wherever it is evaluated; a control without one costs no call.
func TestSamplingCountsEveryNetworkCall(t *testing.T) {
	for _, c := range []struct {
		name           string
		control, drive diffusion.Control
		networks       int64
	}{
		{"base", nil, nil, 1}, {"control", counted{pull{1}}, nil, 2}, {"control and drive", counted{pull{1}}, counted{pull{0.5}}, 3},
		{"controls without a network", pull{1}, diffusion.Uncontrolled{}, 1},
	} {
		const n, steps = 90, 9 // in batches of 32, the last one padded: padding is no call
		s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(diffusion.DDPM{}, steps), Shape: []int{1}, Base: prior,
			Control: c.control, Drive: c.drive, Batch: 32}
		for run := range int64(2) {
			if _, err := s.Run(context.Background(), noise.New(1), 0, n, nil); err != nil {
				t.Fatal(err)
			}
			if got, want := s.Engine.NetworkCalls(), (run+1)*n*steps*c.networks; got != want {
				t.Errorf("%s, run %d: %d network calls, want %d", c.name, run+1, got, want)
			}
			if got := s.Engine.Paths(); got != (run+1)*n {
				t.Errorf("%s, run %d: %d paths, want %d", c.name, run+1, got, (run+1)*n)
			}
		}
	}
}

// A model that fails while its graph is built is an error that says where, not a panic.
func TestBrokenModelIsAnError(t *testing.T) {
	s := &diffusion.Sampler{Engine: oracle.Open(t), Steps: grid(diffusion.DDPM{}, 3), Shape: []int{1}, Base: broken{}}
	if _, err := s.Run(context.Background(), noise.New(1), 0, 5, nil); err == nil {
		t.Error("no error")
	}
}

type broken struct{}

func (broken) Noise(s diffusion.State) *graph.Node {
	return graph.Add(s.X, graph.Ones(s.X.Graph(), engine.Rows(make([]float32, 21), 7).Shape()))
}
