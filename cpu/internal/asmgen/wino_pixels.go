package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// tileSide is the distance between tiles: the side of a tile of outputs.
const tileSide = 4

// points writes kern.Wino's Input (side 6) and OutputGrad (side 4): the pixels of a tile to its 36 points.
//
// A column outside of the image is skipped by a branch. To load it with an empty mask would do as well, but such a load
// waits for the stores before it.
func (m *winoMachine) points(name string, side int, passes [][]int, f transform) {
	constants := []string{"p", "p2"}
	if side == 6 {
		constants = append(constants, "1+p2")
	}
	m.begin(name, "func(v *float32, point, tile int, rows **float32, w, left, pixel, c, tiles int)", constants...)
	row := make([]reg.GPVirtual, side)
	rows := param("rows")
	for r := range row {
		row[r] = GP64()
		MOVQ(Mem{Base: rows, Disp: 8 * r}, row[r])
	}
	pixel, to := stride("pixel"), newSix(stride("point"))
	channels, target, first, inside := AllocLocal(8), AllocLocal(8), AllocLocal(8), AllocLocal(8)

	Label("tile")
	left, w, t, bits := param("left"), param("w"), GP64(), GP64()
	XORQ(bits, bits)
	for s := range side { // bit s is set if 0 ≤ left+s < w
		LEAQ(Mem{Base: left, Disp: s}, t)
		CMPQ(t, w)
		SBBQ(t, t)
		ANDQ(Imm(1<<s), t)
		ORQ(t, bits)
	}
	MOVQ(bits, inside)
	ADDQ(Imm(tileSide), memory("left"))
	IMULQ(pixel, left)
	MOVQ(left, first)
	MOVQ(param("c"), t)
	MOVQ(t, channels)
	MOVQ(param("v"), t)
	MOVQ(t, target)

	var outside []func()
	m.overChannels(channels, []Mem{first, target}, func(name string, mask *winoMask) {
		for n, pass := range passes {
			grid := map[[2]int]reg.VecVirtual{}
			column, ahead := GP64(), GP64()
			MOVQ(first, column)
			if n == 0 { // fetch the columns that are new two tiles further
				LEAQ(Mem{Base: column, Index: pixel, Scale: 8}, ahead)
				for range side - tileSide {
					ADDQ(pixel, ahead)
				}
			}
			for s := range side {
				if n == 0 && s < tileSide {
					for r := range row {
						PREFETCHT0(Mem{Base: row[r], Index: ahead, Scale: 1})
					}
					ADDQ(pixel, ahead)
				}
				label := fmt.Sprintf("%s_%d_%d", name, pass[0], s)
				TESTB(Imm(1<<s), inside)
				JZ(LabelRef(label + "_outside"))
				f(func(r int) reg.VecVirtual {
					return m.load(Mem{Base: row[r], Index: column, Scale: 1}, mask)
				}, pass, func(i int, v reg.VecVirtual) { grid[[2]int{i, s}] = v })
				Label(label)
				outside = append(outside, func() {
					Label(label + "_outside")
					for _, i := range pass {
						VBROADCASTSS(m.nothing(), grid[[2]int{i, s}])
					}
					JMP(LabelRef(label))
				})
				ADDQ(pixel, column)
			}
			MOVQ(target, to.first)
			to.begin()
			place := 0
			for _, i := range pass {
				for ; place < i; place++ {
					to.skip()
				}
				f(func(s int) reg.VecVirtual { return grid[[2]int{i, s}] }, []int{0, 1, 2, 3, 4, 5},
					func(j int, v reg.VecVirtual) { m.store(v, to.at(j), nil) })
			}
		}
	})
	next := stride("tile")
	ADDQ(next, memory("v"))
	DECQ(memory("tiles"))
	JG(LabelRef("tile"))
	m.end()
	for _, f := range outside {
		f()
	}
}

// pixels writes kern.Wino's Output: the 36 points of a tile to its 16 pixels.
func (m *winoMachine) pixels() {
	m.begin("winoOutput", "func(y *float32, row, pixel int, m *float32, point, tile int, bias, add *float32, w, h, c, tiles int)",
		"p", "p2", "p3")
	channels, from, bias, to, distance := AllocLocal(8), AllocLocal(8), AllocLocal(8), AllocLocal(8), AllocLocal(8)
	pixel, row := stride("pixel"), stride("row")
	point := stride("point")
	down := newSix(GP64())
	LEAQ(Mem{Base: point, Index: point, Scale: 2}, down.step)
	ADDQ(down.step, down.step)
	t := param("add")
	SUBQ(memory("y"), t)
	MOVQ(t, distance)

	Label("tile")
	for _, p := range []struct {
		name string
		to   Mem
	}{{"c", channels}, {"m", from}, {"bias", bias}, {"y", to}} {
		MOVQ(param(p.name), t)
		MOVQ(t, p.to)
	}
	m.overChannels(channels, []Mem{from, bias, to}, func(name string, mask *winoMask) {
		for _, pass := range m.output {
			grid := map[[2]int]reg.VecVirtual{}
			source := GP64()
			MOVQ(from, source)
			for j := range 6 {
				MOVQ(source, down.first)
				down.begin()
				m.outputSums(func(i int) reg.VecVirtual {
					v := m.load(down.at(i), nil)
					if i == 1 && j == 1 { // point (1, 1) weighs 1 in all pixels
						b := GP64()
						MOVQ(bias, b)
						m.add(Mem{Base: b}, v, mask)
					}
					return v
				}, pass, func(i int, v reg.VecVirtual) { grid[[2]int{i, j}] = v })
				ADDQ(point, source)
			}
			for _, i := range pass {
				done, plain := fmt.Sprintf("%s_row%d", name, i), fmt.Sprintf("%s_plain%d", name, i)
				var sums [tileSide]reg.VecVirtual
				m.outputSums(func(j int) reg.VecVirtual { return grid[[2]int{i, j}] }, []int{0, 1, 2, 3},
					func(s int, v reg.VecVirtual) { sums[s] = v })
				CMPQ(memory("h"), Imm(uint64(i)))
				JLE(LabelRef(done))
				y, columns := GP64(), GP64()
				MOVQ(to, y)
				for range i {
					ADDQ(row, y)
				}
				MOVQ(param("w"), columns)
				each := func(base reg.GPVirtual, end string, f func(at Mem, v reg.VecVirtual)) {
					for s, v := range sums {
						if s > 0 {
							CMPQ(columns, Imm(uint64(s)))
							JLE(LabelRef(end))
							ADDQ(pixel, base)
						}
						PREFETCHT0(Mem{Base: base, Index: pixel, Scale: 8}) // two tiles further
						f(Mem{Base: base}, v)
					}
				}
				CMPQ(memory("add"), Imm(0))
				JE(LabelRef(plain))
				add := GP64()
				MOVQ(distance, add)
				ADDQ(y, add)
				each(add, plain, func(at Mem, v reg.VecVirtual) { m.add(at, v, mask) })
				Label(plain)
				each(y, done, func(at Mem, v reg.VecVirtual) { m.store(v, at, mask) })
				Label(done)
			}
		}
	})
	MOVQ(pixel, t)
	SHLQ(Imm(2), t)
	ADDQ(t, memory("y"))
	MOVQ(stride("tile"), t)
	ADDQ(t, memory("m"))
	SUBQ(Imm(tileSide), memory("w"))
	DECQ(memory("tiles"))
	JG(LabelRef("tile"))
	m.end()
}
