package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	sets["brain"] = func() {
		tile(bfloat16(), "brainTile", avx512.tileRows, 2, false)
		tile(bfloat16(), "brainHalf", avx512.tileRows, 1, false)
		tile(bfloat16(), "brainStream", avx512.tileRows, 2, true)
		round()
	}
}

// bfloat16 is AVX-512 with products of pairs of bfloat16 in the place of those of float32. The assembler does not know these instructions. They are written
// as bytes, for which registers must have their numbers now: every function takes them in turn from the first one on.
func bfloat16() simd {
	taken := 0
	return simd{
		name: "AVX512BF16", bytes: 64, tileRows: avx512.tileRows,
		numbered: func() Op {
			taken++
			return zmm[taken-1]
		},
		multiply: func(x, y, sum Op) {
			const pp, opcode = 2, 0x52 // VDPBF16PS: EVEX.512.F3.0F38.W0 52 /r
			encoded(pp, opcode, sum, x, y)
		},
	}
}

var zmm = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23, reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

// encoded writes an instruction of the map 0F38 on 512 bits: to, the first and the second source are numbered registers. The prefix EVEX has their numbers
// in five bits each, most of them inverted.
func encoded(pp, opcode uint8, to, first, second Op) {
	t, v, m := number(to), number(first), number(second)
	inverted := func(n, bit uint8) uint8 { return ^n >> bit & 1 }
	bytes := []uint8{
		0x62,
		inverted(t, 3)<<7 | inverted(m, 4)<<6 | inverted(m, 3)<<5 | inverted(t, 4)<<4 | 2,
		^v&15<<3 | 1<<2 | pp,
		2<<5 | inverted(v, 4)<<3,
		opcode,
		3<<6 | t&7<<3 | m&7,
	}
	Comment(fmt.Sprintf("opcode %#x of Z%d and Z%d to Z%d", opcode, v, m, t))
	for _, b := range bytes {
		Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{Imm(uint64(b))}})
	}
}

func number(register Op) uint8 {
	for i, z := range zmm {
		if z == register {
			return uint8(i)
		}
	}
	panic(fmt.Sprintf("%s is no numbered register", register.Asm()))
}

// round writes kern.Brain's Round for whole blocks of 32 numbers.
func round() {
	const block = 32
	const pp, opcode = 3, 0x72 // VCVTNE2PS2BF16: EVEX.512.F2.0F38.W0 72 /r
	TEXT("brainRoundAVX512BF16", NOSPLIT, "func(blocks int, dst *uint16, src *float32)")
	blocks, dst, src := argument("blocks"), argument("dst"), argument("src")
	low, high, both := zmm[0], zmm[1], zmm[2]
	Label("block")
	TESTQ(blocks, blocks)
	JZ(LabelRef("done"))
	VMOVUPS(Mem{Base: src}, low)
	VMOVUPS(Mem{Base: src, Disp: 64}, high)
	encoded(pp, opcode, both, high, low)
	VMOVUPS(both, Mem{Base: dst})
	ADDQ(I32(4*block), src)
	ADDQ(Imm(2*block), dst)
	DECQ(blocks)
	JMP(LabelRef("block"))
	Label("done")
	finish()
}
