package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func init() {
	sets["half"] = func() {
		for _, l := range []*lanes{{name: "AVX512", width: 16}, {name: "AVX2", width: 8}} {
			l.widen("widenFloat16", func(from Mem, to Op) { VCVTPH2PS(from, to) })
			l.widen("widenBFloat16", func(from Mem, to Op) {
				VPMOVZXWD(from, to)
				VPSLLD(Imm(16), to, to)
			})
		}
	}
}

// widen writes a kernel of kern.Half for whole blocks of 16 numbers.
func (l *lanes) widen(name string, convert func(from Mem, to Op)) {
	const block = 16
	l.function(name, "func(blocks int, dst *float32, src *uint16)")
	blocks, dst, src := argument("blocks"), argument("dst"), argument("src")
	Label("block")
	TESTQ(blocks, blocks)
	JZ(LabelRef("done"))
	for i := 0; i < block; i += l.width {
		v := l.vector()
		convert(Mem{Base: src, Disp: 2 * i}, v)
		VMOVUPS(v, Mem{Base: dst, Disp: 4 * i})
	}
	ADDQ(Imm(2*block), src)
	ADDQ(Imm(4*block), dst)
	DECQ(blocks)
	JMP(LabelRef("block"))
	Label("done")
	finish()
}
