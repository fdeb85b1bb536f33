package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func init() {
	sets["gemm"] = func() {
		for _, s := range []simd{avx512, avx2} {
			tile(s, "gemmTile", s.tileRows, 2, false)
			tile(s, "gemmHalf", s.tileRows, 1, false)
			tile(s, "gemmStream", s.tileRows, 2, true)
			outer(s, "gemmOuter", s.outerRows, 2)
			outer(s, "gemmOuterHalf", s.outerRows, 1)
			transpose(s)
			pack(s)
		}
		touch()
	}
}

// simd is what differs between the instruction sets: the width of a vector, and how many rows of accumulators fit into the
// registers next to two vectors of B and the broadcast scalars.
type simd struct {
	name      string
	bytes     int
	tileRows  int
	outerRows int
	vector    func() reg.VecVirtual
	numbered  func() Op          // a vector in place of those, in a tile
	multiply  func(x, y, sum Op) // sum += x·y, in a tile
}

var (
	avx512 = simd{name: "AVX512", bytes: 64, tileRows: 12, outerRows: 8, vector: ZMM, multiply: multiplyAdd}
	avx2   = simd{name: "AVX2", bytes: 32, tileRows: 6, outerRows: 4, vector: YMM, multiply: multiplyAdd}
)

func multiplyAdd(x, y, sum Op) { VFMADD231PS(x, y, sum) }

// operands are the vectors of a tile.
func (s simd) operands(n int) []Op {
	v := make([]Op, n)
	for i := range v {
		if s.numbered != nil {
			v[i] = s.numbered()
		} else {
			v[i] = s.vector()
		}
	}
	return v
}

func (s simd) vectors(n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = s.vector()
	}
	return v
}

// zero clears with the encoding that needs no more than the instruction set has.
func (s simd) zero(v Op) {
	if s.bytes == 64 {
		VPXORD(v, v, v)
	} else {
		VPXOR(v, v, v)
	}
}

// tile writes kern.Gemm's Tile: rows × width vectors of C, with A behind row pointers and B in rows of stride ldb.
//
// One index runs from -kc to 0 and addresses all rows, so that a step of k costs two loads of B, a broadcast per row and
// one or two FMAs per broadcast, and nothing else but the two additions and the branch of the loop.
func tile(s simd, name string, rows, width int, stream bool) {
	args := "taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32"
	if stream {
		args += ", next *float32"
	}
	TEXT(name+s.name, NOSPLIT, "func("+args+")")
	acc := s.operands(rows * width)
	tapsLeft, list, depth, step := AllocLocal(8), AllocLocal(8), AllocLocal(8), AllocLocal(8)

	row := make([]reg.GPVirtual, rows)
	for i := range row {
		row[i] = GP64()
	}
	Load(Param("c"), row[0])
	Load(Param("ldc"), row[1])
	for i := range rows { // C is needed at the very end: fetch it while the sums are formed
		PREFETCHT0(Mem{Base: row[0]})
		if width*s.bytes > 64 {
			PREFETCHT0(Mem{Base: row[0], Disp: 64})
		}
		if i < rows-1 {
			LEAQ(Mem{Base: row[0], Index: row[1], Scale: 4}, row[0])
		}
	}
	k := GP64()
	Load(Param("taps"), k)
	MOVQ(k, tapsLeft)
	Load(Param("a"), k)
	MOVQ(k, list)
	Load(Param("kc"), k)
	MOVQ(k, depth)
	Load(Param("ldb"), k)
	SHLQ(Imm(2), k)
	MOVQ(k, step)
	b, next := Load(Param("b"), GP64()), GP64()
	if stream {
		Load(Param("next"), next)
	}
	for _, v := range acc {
		s.zero(v)
	}

	Label("tap")
	CMPQ(tapsLeft, Imm(0))
	JE(LabelRef("store"))
	DECQ(tapsLeft)
	last := row[rows-1] // holds the list until its own pointer is read
	MOVQ(list, last)
	MOVQ(depth, k)
	for i := range row {
		MOVQ(Mem{Base: last, Disp: 8 * i}, row[i])
		if i < rows-1 {
			LEAQ(Mem{Base: row[i], Index: k, Scale: 4}, row[i])
		}
	}
	LEAQ(Mem{Base: last, Index: k, Scale: 4}, last)
	ADDQ(Imm(uint64(8*rows)), list)
	NEGQ(k)
	JZ(LabelRef("tap"))
	Label("k")
	bv, scalar := s.operands(width), s.operands(2)
	for j, v := range bv {
		VMOVUPS(Mem{Base: b, Disp: j * s.bytes}, v)
	}
	ADDQ(step, b)
	if stream {
		PREFETCHT0(Mem{Base: next})
		ADDQ(Imm(64), next)
	}
	for i := range row {
		VBROADCASTSS(Mem{Base: row[i], Index: k, Scale: 4}, scalar[i%2])
		for j, v := range bv {
			s.multiply(scalar[i%2], v, acc[i*width+j])
		}
	}
	INCQ(k)
	JNZ(LabelRef("k"))
	JMP(LabelRef("tap"))

	Label("store")
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	add, ldadd := Load(Param("add"), GP64()), Load(Param("ldadd"), GP64())
	SHLQ(Imm(2), ldc)
	SHLQ(Imm(2), ldadd)
	bias := Load(Param("bias"), GP64())
	TESTQ(bias, bias)
	JZ(LabelRef("unbiased"))
	for j := range width {
		v := s.operands(1)[0]
		VMOVUPS(Mem{Base: bias, Disp: j * s.bytes}, v)
		for i := range rows {
			VADDPS(v, acc[i*width+j], acc[i*width+j])
		}
	}
	Label("unbiased")
	TESTQ(add, add)
	JZ(LabelRef("write"))
	for i := range rows {
		for j := range width {
			VADDPS(Mem{Base: add, Disp: j * s.bytes}, acc[i*width+j], acc[i*width+j])
		}
		if i < rows-1 {
			ADDQ(ldadd, add)
		}
	}
	Label("write")
	for i := range rows {
		for j := range width {
			VMOVUPS(acc[i*width+j], Mem{Base: c, Disp: j * s.bytes})
		}
		if i < rows-1 {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}

// outer writes kern.Gemm's Outer: the sum over pairs of rows of x (rows floats) times y (width vectors).
func outer(s simd, name string, rows, width int) {
	TEXT(name+s.name, NOSPLIT, "func(n int, at *int32, x, y, c *float32, ldc, add int)")
	acc := s.vectors(rows * width)
	c, ldc := Load(Param("c"), GP64()), Load(Param("ldc"), GP64())
	SHLQ(Imm(2), ldc)
	row := GP64()
	MOVQ(c, row)
	for i := range rows {
		PREFETCHT0(Mem{Base: row})
		if width*s.bytes > 64 {
			PREFETCHT0(Mem{Base: row, Disp: 64})
		}
		if i < rows-1 {
			ADDQ(ldc, row)
		}
	}
	n, at := Load(Param("n"), GP64()), Load(Param("at"), GP64())
	x, y := Load(Param("x"), GP64()), Load(Param("y"), GP64())
	for _, v := range acc {
		s.zero(v)
	}
	TESTQ(n, n)
	JZ(LabelRef("store"))
	Label("pair")
	i, j := GP64(), GP64()
	MOVLQSX(Mem{Base: at}, i)
	MOVLQSX(Mem{Base: at, Disp: 4}, j)
	yv, scalar := s.vectors(width), s.vectors(2)
	for q, v := range yv {
		VMOVUPS(Mem{Base: y, Index: j, Scale: 4, Disp: q * s.bytes}, v)
	}
	for p := range rows {
		VBROADCASTSS(Mem{Base: x, Index: i, Scale: 4, Disp: 4 * p}, scalar[p%2])
		for q, v := range yv {
			VFMADD231PS(scalar[p%2], v, acc[p*width+q])
		}
	}
	ADDQ(Imm(8), at)
	DECQ(n)
	JNZ(LabelRef("pair"))
	Label("store")
	add := Load(Param("add"), GP64())
	TESTQ(add, add)
	JZ(LabelRef("write"))
	MOVQ(c, row)
	for p := range rows {
		for q := range width {
			VADDPS(Mem{Base: row, Disp: q * s.bytes}, acc[p*width+q], acc[p*width+q])
		}
		if p < rows-1 {
			ADDQ(ldc, row)
		}
	}
	Label("write")
	for p := range rows {
		for q := range width {
			VMOVUPS(acc[p*width+q], Mem{Base: c, Disp: q * s.bytes})
		}
		if p < rows-1 {
			ADDQ(ldc, c)
		}
	}
	VZEROUPPER()
	RET()
}
