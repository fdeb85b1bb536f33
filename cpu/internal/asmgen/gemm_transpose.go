package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// transpose writes kern.Gemm's Transpose: square blocks of one vector's length, in registers. Each of the log₂(size) stages
// swaps one bit of the row number with one bit of the column number.
func transpose(s simd) {
	size := s.bytes / 4
	TEXT("gemmTranspose"+s.name, NOSPLIT, "func(blocks int, src *float32, lds int, dst *float32, ldd int)")
	n := Load(Param("blocks"), GP64())
	src, lds := Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	dst, ldd := Load(Param("dst"), GP64()), Load(Param("ldd"), GP64())
	SHLQ(Imm(2), lds)
	SHLQ(Imm(2), ldd)
	Label("block")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	v := s.vectors(size)
	row := GP64()
	MOVQ(src, row)
	for i, r := range v {
		VMOVUPS(Mem{Base: row}, r)
		if i < size-1 {
			ADDQ(lds, row)
		}
	}
	ADDQ(Imm(uint64(s.bytes)), src)
	v = s.stage(v, 1, func(a, b, lo, hi reg.VecVirtual) {
		VUNPCKLPS(b, a, lo)
		VUNPCKHPS(b, a, hi)
	})
	v = s.stage(v, 2, func(a, b, lo, hi reg.VecVirtual) {
		VUNPCKLPD(b, a, lo)
		VUNPCKHPD(b, a, hi)
	})
	// Unpacking takes the low half of a lane from its first two columns, so the two low bits of the column come out swapped.
	if size == 8 {
		v = s.stage(v, 4, func(a, b, lo, hi reg.VecVirtual) {
			VPERM2F128(Imm(0x20), b, a, lo)
			VPERM2F128(Imm(0x31), b, a, hi)
		})
	} else {
		halves := func(a, b, lo, hi reg.VecVirtual) {
			VSHUFF32X4(Imm(0x88), b, a, lo)
			VSHUFF32X4(Imm(0xDD), b, a, hi)
		}
		v = s.stage(v, 4, halves)
		v = s.stage(v, 8, halves)
	}
	for i := range size {
		VMOVUPS(v[i&^3|i&1<<1|i&2>>1], Mem{Base: dst})
		ADDQ(ldd, dst)
	}
	DECQ(n)
	JMP(LabelRef("block"))
	Label("done")
	VZEROUPPER()
	RET()
}

// stage applies op to the pairs of vectors that are distance apart.
func (s simd) stage(v []reg.VecVirtual, distance int, op func(a, b, lo, hi reg.VecVirtual)) []reg.VecVirtual {
	w := make([]reg.VecVirtual, len(v))
	for i := range v {
		if i&distance == 0 {
			w[i], w[i+distance] = s.vector(), s.vector()
			op(v[i], v[i+distance], w[i], w[i+distance])
		}
	}
	return w
}
