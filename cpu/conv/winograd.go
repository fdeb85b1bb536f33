package conv

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/kern"
)

// winograd computes a convolution of 3×3 taps by Winograd's method F(4×4, 3×3), see [kern.Wino]: 36 products per tile of
// 16 outputs and pair of channels instead of 144. The root mean square of its rounding errors is about 3e-6 of that of the
// results, some four times that of the direct sum.
type winograd struct {
	y, dx *winogradPass
	dw    *winogradGrad
}

// winogradFits reports whether the method can compute the convolution.
func winogradFits(s Spec) bool {
	return s.Kh == 3 && s.Kw == 3 && max(s.StrideH, s.StrideW, s.DilationH, s.DilationW) <= 1
}

// winogradPays reports whether the method is faster than the direct sum. It is, by a factor of 1.5 to 4, unless so few tiles
// share the weights that transforming these, from 9 floats to 36, takes most of the time.
func winogradPays(s Spec) bool {
	const fewestChannels, fewestTiles, weightsPerTile = 16, 16, 4096
	oh, ow := s.Out()
	return winogradFits(s) && min(s.Ci, s.Co) >= fewestChannels &&
		newTiling(s.Batch, oh, ow).count() >= max(fewestTiles, s.Ci*s.Co/weightsPerTile)
}

func newWinograd(s Spec) *winograd {
	if !winogradFits(s) {
		panic(fmt.Sprintf("conv: Winograd's method is for 3×3 kernels without stride or dilation, not for %+v", s))
	}
	oh, ow := s.Out()
	zero := kern.Aligned(max(s.W*s.Ci, ow*s.Co))
	x := picture{h: s.H, w: s.W, c: s.Ci, top: s.PadTop, left: s.PadLeft, side: inputSide, zero: zero}
	dy := picture{h: oh, w: ow, c: s.Co, side: tileSide, zero: zero}
	padded := dy
	padded.top, padded.left, padded.side = 2-s.PadTop, 2-s.PadLeft, inputSide
	return &winograd{
		y:  newWinogradPass(s.Batch, x, oh, ow, s.Co, false),
		dx: newWinogradPass(s.Batch, padded, s.H, s.W, s.Ci, true),
		dw: newWinogradGrad(s.Batch, x, dy),
	}
}

func (c *winograd) forward(ctx *kern.Context, y, x, w, bias, residual []float32) {
	c.y.run(ctx, y, x, w, bias, residual)
}

func (c *winograd) inputGrad(ctx *kern.Context, dx, dy, w []float32) {
	c.dx.run(ctx, dx, dy, w, nil, nil)
}

func (c *winograd) kernelGrad(ctx *kern.Context, dw, x, dy []float32) {
	c.dw.run(ctx, dw, x, dy)
}
