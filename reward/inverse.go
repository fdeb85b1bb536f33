package reward

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
)

// Inverse is the log-likelihood of a measurement y = Ax + σξ without its constant,
//
//	r(x; y) = −‖Ax − y‖² / (2σ²),
//
// over the observed entries of y (the reward of the paper's C.2). [NewInverse] makes one.
type Inverse struct {
	Operator Operator
	Sigma    float64   // σ > 0, in units of the images, which are in [−1, 1]
	Image    []int     // shape of one image, [height, width, channels]
	Shape    []int     // shape of one measurement
	Observed []float32 // flat in that shape: 1 where a measurement is observed, 0 elsewhere
	Batch    int       // images measured at a time
	Y        []float32 // the measurement of images that come without one, flat; nil if there is none

	engine  *engine.Engine
	count   int // of observed entries
	program *engine.Program
}

var (
	_ Differentiable = (*Inverse)(nil)
	_ Conditional    = (*Inverse)(nil)
)

// ErrNoMeasurement says that images came without a measurement, and the reward has none of its own.
var ErrNoMeasurement = errors.New("no measurement")

// NewInverse compiles the measurement of images of one shape. Batch 0 means 256. y is the measurement that [Inverse.Rewards]
// and [Inverse.Graph] judge by; nil if every image comes with its own.
func NewInverse(e *engine.Engine, a Operator, sigma float64, image []int, batch int, y []float32) (*Inverse, error) {
	shape, err := a.Shape(image)
	if err != nil {
		return nil, err
	}
	if !(sigma > 0) || math.IsInf(sigma, 1) {
		return nil, fmt.Errorf("reward: the noise of a measurement has standard deviation %g, want a positive number", sigma)
	}
	if batch <= 0 {
		batch = 256
	}
	r := &Inverse{Operator: a, Sigma: sigma, Image: slices.Clone(image), Shape: shape, Batch: batch, Y: y, engine: e}
	if y != nil && len(y) != engine.Size(shape) {
		return nil, fmt.Errorf("reward: a measurement of %d numbers, want %d, shape %v", len(y), engine.Size(shape), shape)
	}
	if r.program, err = e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{a.Measure(in[0])} }); err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	// Without negative entries in A, the entries of A1 that are 0 are those to which no pixel contributes.
	if r.Observed, err = r.Apply(context.Background(), slices.Repeat([]float32{1}, engine.Size(image)), 1); err != nil {
		return nil, err
	}
	for i, v := range r.Observed {
		if v != 0 {
			r.Observed[i] = 1
			r.count++
		}
	}
	return r, nil
}

// Rewards implements [Reward] with the measurement Y; without one, the error is [ErrNoMeasurement].
func (r *Inverse) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	if r.Y == nil {
		return nil, fmt.Errorf("reward: %w: this reward was made for images that have one each (RewardsGiven), give NewInverse the one to judge by", ErrNoMeasurement)
	}
	return r.rewards(ctx, x, n, func(int) []float32 { return r.Y })
}

// RewardsGiven implements [Conditional] for images x [n, …] and measurements y [n, …]. Squares are summed in float64.
func (r *Inverse) RewardsGiven(ctx context.Context, x, y []float32, n int) ([]float64, error) {
	d := engine.Size(r.Shape)
	if len(y) != n*d {
		return nil, fmt.Errorf("reward: %d numbers for %d measurements of shape %v, want %d", len(y), n, r.Shape, n*d)
	}
	return r.rewards(ctx, x, n, func(i int) []float32 { return y[i*d : (i+1)*d] })
}

func (r *Inverse) rewards(ctx context.Context, x []float32, n int, y func(i int) []float32) ([]float64, error) {
	ax, err := r.Apply(ctx, x, n)
	if err != nil {
		return nil, err
	}
	out, d := make([]float64, n), engine.Size(r.Shape)
	for i := range out {
		var sum float64
		for k, v := range y(i) {
			diff := (float64(ax[i*d+k]) - float64(v)) * float64(r.Observed[k])
			sum += diff * diff
		}
		out[i] = -sum / (2 * r.Sigma * r.Sigma)
	}
	return out, nil
}

// Graph implements [Differentiable] with the measurement Y. It panics with [ErrNoMeasurement] without one.
func (r *Inverse) Graph(x *graph.Node) *graph.Node {
	if r.Y == nil {
		panic(fmt.Errorf("reward: %w: GraphGiven takes it as a node", ErrNoMeasurement))
	}
	return r.GraphGiven(x, r.constant(x, r.Y))
}

// GraphGiven implements [Conditional], [batch] for x [batch, …] and y [batch, …], or y [1, …] for all.
func (r *Inverse) GraphGiven(x, y *graph.Node) *graph.Node {
	diff := graph.Sub(r.Operator.Measure(x), y)
	if r.count < len(r.Observed) {
		diff = graph.Mul(diff, r.constant(x, r.Observed))
	}
	return graph.MulScalar(graph.ReduceSum(graph.Square(diff), 1, 2, 3), -1/(2*r.Sigma*r.Sigma))
}

// constant returns values of one measurement as a node [1, …].
func (r *Inverse) constant(x *graph.Node, values []float32) *graph.Node {
	return graph.ConvertDType(graph.ConstTensor(x.Graph(), engine.Rows(values, r.Shape...)), x.DType())
}
