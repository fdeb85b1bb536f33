package reward

import (
	"context"
	"fmt"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/vision"
)

// Pictured is the reward of pictures [height, width, 3], −1 for black and 1 for full colour, by a network that takes them resized and normalised, as
// package vision does it. [ImageReward.For] and [CLIP.For] make one for a text.
//
// [Pictured.Rewards] shows the network pictures of 8 bits, as published rewards are computed, one at a time. [Pictured.Graph] has no rounding, so
// that gradients go through it: it differs a little.
type Pictured struct {
	height, width, side int
	score               func(prepared *graph.Node) *graph.Node // [batch, side, side, 3] → [batch]
	program             *engine.Program                        // the same
}

var _ Differentiable = (*Pictured)(nil)

func newPictured(e *engine.Engine, height, width, side int, score func(*graph.Node) *graph.Node) (*Pictured, error) {
	if height < 1 || width < 1 {
		return nil, fmt.Errorf("reward: of pictures [%d, %d, 3], want sides of at least 1", height, width)
	}
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node { return []*graph.Node{score(in[0])} })
	if err != nil {
		return nil, fmt.Errorf("reward: %w", err)
	}
	return &Pictured{height, width, side, score, program}, nil
}

// Of returns the reward of one picture, of any size.
func (r *Pictured) Of(p vision.RGB) (float64, error) {
	out, err := r.program.Run(engine.Rows(p.Prepare(r.side), r.side, r.side, 3))
	if err != nil {
		return 0, fmt.Errorf("reward: %w", err)
	}
	var value [1]float32
	if err := engine.Floats(value[:], out[0]); err != nil {
		return 0, fmt.Errorf("reward: %w", err)
	}
	return float64(value[0]), nil
}

// Rewards implements [Reward], for x [n, height, width, 3].
func (r *Pictured) Rewards(ctx context.Context, x []float32, n int) ([]float64, error) {
	dim := 3 * r.height * r.width
	if len(x) != n*dim {
		return nil, fmt.Errorf("reward: of %d numbers, want %d pictures [%d, %d, 3]", len(x), n, r.height, r.width)
	}
	out := make([]float64, n)
	for i := range out {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		var err error
		if out[i], err = r.Of(vision.FromSample(x[i*dim:(i+1)*dim], r.height, r.width)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Graph implements [Differentiable], for x [batch, height, width, 3].
func (r *Pictured) Graph(x *graph.Node) *graph.Node { return r.score(prepared(x, r.side)) }

// prepared returns the middle squares of pictures x [batch, height, width, 3] as networks take them, [batch, side, side, 3]: clamped to colours that
// there are, resized by the weights of [vision.RGB.Resize] without its rounding, less [vision.Mean] in units of [vision.SD].
func prepared(x *graph.Node, side int) *graph.Node {
	d := x.Shape().Dimensions
	if len(d) != 4 || d[3] != 3 {
		panic(fmt.Errorf("reward: of pictures %s: want [batch, height, width, 3]", x.Shape()))
	}
	height, width, top, left := vision.Fit(d[1], d[2], side)
	x = graph.AddScalar(graph.MulScalar(graph.ClipScalar(x, -1, 1), 0.5), 0.5)
	x = graph.Einsum("bhwc,sh->bswc", x, rows(x, d[1], height, top, side))
	x = graph.Einsum("bswc,tw->bstc", x, rows(x, d[2], width, left, side))
	colour := func(v [3]float32) *graph.Node { return graph.InsertAxes(graph.ConstAs(x, v[:]), 0, 0, 0) }
	return graph.Div(graph.Sub(x, colour(vision.Mean)), colour(vision.SD))
}

// rows returns side rows from first on of the matrix that resizes in numbers to out.
func rows(like *graph.Node, in, out, first, side int) *graph.Node {
	m := vision.Matrix(in, out)[first*in : (first+side)*in]
	matrix := make([][]float32, side)
	for i := range matrix {
		matrix[i] = m[i*in : (i+1)*in]
	}
	return graph.ConstAs(like, matrix)
}
