package vec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// GroupNormSpec is the shape of a group normalisation of x [Batch, Spatial, Channels], where Spatial is the product of
// the spatial dimensions.
//
// Each of the groups of Channels/Groups neighbouring channels of an image has a mean μ and a biased variance σ², and
//
//	y = f((x − μ)/√(σ² + ε)·scale[c] + bias[c]),
//
// where f is SiLU if asked for and else the identity. Scale and bias are [Channels], or with Adaptive [Batch, Channels].
type GroupNormSpec struct {
	Batch, Spatial, Channels, Groups int
	Epsilon                          float64
	SiLU, Adaptive                   bool
}

// GroupNorm is a prepared group normalisation.
//
// An image that fits into the L2 cache is one part, from the statistics to the result. Otherwise, or if there are too few
// images, the parts are blocks of rows, and all images go through each phase together. A row is the channels of a pixel;
// the kernels run over rows of tile pixels at a time, to fill whole vectors.
type GroupNorm struct {
	spec   GroupNormSpec
	width  int // channels of a group
	tile   int // pixels in a row of the kernels
	rows   int // pixels in a block
	blocks int // blocks of an image
	images int // images in a part, if an image has one block

	forward, moments, normalise, apply          func(part, worker int)
	backward, gradMoments, gradTotal, gradApply func(part, worker int)

	// The operands of the run in progress.
	ctx                       *kern.Context
	y, x, scale, bias         []float32
	dy, dx, dscaleOf, dbiasOf []float32 // [batch, channels] of each image
	states                    []float32 // of all images, if an image has several blocks
}

// PrepareGroupNorm checks the shape and divides the work.
func PrepareGroupNorm(spec GroupNormSpec) (*GroupNorm, error) {
	batch, spatial, channels := spec.Batch, spec.Spatial, spec.Channels
	if batch < 1 || spatial < 1 || channels < 1 {
		return nil, fmt.Errorf("vec: group norm of shape [%d, %d, %d]: expected positive dimensions", batch, spatial, channels)
	}
	if spec.Groups < 1 || channels%spec.Groups != 0 {
		return nil, fmt.Errorf("vec: group norm of %d channels in %d groups: the groups must divide the channels", channels, spec.Groups)
	}
	if !(spec.Epsilon >= 0) {
		return nil, fmt.Errorf("vec: group norm with ε = %g: expected a number of at least 0", spec.Epsilon)
	}
	const (
		cached = 1 << 17 // values of an image that stays in L2 beside its result
		enough = 16      // images that occupy the workers
	)
	g := &GroupNorm{spec: spec, width: channels / spec.Groups, tile: 1, rows: spatial, blocks: 1, images: 1}
	image := spatial * channels
	if image > cached || batch < enough && image > 2*grain {
		g.rows = max(1, 2*grain/channels)
		g.blocks = ceil(spatial, g.rows)
	} else {
		g.images = max(1, grain/image)
	}
	// Whole blocks of 64 columns suit the kernels that hold sums in registers; those that hold them in memory need not
	// wait for a sum of the row before if a row has 256 columns.
	for size := channels; 2*g.tile <= g.rows && (size < 256 || size%64 != 0 && size < 1024); size *= 2 {
		g.tile *= 2
	}
	g.forward, g.moments, g.normalise, g.apply = g.forwardPart, g.momentsPart, g.normalisePart, g.applyPart
	g.backward, g.gradMoments, g.gradTotal, g.gradApply = g.backwardPart, g.gradMomentsPart, g.gradTotalPart, g.gradApplyPart
	return g, nil
}

// Forward computes y [B, S, C] from x [B, S, C], scale and bias [C] or [B, C]. y may be x.
func (g *GroupNorm) Forward(ctx *kern.Context, y, x, scale, bias []float32) {
	batch, values := g.spec.Batch, g.begin(ctx, x, scale, bias)
	check("y of group norm", y, values)
	g.y = y
	if g.blocks == 1 {
		run(ctx, ceil(batch, g.images), values, g.forward)
	} else {
		g.states = ctx.Shared(batch * g.stateSize())
		run(ctx, batch*g.blocks, values, g.moments)
		run(ctx, batch, batch*g.blocks*g.spec.Channels, g.normalise)
		run(ctx, batch*g.blocks, values, g.apply)
	}
	g.end()
}

// Backward computes dx [B, S, C], dscale and dbias, shaped like scale and bias, the gradients of Σ dy·y, from dy and the
// operands of Forward; the statistics are formed again. dx may be dy, but not x.
func (g *GroupNorm) Backward(ctx *kern.Context, dx, dscale, dbias, dy, x, scale, bias []float32) {
	batch, channels, values := g.spec.Batch, g.spec.Channels, g.begin(ctx, x, scale, bias)
	check("dx of group norm", dx, values)
	check("dy of group norm", dy, values)
	check("dscale of group norm", dscale, len(scale))
	check("dbias of group norm", dbias, len(bias))
	g.dx, g.dy, g.dscaleOf, g.dbiasOf = dx, dy, dscale, dbias
	states, shares := 0, 0
	if g.blocks > 1 {
		states = batch * g.stateSize()
	}
	if !g.spec.Adaptive {
		shares = batch * channels
	}
	shared := ctx.Shared(states + 2*shares)
	g.states = shared[:states]
	if !g.spec.Adaptive {
		g.dscaleOf, g.dbiasOf = shared[states:states+shares], shared[states+shares:]
	}
	if g.blocks == 1 {
		run(ctx, ceil(batch, g.images), values, g.backward)
	} else {
		run(ctx, batch*g.blocks, values, g.moments)
		run(ctx, batch, batch*g.blocks*channels, g.normalise)
		run(ctx, batch*g.blocks, values, g.gradMoments)
		run(ctx, batch, batch*g.blocks*channels, g.gradTotal)
		run(ctx, batch*g.blocks, values, g.gradApply)
	}
	if !g.spec.Adaptive {
		clear(dscale)
		clear(dbias)
		ctx.Vec.AccumulateRows(&dscale[0], &g.dscaleOf[0], channels, batch, channels)
		ctx.Vec.AccumulateRows(&dbias[0], &g.dbiasOf[0], channels, batch, channels)
	}
	g.end()
}

// begin takes the common operands and returns the number of values of x.
func (g *GroupNorm) begin(ctx *kern.Context, x, scale, bias []float32) int {
	values, coefficients := g.spec.Batch*g.spec.Spatial*g.spec.Channels, g.spec.Channels
	if g.spec.Adaptive {
		coefficients *= g.spec.Batch
	}
	check("x of group norm", x, values)
	check("scale of group norm", scale, coefficients)
	check("bias of group norm", bias, coefficients)
	g.ctx, g.x, g.scale, g.bias = ctx, x, scale, bias
	return values
}

// of returns what scale or bias an image has.
func (g *GroupNorm) of(image int, coefficients []float32) []float32 {
	if !g.spec.Adaptive {
		return coefficients
	}
	return coefficients[image*g.spec.Channels:][:g.spec.Channels]
}

// end lets go of the operands.
func (g *GroupNorm) end() {
	g.ctx, g.y, g.x, g.scale, g.bias, g.dy, g.dx = nil, nil, nil, nil, nil, nil, nil
	g.dscaleOf, g.dbiasOf, g.states = nil, nil, nil
}

func (g *GroupNorm) forwardPart(part, worker int) {
	s := g.ownState(worker)
	first, last := span(part, g.images, g.spec.Batch)
	for b := first; b < last; b++ {
		g.momentsOf(b, 0, worker, &s)
		g.normaliseOf(b, &s)
		g.applyOf(b, 0, &s)
	}
}

func (g *GroupNorm) backwardPart(part, worker int) {
	s := g.ownState(worker)
	first, last := span(part, g.images, g.spec.Batch)
	for b := first; b < last; b++ {
		g.momentsOf(b, 0, worker, &s)
		g.normaliseOf(b, &s)
		g.gradMomentsOf(b, 0, worker, &s)
		g.gradTotalOf(b, &s)
		g.gradApplyOf(b, 0, &s)
	}
}

func (g *GroupNorm) momentsPart(part, worker int) {
	s := g.stateOf(part / g.blocks)
	g.momentsOf(part/g.blocks, part%g.blocks, worker, &s)
}

func (g *GroupNorm) normalisePart(part, _ int) {
	s := g.stateOf(part)
	g.normaliseOf(part, &s)
}

func (g *GroupNorm) applyPart(part, _ int) {
	s := g.stateOf(part / g.blocks)
	g.applyOf(part/g.blocks, part%g.blocks, &s)
}

func (g *GroupNorm) gradMomentsPart(part, worker int) {
	s := g.stateOf(part / g.blocks)
	g.gradMomentsOf(part/g.blocks, part%g.blocks, worker, &s)
}

func (g *GroupNorm) gradTotalPart(part, _ int) {
	s := g.stateOf(part)
	g.gradTotalOf(part, &s)
}

func (g *GroupNorm) gradApplyPart(part, _ int) {
	s := g.stateOf(part / g.blocks)
	g.gradApplyOf(part/g.blocks, part%g.blocks, &s)
}
