package conv

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// winograd computes a convolution of 3×3 taps by Winograd's method F(4×4, 3×3), see [kern.Wino]: 36 products per tile of
// 16 outputs and pair of channels instead of 144. The root mean square of its rounding errors, relative to that of the
// results, is about 1.6e-6 with 64 channels and 3e-6 with 256, some four times that of the direct sum.
type winograd struct {
	y, dx *winogradPass
	dw    *winogradGrad
}

// fastest returns the fastest methods: for the outputs and the gradient of the input, and for that of the kernel. Winograd's is faster than the direct sum, by a
// factor of 1.4 to 4, unless there are hardly any channels to fill a vector, or so few tiles to share the weights that transforming these, from 9 floats to
// 36, takes most of the time. Streamed, the weights need fewer tiles, and have to be too many for the second-level cache by far.
func fastest(s Spec) (method, kernelGrad Method) {
	const fewestChannels, fewestTiles, fewestStreamed, weightsPerTile, manyWeights = 8, 12, 4, 8192, 1 << 17
	oh, ow := s.Out()
	if s.Kh != 3 || s.Kw != 3 || max(s.StrideH, s.StrideW, s.DilationH, s.DilationW) > 1 || min(s.Ci, s.Co) < fewestChannels {
		return Direct, Direct
	}
	tiles := newTiling(s.Batch, oh, ow).count()
	if tiles >= max(fewestTiles, s.Ci*s.Co/weightsPerTile) {
		method, kernelGrad = Winograd, Winograd
	} else {
		method, kernelGrad = Direct, Direct
	}
	if fewestStreamed <= tiles && tiles <= min(s.Ci, s.Co) && s.Ci*s.Co >= manyWeights {
		method = Streamed
	}
	return method, kernelGrad
}

// newWinograd returns the convolution, which must have the shape that the method is for.
func newWinograd(s Spec, streamed bool) *winograd {
	oh, ow := s.Out()
	zero := kern.Aligned(max(s.W*s.Ci, ow*s.Co))
	x := picture{h: s.H, w: s.W, c: s.Ci, top: s.PadTop, left: s.PadLeft, side: inputSide, zero: zero}
	dy := picture{h: oh, w: ow, c: s.Co, side: tileSide, zero: zero}
	padded := dy
	padded.top, padded.left, padded.side = 2-s.PadTop, 2-s.PadLeft, inputSide
	return &winograd{
		y:  newWinogradPass(s.Batch, x, oh, ow, s.Co, false, streamed),
		dx: newWinogradPass(s.Batch, padded, s.H, s.W, s.Ci, true, streamed),
		dw: newWinogradGrad(s.Batch, x, dy),
	}
}

func (c *winograd) forward(ctx *kern.Context, y, x []float32, w kern.Numbers, bias, residual []float32) {
	c.y.run(ctx, y, x, w, bias, residual)
}

func (c *winograd) inputGrad(ctx *kern.Context, dx, dy []float32, w kern.Numbers) {
	c.dx.run(ctx, dx, dy, w, nil, nil)
}

func (c *winograd) kernelGrad(ctx *kern.Context, dw, x, dy []float32) {
	c.dw.run(ctx, dw, x, dy)
}
