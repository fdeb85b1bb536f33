package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// pointer is a parameter, and the parameter that is its stride between rows.
type pointer struct{ name, row string }

// overRows writes the loops over n rows and their c channels, and ends the function. body finds the pointers, advanced to
// its row and channels, in memory.
func (m *winoMachine) overRows(pointers []pointer, body func(at map[string]Mem, mask *winoMask)) {
	channels, at := AllocLocal(8), map[string]Mem{}
	var all []Mem
	for _, p := range pointers {
		at[p.name] = AllocLocal(8)
		all = append(all, at[p.name])
	}
	Label("row")
	t := GP64()
	MOVQ(param("c"), t)
	MOVQ(t, channels)
	for _, p := range pointers {
		MOVQ(param(p.name), t)
		MOVQ(t, at[p.name])
	}
	m.overChannels(channels, all, func(_ string, mask *winoMask) { body(at, mask) })
	for _, p := range pointers {
		ADDQ(stride(p.row), memory(p.name))
	}
	DECQ(memory("n"))
	JG(LabelRef("row"))
	m.end()
}

// weights writes kern.Wino's Weight: 9 taps to 36 points.
func (m *winoMachine) weights() {
	m.begin("winoWeight", "func(u *float32, point, row int, w *float32, tap, wrow, n, c int)", "p2", "n0", "n1", "n2", "n2p")
	tap, to := stride("tap"), newSix(stride("point"))
	tap3 := GP64()
	LEAQ(Mem{Base: tap, Index: tap, Scale: 2}, tap3)
	m.overRows([]pointer{{"u", "row"}, {"w", "wrow"}}, func(at map[string]Mem, mask *winoMask) {
		for _, pass := range m.weight {
			grid := map[[2]int]reg.VecVirtual{}
			w := GP64()
			MOVQ(at["w"], w)
			for s := range 3 {
				m.weightPoints(func(r int) reg.VecVirtual {
					from := Mem{Base: w}
					if r > 0 {
						from = Mem{Base: w, Index: tap3, Scale: uint8(r)}
					}
					return m.load(from, mask)
				}, pass, func(i int, v reg.VecVirtual) { grid[[2]int{i, s}] = v })
				ADDQ(tap, w)
			}
			MOVQ(at["u"], to.first)
			to.begin()
			place := 0
			for _, i := range pass {
				for ; place < i; place++ {
					to.skip()
				}
				m.weightPoints(func(s int) reg.VecVirtual { return grid[[2]int{i, s}] }, []int{0, 1, 2, 3, 4, 5},
					func(j int, v reg.VecVirtual) { m.store(v, to.at(j), nil) })
			}
		}
	})
}

// weightGrads writes kern.Wino's WeightGrad: 36 points to 9 taps.
func (m *winoMachine) weightGrads() {
	m.begin("winoWeightGrad", "func(dw *float32, tap, dwrow int, s *float32, point, row, n, c int)",
		"n0", "n1", "n2", "n2p", "n2p2")
	tap, point, down := stride("tap"), stride("point"), newSix(GP64())
	LEAQ(Mem{Base: point, Index: point, Scale: 2}, down.step)
	ADDQ(down.step, down.step)
	m.overRows([]pointer{{"dw", "dwrow"}, {"s", "row"}}, func(at map[string]Mem, mask *winoMask) {
		for _, pass := range m.weightGrad {
			grid := map[[2]int]reg.VecVirtual{}
			source := GP64()
			MOVQ(at["s"], source)
			for j := range 6 {
				MOVQ(source, down.first)
				down.begin()
				m.weightSums(func(i int) reg.VecVirtual { return m.load(down.at(i), nil) }, pass,
					func(i int, v reg.VecVirtual) { grid[[2]int{i, j}] = v })
				ADDQ(point, source)
			}
			for _, i := range pass {
				dw := GP64()
				MOVQ(at["dw"], dw)
				for range 3 * i {
					ADDQ(tap, dw)
				}
				m.weightSums(func(j int) reg.VecVirtual { return grid[[2]int{i, j}] }, []int{0, 1, 2},
					func(j int, v reg.VecVirtual) {
						to := Mem{Base: dw}
						if j > 0 {
							to = Mem{Base: dw, Index: tap, Scale: uint8(j)}
						}
						m.store(v, to, mask)
					})
			}
		}
	})
}
