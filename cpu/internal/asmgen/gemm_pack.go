package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// touch writes kern.Gemm's Touch.
func touch() {
	TEXT("gemmTouch", NOSPLIT, "func(n int, rows **float32, lines int)")
	n, rows, lines := Load(Param("n"), GP64()), Load(Param("rows"), GP64()), Load(Param("lines"), GP64())
	row, left := GP64(), GP64()
	Label("row")
	TESTQ(n, n)
	JZ(LabelRef("done"))
	DECQ(n)
	MOVQ(Mem{Base: rows}, row)
	ADDQ(Imm(8), rows)
	MOVQ(lines, left)
	Label("line")
	TESTQ(left, left)
	JZ(LabelRef("row"))
	PREFETCHT0(Mem{Base: row})
	ADDQ(Imm(64), row)
	DECQ(left)
	JMP(LabelRef("line"))
	Label("done")
	RET()
}

// pack writes kern.Gemm's Pack. Rows lie pages apart, where the processor does not look ahead by itself.
func pack(s simd) {
	const ahead = 8
	TEXT("gemmPack"+s.name, NOSPLIT, "func(panels, rows int, src *float32, lds int, dst *float32, ldd int)")
	panels, rows := Load(Param("panels"), GP64()), Load(Param("rows"), GP64())
	src, lds := Load(Param("src"), GP64()), Load(Param("lds"), GP64())
	dst, ldd := Load(Param("dst"), GP64()), Load(Param("ldd"), GP64())
	SHLQ(Imm(2), lds)
	SHLQ(Imm(2), ldd)
	from, to, far, left := GP64(), GP64(), GP64(), GP64()
	v := s.vectors(2)
	Label("row")
	TESTQ(rows, rows)
	JZ(LabelRef("done"))
	MOVQ(src, from)
	MOVQ(dst, to)
	LEAQ(Mem{Base: src, Index: lds, Scale: ahead}, far)
	MOVQ(panels, left)
	Label("panel")
	TESTQ(left, left)
	JZ(LabelRef("next"))
	for i, r := range v {
		VMOVUPS(Mem{Base: from, Disp: i * s.bytes}, r)
	}
	PREFETCHT0(Mem{Base: far})
	if s.bytes == 64 {
		PREFETCHT0(Mem{Base: far, Disp: 64})
	}
	for i, r := range v {
		VMOVUPS(r, Mem{Base: to, Disp: i * s.bytes})
	}
	ADDQ(I32(int32(s.bytes*2)), from)
	ADDQ(I32(int32(s.bytes*2)), far)
	ADDQ(ldd, to)
	DECQ(left)
	JMP(LabelRef("panel"))
	Label("next")
	ADDQ(lds, src)
	ADDQ(I32(int32(s.bytes*2)), dst)
	DECQ(rows)
	JMP(LabelRef("row"))
	Label("done")
	VZEROUPPER()
	RET()
}
