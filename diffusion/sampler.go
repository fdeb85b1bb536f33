package diffusion

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/noise"
)

// ErrNoDensity says that a control would shift the mean of a noise-free step, where dP/dP^h does not exist.
var ErrNoDensity = errors.New("a control on a noise-free step has no path weight")

// Sampler simulates the guided SDE (5) step by step and accumulates log dP/dP^h (Lemma 4, Proposition 6) on the way,
// in float64 and without further network calls. Its fields must not change after the first Run.
type Sampler struct {
	Engine  *engine.Engine
	Process Process // whose Steps these are; nil means VP{}
	Steps   []Step
	Shape   []int // of one sample, such as [2] or [28, 28, 1]
	Base    Model
	Control Control // h; nil samples the base process
	// Drive, if set, moves the paths in place of Control, and the weight of Control is accumulated off-policy: on paths
	// of P^g, still log dP/dP^h. Use Uncontrolled to drive by the base process.
	Drive Control
	// Twist, if set, is evaluated at every state and shown to the visitor: log ψ_t(x) [batch].
	Twist func(State) *graph.Node
	// Given, if set, is what every path is conditioned on. Base model and controls see it as [State.Given].
	Given *Condition
	// Batch is the number of rows in one network evaluation; 0 means 1024. Fewer paths are padded to it: kernels choose the
	// order of their sums by shapes, and so path i is the same to the last bit whatever the number of paths.
	Batch int
	// Elsewhere, if set, does what Run does in place of this process, with the same result: see [Sampler.Piece] and [Sampler.Join], and there what a
	// visitor does not see.
	Elsewhere func(ctx context.Context, key noise.Key, from, n int, visit Visitor) (Paths, error)

	once    sync.Once
	program *engine.Program
	err     error
}

// Guide makes h the control. It fails once the sampler has run, with the control that it had then.
func (s *Sampler) Guide(h Control) error {
	if s.program != nil {
		return errors.New("diffusion: the sampler has run already, with another control: make a new one")
	}
	s.Control = h
	return nil
}

// Uncontrolled is the control h = 0.
type Uncontrolled struct{}

// Noise implements [Control].
func (Uncontrolled) Noise(s State) *graph.Node { return graph.ZerosLike(s.X) }

// Condition is what paths are conditioned on, such as measurements y of images (56).
type Condition struct {
	Shape []int // of one condition
	// Draw fills in the condition of a path. It depends on the key, one of its own below that of the simulation, and the path
	// only, and is called for several paths at once.
	Draw func(key noise.Key, path int, y []float32)
	// Of returns the conditions [batch, Shape…] of samples x0 that are learned from, given noise ξ ~ N(0, I) of that shape; nil
	// where nothing is learned from samples. To draw y anew from x0 is right only if Draw takes y from its marginal law: then (x0, y) is
	// of the joint law. Where all paths have one fixed y, Of must return that y, since a redrawn one counts the likelihood twice.
	Of func(x0, xi *graph.Node) *graph.Node
}

// Dim returns the number of numbers in one condition.
func (c *Condition) Dim() int { return engine.Size(c.Shape) }

// Paths are simulated paths by their endpoints. Nothing else of a path is kept.
type Paths struct {
	N, Dim   int
	X        []float32 // [N, Dim], row-major: the endpoints x_0
	LogRatio []float64 // [N]: log dP/dP^h
	// Energy is ½Σ‖D‖²/s² [N], the discrete ½∫σ²‖h‖²dt of (10) and (17).
	Energy []float64
	// StepEnergy [steps] is the mean over the paths of each step's part of Energy: where control is spent, and so where log weights get their variance.
	StepEnergy []float64
	Given      []float32 // [N, …]: what each path is conditioned on; nil without Sampler.Given
}

// Population is all paths of a simulation at one time, before they move.
type Population struct {
	Paths
	From     int // of all paths of the key, the one that is path 0 here
	Index    int // of Step
	Step     Step
	Eps      []float32 // ε_θ  [N, Dim]
	EpsH     []float32 // ε_h  [N, Dim], of Control
	LogTwist []float64 // log ψ_t [N]; nil without Sampler.Twist

	drive []float32
	spent []float64 // [N]: what the last step has added to Energy
	key   noise.Key
}

// Noise fills z [Dim] with the noise that will move a path of the population from here.
func (p *Population) Noise(path int, z []float32) {
	p.key.Normal(z, uint64(p.From+path), uint32(p.Index+1))
}

// Resample replaces path i by a copy of path ancestors[i].
func (p *Population) Resample(ancestors []int) {
	for _, rows := range [][]float32{p.X, p.Eps, p.EpsH, p.drive} {
		gather(rows, ancestors, p.Dim)
	}
	gather(p.Given, ancestors, len(p.Given)/p.N)
	for _, v := range [][]float64{p.LogRatio, p.Energy, p.LogTwist} {
		gather(v, ancestors, 1)
	}
}

func gather[T any](rows []T, ancestors []int, width int) {
	if rows == nil {
		return
	}
	old := append([]T(nil), rows...)
	for i, a := range ancestors {
		copy(rows[i*width:(i+1)*width], old[a*width:(a+1)*width])
	}
}

// Visitor is called before every step with the whole population. It may read and resample it.
type Visitor func(*Population) error

// Run simulates the n paths from the one of number from on, of the endless row of paths of a key. Path i depends on the key
// and i only: not on from, n, the place in a batch or the number of threads. So a simulation can be divided, to be done by
// several machines. Run stops with the context's error between two steps.
func (s *Sampler) Run(ctx context.Context, key noise.Key, from, n int, visit Visitor) (Paths, error) {
	if s.Elsewhere != nil {
		return s.Elsewhere(ctx, key, from, n, visit)
	}
	return s.run(ctx, key, from, n, visit, nil)
}

// run is Run in this process; moved, if not nil, sees the population after every step.
func (s *Sampler) run(ctx context.Context, key noise.Key, from, n int, visit Visitor, moved func(*Population)) (Paths, error) {
	if err := s.compile(); err != nil {
		return Paths{}, err
	}
	s.Engine.CountPaths(n)
	dim := s.dim()
	p := &Population{Paths: Paths{N: n, Dim: dim, X: make([]float32, n*dim), LogRatio: make([]float64, n), Energy: make([]float64, n),
		StepEnergy: make([]float64, len(s.Steps))},
		From: from, Eps: make([]float32, n*dim), EpsH: make([]float32, n*dim), spent: make([]float64, n), key: key}
	if s.Drive != nil {
		p.drive = make([]float32, n*dim)
	}
	if s.Twist != nil {
		p.LogTwist = make([]float64, n)
	}
	if s.Given != nil {
		p.Given = s.given(key, from, n)
	}
	parallel(n, func(i int) { key.Normal(p.X[i*dim:(i+1)*dim], uint64(from+i), 0) }) // H_1 ~ N(0, I), Remark 2
	for p.Index, p.Step = range s.Steps {
		if err := ctx.Err(); err != nil {
			return Paths{}, err
		}
		if err := s.predict(p); err != nil {
			return Paths{}, err
		}
		if visit != nil {
			if err := visit(p); err != nil {
				return Paths{}, err
			}
		}
		move(p)
		if moved != nil {
			moved(p)
		}
	}
	return p.Paths, nil
}

// move takes one step with every path: x' = a·x + k·(ε_θ+ε_g) + s·z, and adds the step's log dP/dP^h. With the noise z
// that was really added and δ = D_g + s·z the displacement from the base mean,
//
//	log N(x'; μ, s²) − log N(x'; μ+D, s²) = ‖D‖²/(2s²) − ⟨D,δ⟩/s²
//
// which on the control's own paths, g = h, is −‖D‖²/(2s²) − ⟨D,z⟩/s (44).
func move(p *Population) {
	st, dim, drive := p.Step, p.Dim, p.EpsH
	if p.drive != nil {
		drive = p.drive
	}
	controlled := 1.0
	if st.Uncontrolled {
		controlled = 0
	}
	workers := chunks(p.N)
	clear(p.spent)
	parallel(len(workers), func(w int) {
		z := make([]float32, dim)
		for i := workers[w][0]; i < workers[w][1]; i++ {
			x, eps, epsH, epsG := p.X[i*dim:(i+1)*dim], p.Eps[i*dim:], p.EpsH[i*dim:], drive[i*dim:]
			p.Noise(i, z)
			var energy, inner float64
			for j := range x {
				d := controlled * st.K * float64(epsH[j])
				delta := controlled*st.K*float64(epsG[j]) + st.S*float64(z[j])
				x[j] = float32(st.A*float64(x[j]) + st.K*float64(eps[j]) + delta)
				energy += d * d
				inner += d * delta
			}
			if energy > 0 {
				s2 := st.S * st.S
				p.LogRatio[i] += energy/(2*s2) - inner/s2
				p.spent[i] = energy / (2 * s2)
				p.Energy[i] += p.spent[i]
			}
		}
	})
	p.StepEnergy[p.Index] = meanInOrder(p.spent)
}

// meanInOrder sums in the order of paths: the same to the last bit for any number of workers.
func meanInOrder(v []float64) (mean float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	return mean
}

// given draws the conditions of n paths.
func (s *Sampler) given(key noise.Key, from, n int) []float32 {
	width, given := s.Given.Dim(), key.Sub("given")
	y := make([]float32, n*width)
	parallel(n, func(i int) { s.Given.Draw(given, from+i, y[i*width:(i+1)*width]) })
	return y
}

// predict evaluates the networks on the whole population, in batches of one shape.
func (s *Sampler) predict(p *Population) error {
	batch := s.batch()
	errs := make([]error, (p.N+batch-1)/batch)
	s.Engine.Each(len(errs), func(b int) { errs[b] = s.predictBatch(p, b*batch, min((b+1)*batch, p.N)) })
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("diffusion: step %d of %d: %w", p.Index+1, len(s.Steps), err)
	}
	return nil
}

func (s *Sampler) predictBatch(p *Population, lo, hi int) error {
	rows := make([]float32, s.batch()*p.Dim) // a short batch is padded with zeros
	copy(rows, p.X[lo*p.Dim:hi*p.Dim])
	inputs := []any{engine.Rows(rows, s.Shape...), []float32{float32(p.Step.T)}}
	if s.Given != nil {
		width := s.Given.Dim()
		given := make([]float32, s.batch()*width)
		copy(given, p.Given[lo*width:hi*width])
		inputs = append(inputs, engine.Rows(given, s.Given.Shape...))
	}
	out, err := s.program.RunPadded(hi-lo, s.batch(), inputs...)
	if err != nil {
		return err
	}
	targets := [][]float32{p.Eps, p.EpsH}
	if p.drive != nil {
		targets = append(targets, p.drive)
	}
	for i, target := range targets {
		if err := engine.Floats(target[lo*p.Dim:hi*p.Dim], out[i]); err != nil {
			return err
		}
	}
	if s.Twist == nil {
		return nil
	}
	twist := make([]float32, hi-lo)
	if err := engine.Floats(twist, out[len(targets)]); err != nil {
		return err
	}
	for i, v := range twist {
		p.LogTwist[lo+i] = float64(v)
	}
	return nil
}

func (s *Sampler) compile() error {
	s.once.Do(func() {
		for i, st := range s.Steps {
			if st.S == 0 && !st.Uncontrolled && s.Control != nil {
				s.err = fmt.Errorf("diffusion: step %d of %d: %w: use a kernel with noise (ddim: eta > 0), or no control", i+1, len(s.Steps), ErrNoDensity)
				return
			}
		}
		s.program, s.err = s.Engine.Compile(func(in []*graph.Node) []*graph.Node {
			state := State{Process: s.Process, X: in[0], T: in[1]}
			if s.Given != nil {
				state.Given = in[2]
			}
			state = state.Evaluate(s.Base)
			out := []*graph.Node{state.Eps, state.Noise(s.Control)}
			if s.Drive != nil {
				out = append(out, state.Noise(s.Drive))
			}
			if s.Twist != nil {
				out = append(out, s.Twist(state))
			}
			return out
		})
	})
	return s.err
}

func (s *Sampler) batch() int {
	if s.Batch > 0 {
		return s.Batch
	}
	return 1024
}

func (s *Sampler) dim() int { return engine.Size(s.Shape) }

// chunks splits 0…n into one interval per worker.
func chunks(n int) [][2]int {
	workers := min(runtime.GOMAXPROCS(0), n)
	out := make([][2]int, workers)
	for w := range out {
		out[w] = [2]int{w * n / workers, (w + 1) * n / workers}
	}
	return out
}

// parallel calls fn(0) … fn(n−1) on all processors and waits.
func parallel(n int, fn func(i int)) {
	var wait sync.WaitGroup
	for _, c := range chunks(n) {
		wait.Go(func() {
			for i := c[0]; i < c[1]; i++ {
				fn(i)
			}
		})
	}
	wait.Wait()
}
