package kern

//go:generate go run -C ../asmgen . -kernels wino -out ../kern/wino_amd64.s -stubs ../kern/wino_stub_amd64.go -pkg kern

// Wino holds the transforms of Winograd's convolution F(4×4, 3×3) (Lavin and Gray 2016): a tile of 4×4 outputs of a 3×3
// convolution with stride 1 needs 6×6 inputs and, in the transformed domain, 36 products per pair of channels instead of
// 144. With X a tile of inputs, Y of outputs, g the weights, dY and dg gradients, and ⊙ a product per point, summed over
// channels (over tiles, for the weights),
//
//	Y  = Aᵀ[(G·g·Gᵀ) ⊙ (Bᵀ·X·B)]A + bias
//	dg = Gᵀ[(A·dY·Aᵀ) ⊙ (Bᵀ·X·B)]G
//
// The interpolation points are 0, ±1, ±2 and ∞. Point p = 6i+j of a tile is row i, column j of a transform.
//
// All kernels work on rows of c adjacent channels, vectorised over the channels. Strides count floats. "point" is the
// stride between points and "tile" the stride between tiles of transformed data. A row of transformed data needs room for
// whole vectors, that is, for the next multiple of [Gemm]'s NR/2 channels: what lies beyond c is undefined.
type Wino struct {
	// Input sets V = Bᵀ·X·B for neighbouring tiles of one row of tiles. Row r < 6 of all tiles is at rows[r]: w pixels with
	// stride pixel. The first tile begins at pixel left, which may be negative, the next one four pixels further. Pixels
	// outside [0, w) count as zero; for rows outside of the image the caller gives a row of zeros.
	Input func(v *float32, point, tile int, rows **float32, w, left, pixel, c, tiles int)

	// OutputGrad sets Z = A·dY·Aᵀ: as Input, with 4 rows, of tiles of 4×4 pixels.
	OutputGrad func(z *float32, point, tile int, rows **float32, w, left, pixel, c, tiles int)

	// Output sets Y = Aᵀ·M·A + bias (+ add, if not nil) for neighbouring tiles of one row of tiles: h ≤ 4 rows, from y on,
	// with stride row, of w pixels with stride pixel, where 4·(tiles-1) < w; what a tile has beyond w is dropped. add lies
	// as y does and may be y. bias has c floats.
	Output func(y *float32, row, pixel int, m *float32, point, tile int, bias, add *float32, w, h, c, tiles int)

	// Weight sets U = G·g·Gᵀ for n rows of c output channels: row k of U, at u + k·row, from row k of each of the 9 taps, at
	// w + k·wrow, where tap is the stride between taps. A negative tap, with w at the last one, flips the kernel.
	Weight func(u *float32, point, row int, w *float32, tap, wrow, n, c int)

	// WeightGrad sets dg = Gᵀ·S·G for n rows of c output channels, with row k of S at s + k·row, and of the 9 taps at
	// dw + k·dwrow.
	WeightGrad func(dw *float32, tap, dwrow int, s *float32, point, row, n, c int)
}

// Winograd's points are 0, ±1, ±p, ∞. The rows of G are those of the Vandermonde matrix divided by the products of the
// differences between the points, which are winoN0 for 0, winoN1 for ±1 and winoN2 for ±p.
const (
	winoP  = 2.0
	winoP2 = winoP * winoP
	winoP3 = winoP * winoP2
	winoN0 = 1 / winoP2
	winoN1 = 0.5 / (1 - winoP2)
	winoN2 = 0.5 / (winoP2 * (winoP2 - 1))
)
