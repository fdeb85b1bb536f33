package main

import (
	"math"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The transforms of Winograd's convolution, see kern.Wino. A two-dimensional transform is a one-dimensional one of the
// columns of a tile, from memory into registers, and one of the rows of the result, from there to memory. Where the result
// of all columns does not fit into the registers it is done in passes of a few rows each, which read the tile again:
// rows ±1 and ±2 of Bᵀ and A share their sums, so that only loads are repeated.
func init() {
	sets["wino"] = func() {
		table := winoTable()
		for _, m := range []*winoMachine{
			{
				simd: avx512, table: table,
				input: [][]int{{1, 2, 3, 4}, {0, 5}}, outputGrad: [][]int{{0, 1, 2, 3, 4, 5}},
				output: [][]int{{0, 1, 2, 3}},
				weight: [][]int{{0, 1, 2, 3, 4, 5}}, weightGrad: [][]int{{0, 1, 2}},
			},
			{
				simd: avx2, table: table,
				input: [][]int{{1, 2}, {3, 4}, {0, 5}}, outputGrad: [][]int{{1, 2}, {3, 4}, {0, 5}},
				output: [][]int{{0, 2}, {1, 3}},
				weight: [][]int{{1, 2}, {3, 4}, {0, 5}}, weightGrad: [][]int{{0}, {1}, {2}},
			},
		} {
			m.points("winoInput", 6, m.input, m.inputPoints)
			m.points("winoOutputGrad", 4, m.outputGrad, m.outputPoints)
			m.pixels()
			m.weights()
			m.weightGrads()
		}
	}
}

// winoMachine is an instruction set with the passes that its registers allow for each transform.
type winoMachine struct {
	simd
	table                                         Mem
	input, outputGrad, output, weight, weightGrad [][]int
	constant                                      map[string]Op
}

// The points are 0, ±1, ±p and ∞, as in package kern.
const (
	winoP  = 2.0
	winoP2 = winoP * winoP
)

var winoConstants = []struct {
	name  string
	value float64
}{
	{"p", winoP},
	{"p2", winoP2},
	{"p3", winoP * winoP2},
	{"1+p2", 1 + winoP2},
	{"n0", 1 / winoP2},
	{"n1", 0.5 / (1 - winoP2)},
	{"n2", 0.5 / (winoP2 * (winoP2 - 1))},
	{"n2p", 0.5 / (winoP * (winoP2 - 1))},
	{"n2p2", 0.5 / (winoP2 - 1)},
}

// winoTable writes the constants, each repeated over 32 bytes for AVX2's memory operands, and then the eight set and eight
// clear lanes from which AVX2's masks are read.
func winoTable() Mem {
	table := GLOBL("winoTable", 8|16) // RODATA|NOPTR
	offset := 0
	put := func(bits uint32) {
		DATA(offset, U32(bits))
		offset += 4
	}
	for _, c := range winoConstants {
		for range 8 {
			put(math.Float32bits(float32(c.value)))
		}
	}
	for i := range 16 {
		put(uint32(i/8) - 1)
	}
	return table
}

// begin starts a function and makes the named constants operands: registers of AVX-512, memory of AVX2.
func (m *winoMachine) begin(name, signature string, constants ...string) {
	TEXT(name+m.name, NOSPLIT, signature)
	m.constant = map[string]Op{}
	for _, name := range constants {
		for i, c := range winoConstants {
			if c.name != name {
				continue
			}
			if m.constant[name] = m.table.Offset(32 * i); m.wide() {
				v := m.vector()
				VBROADCASTSS(m.table.Offset(32*i), v)
				m.constant[name] = v
			}
		}
	}
}

// nothing is a zero in memory.
func (m *winoMachine) nothing() Mem { return m.table.Offset(32*len(winoConstants) + 32) }

func (m *winoMachine) end() {
	VZEROUPPER()
	RET()
}

func (m *winoMachine) wide() bool { return m.bytes == 64 }

// param loads a parameter, and stride one that counts floats, in bytes.
func param(name string) reg.GPVirtual {
	r := GP64()
	Load(Param(name), r)
	return r
}

func stride(name string) reg.GPVirtual {
	r := param(name)
	SHLQ(Imm(2), r)
	return r
}

// memory returns where a parameter lies, for use as an operand.
func memory(name string) Mem {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return p.Addr
}

// winoMask is one mask per vector: a mask register of AVX-512, or 32 bytes of the stack.
type winoMask struct {
	k reg.OpmaskVirtual
	m Mem
}

func (m *winoMachine) newMask() winoMask {
	if m.wide() {
		return winoMask{k: K()}
	}
	return winoMask{m: AllocLocal(32)}
}

// setTail sets the first n lanes, where n is less than the length of a vector; it destroys n.
func (m *winoMachine) setTail(mask winoMask, n reg.GPVirtual) {
	if m.wide() {
		ones := GP32()
		MOVL(I32(-1), ones)
		BZHIL(n.As32(), ones, ones)
		KMOVW(ones, mask.k)
		return
	}
	SHLQ(Imm(2), n)
	NEGQ(n)
	table, v := GP64(), m.vector()
	LEAQ(m.nothing(), table) // the set lanes end here
	VMOVUPS(Mem{Base: table, Index: n, Scale: 1}, v)
	VMOVUPS(v, mask.m)
}

// overChannels writes body twice, for whole vectors and for a tail, and around it the loop over channels, the number of
// which is in memory. The pointers, in memory, advance with it.
func (m *winoMachine) overChannels(channels Mem, pointers []Mem, body func(label string, mask *winoMask)) {
	lanes, tail := m.bytes/4, m.newMask()
	Label("vector")
	rest := GP64()
	MOVQ(channels, rest)
	CMPQ(rest, Imm(uint64(lanes)))
	JL(LabelRef("tail"))
	body("whole", nil)
	for _, p := range pointers {
		ADDQ(Imm(uint64(m.bytes)), p)
	}
	SUBQ(Imm(uint64(lanes)), channels)
	JMP(LabelRef("vector"))
	Label("tail")
	TESTQ(rest, rest)
	JZ(LabelRef("done"))
	m.setTail(tail, rest)
	body("tail", &tail)
	Label("done")
}

// load returns a vector from memory, with zeros in the lanes that the mask lacks.
func (m *winoMachine) load(from Mem, mask *winoMask) reg.VecVirtual {
	v := m.vector()
	switch {
	case mask == nil:
		VMOVUPS(from, v)
	case m.wide():
		VMOVUPS_Z(from, mask.k, v)
	default:
		VMOVUPS(mask.m, v)
		VMASKMOVPS(from, v, v)
	}
	return v
}

// add adds the lanes of memory that the mask has.
func (m *winoMachine) add(from Mem, v reg.VecVirtual, mask *winoMask) {
	switch {
	case mask == nil:
		VADDPS(from, v, v)
	case m.wide():
		VADDPS(from, v, mask.k, v)
	default:
		VADDPS(m.load(from, mask), v, v)
	}
}

func (m *winoMachine) store(v reg.VecVirtual, to Mem, mask *winoMask) {
	switch {
	case mask == nil:
		VMOVUPS(v, to)
	case m.wide():
		VMOVUPS(v, mask.k, to)
	default:
		lanes := m.vector()
		VMOVUPS(mask.m, lanes)
		VMASKMOVPS(v, lanes, to)
	}
}

// six addresses six places of equal distance with two base registers.
type six struct{ first, third, step reg.GPVirtual }

func newSix(step reg.GPVirtual) six { return six{GP64(), GP64(), step} }

// begin sets the place of number 0, which first already holds.
func (s six) begin() {
	LEAQ(Mem{Base: s.first, Index: s.step, Scale: 2}, s.third)
	ADDQ(s.step, s.third)
}

// skip goes on to the place after the last.
func (s six) skip() {
	LEAQ(Mem{Base: s.third, Index: s.step, Scale: 2}, s.first)
	ADDQ(s.step, s.first)
	s.begin()
}

func (s six) at(i int) Mem {
	base := s.first
	if i >= 3 {
		base, i = s.third, i-3
	}
	if i == 0 {
		return Mem{Base: base}
	}
	return Mem{Base: base, Index: s.step, Scale: uint8(i)}
}
