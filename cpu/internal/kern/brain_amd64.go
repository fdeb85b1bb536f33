//go:build amd64 && !noasm

package kern

import "unsafe"

var avx512Brain = Brain{
	Gemm: func() Gemm {
		g := avx512Gemm
		g.Tile, g.Half, g.Stream = brainTileAVX512BF16, brainHalfAVX512BF16, brainStreamAVX512BF16
		return g
	}(),
	Round: func(dst *uint16, src *float32, n int) {
		brainRoundAVX512BF16(n/32, dst, src)
		if done := n &^ 31; done < n {
			genericRound((*uint16)(unsafe.Add(unsafe.Pointer(dst), 2*done)), at(src, done), n-done)
		}
	},
}
