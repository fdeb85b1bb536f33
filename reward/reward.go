// Package reward scores samples: r(x), the log of the factor by which the prior is tilted in (1), with its temperature
// absorbed. A [Reward] is a host function on a batch and may be a black box; a [Differentiable] one is also a graph
// function, whose gradient guides samplers and feeds the reward-informed h-transform (16).
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

// Reward evaluates samples.
type Reward interface {
	// Rewards returns r per sample for x [n, …], flat and row-major. Callers judge the values by [Evaluate].
	Rewards(ctx context.Context, x []float32, n int) ([]float64, error)
}

// ErrInvalid says that a reward is NaN or +∞, or that there are not as many rewards as samples. A reward of −∞ is allowed:
// it forbids the sample.
var ErrInvalid = errors.New("invalid reward")

// ErrFailed says that what scores samples and is no part of doob has failed: nothing is known of the samples. Once it works again, so does what has failed.
var ErrFailed = errors.New("reward failed")

// Conditional rewards score a sample by what it is conditioned on, r(x; y), such as the likelihood of a measurement y.
type Conditional interface {
	// RewardsGiven returns r per sample for x [n, …] and y [n, …].
	RewardsGiven(ctx context.Context, x, y []float32, n int) ([]float64, error)
	// GraphGiven returns r [batch] for x [batch, …] and y [batch, …].
	GraphGiven(x, y *graph.Node) *graph.Node
}

// Evaluate returns the rewards of n simulated samples x [n, …], each finite or −∞. A sample that is itself not finite,
// because its simulation diverged, gets −∞. Given, if not nil, is what the samples are conditioned on [n, …], for rewards
// that are [Conditional]. A reward gets copies of both, so that it may use them as it likes. Errors wrap [ErrInvalid].
func Evaluate(ctx context.Context, r Reward, x, given []float32, n int) ([]float64, error) {
	var values []float64
	var err error
	if c, ok := r.(Conditional); ok && given != nil {
		values, err = c.RewardsGiven(ctx, slices.Clone(x), slices.Clone(given), n)
	} else {
		values, err = r.Rewards(ctx, slices.Clone(x), n)
	}
	if err != nil {
		return nil, err
	}
	if len(values) != n {
		return nil, fmt.Errorf("reward: %w: %d values for %d samples", ErrInvalid, len(values), n)
	}
	out, dim := slices.Clone(values), len(x)/max(n, 1)
	for i, v := range out {
		switch {
		case !finite(x[i*dim : (i+1)*dim]):
			out[i] = math.Inf(-1)
		case math.IsNaN(v) || math.IsInf(v, 1):
			return nil, fmt.Errorf("reward: %w: it is %g for sample %d of %d, want a finite number or −∞", ErrInvalid, v, i, n)
		}
	}
	return out, nil
}

func finite(x []float32) bool {
	for _, v := range x {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// Differentiable rewards can be evaluated in a graph.
type Differentiable interface {
	Reward
	// Graph returns r [batch] for x [batch, …].
	Graph(x *graph.Node) *graph.Node
}

// Bulky is implemented by rewards whose graphs take much memory: one should not be of more than Rows samples.
type Bulky interface {
	Differentiable
	Rows() int
}

// Func is a black-box reward: a function of one sample.
type Func func(x []float32) float64

var _ Reward = Func(nil)

// Rewards implements [Reward].
func (f Func) Rewards(_ context.Context, x []float32, n int) ([]float64, error) {
	out, dim := make([]float64, n), len(x)/max(n, 1)
	for i := range out {
		out[i] = f(x[i*dim : (i+1)*dim])
	}
	return out, nil
}

// Graph returns r [batch] for x [batch, …]. Given, if not nil, is what the samples are conditioned on [batch, …], for
// rewards that are [Conditional].
func Graph(r Differentiable, x, given *graph.Node) *graph.Node {
	if c, ok := r.(Conditional); ok && given != nil {
		return c.GraphGiven(x, given)
	}
	return r.Graph(x)
}

// Gradient returns ∇ₓ r, shaped like x, of what [Graph] returns. It is a function of x like any other: what depends on x can be
// backpropagated through it, if the operations of r can be differentiated twice.
func Gradient(r Differentiable, x, given *graph.Node) *graph.Node {
	return graph.Gradient(graph.ReduceAllSum(Graph(r, x, given)), x)[0]
}

// Graphed makes a [Differentiable] of a graph function, evaluated in batches of fixed size on an engine.
type Graphed struct {
	Function func(x *graph.Node) *graph.Node // [batch, Shape…] → [batch]
	Shape    []int                           // of one sample
	Batch    int

	program *engine.Program
}

var _ Differentiable = (*Graphed)(nil)

// NewGraphed compiles a graph reward. Batch 0 means 256.
func NewGraphed(e *engine.Engine, shape []int, batch int, fn func(x *graph.Node) *graph.Node) (*Graphed, error) {
	if batch <= 0 {
		batch = 256
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{fn(in[0])} })
	if err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	return &Graphed{Function: fn, Shape: shape, Batch: batch, program: program}, nil
}

// Graph implements [Differentiable].
func (r *Graphed) Graph(x *graph.Node) *graph.Node { return r.Function(x) }

// Rewards implements [Reward].
func (r *Graphed) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	values, err := r.program.Map(ctx, x, n, r.Batch, r.Shape...)
	if err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	out := make([]float64, n)
	for i, v := range values {
		out[i] = float64(v)
	}
	return out, nil
}
