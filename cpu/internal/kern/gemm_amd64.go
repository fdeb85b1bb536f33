//go:build amd64 && !noasm

package kern

var (
	avx512Gemm = Gemm{
		MR: 12, NR: 32, OR: 8,
		Tile: gemmTileAVX512, Half: gemmHalfAVX512, Stream: gemmStreamAVX512,
		Outer: gemmOuterAVX512, OuterHalf: gemmOuterHalfAVX512,
		Transpose: gemmTransposeAVX512, Pack: gemmPackAVX512, Touch: gemmTouch,
	}
	avx2Gemm = Gemm{
		MR: 6, NR: 16, OR: 4,
		Tile: gemmTileAVX2, Half: gemmHalfAVX2, Stream: gemmStreamAVX2,
		Outer: gemmOuterAVX2, OuterHalf: gemmOuterHalfAVX2,
		Transpose: gemmTransposeAVX2, Pack: gemmPackAVX2, Touch: gemmTouch,
	}
)
