package main

import (
	"slices"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

// transform is a one-dimensional transform of a vector per element: get returns element i, in a register that may be
// overwritten, and emit receives the elements wanted, in any order. get is called once per element that is needed.
type transform func(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual))

// lazily returns get with a memory.
func lazily(get func(i int) reg.VecVirtual) func(i int) reg.VecVirtual {
	known := map[int]reg.VecVirtual{}
	return func(i int) reg.VecVirtual {
		v, ok := known[i]
		if !ok {
			v = get(i)
			known[i] = v
		}
		return v
	}
}

func (m *winoMachine) copy(v reg.VecVirtual) reg.VecVirtual {
	w := m.vector()
	VMOVAPS(v, w)
	return w
}

// sum returns a+b, difference a-b, in new registers.
func (m *winoMachine) sum(a, b reg.VecVirtual) reg.VecVirtual {
	v := m.vector()
	VADDPS(b, a, v)
	return v
}

func (m *winoMachine) difference(a, b reg.VecVirtual) reg.VecVirtual {
	v := m.vector()
	VSUBPS(b, a, v)
	return v
}

// inputPoints is Bᵀ. Rows 1 and 2 overwrite what rows 3 and 4 need, so these begin first.
func (m *winoMachine) inputPoints(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual)) {
	x, p, p2, p21 := lazily(get), m.constant["p"], m.constant["p2"], m.constant["1+p2"]
	if slices.Contains(want, 0) {
		v := x(0)
		VFMADD132PS(p2, x(4), v)
		VFNMADD231PS(p21, x(2), v)
		emit(0, v)
	}
	if slices.Contains(want, 5) {
		v := x(5)
		VFNMADD231PS(p21, x(3), v)
		VFMADD231PS(p2, x(1), v)
		emit(5, v)
	}
	var e2, o2 reg.VecVirtual
	if slices.Contains(want, 3) {
		e2, o2 = m.difference(x(4), x(2)), m.difference(x(3), x(1))
	}
	if slices.Contains(want, 1) {
		e1, o1 := x(4), x(3)
		VFNMADD231PS(p2, x(2), e1)
		VFNMADD231PS(p2, x(1), o1)
		emit(1, m.sum(e1, o1))
		emit(2, m.difference(e1, o1))
	}
	if slices.Contains(want, 3) {
		v := m.copy(e2)
		VFMADD231PS(p, o2, v)
		emit(3, v)
		VFNMADD231PS(p, o2, e2)
		emit(4, e2)
	}
}

// outputPoints is A.
func (m *winoMachine) outputPoints(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual)) {
	y, p, p2 := lazily(get), m.constant["p"], m.constant["p2"]
	if slices.Contains(want, 1) {
		e, o := m.sum(y(0), y(2)), m.sum(y(1), y(3))
		emit(1, m.sum(e, o))
		emit(2, m.difference(e, o))
	}
	if slices.Contains(want, 0) {
		emit(0, y(0))
	}
	if slices.Contains(want, 5) {
		emit(5, y(3))
	}
	if slices.Contains(want, 3) {
		e, o := m.copy(y(0)), m.copy(y(1))
		VFMADD231PS(p2, y(2), e)
		VFMADD231PS(p2, y(3), o)
		v := m.copy(e)
		VFMADD231PS(p, o, v)
		emit(3, v)
		VFNMADD231PS(p, o, e)
		emit(4, e)
	}
}

// outputSums is Aᵀ.
func (m *winoMachine) outputSums(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual)) {
	x := lazily(get)
	even, odd := slices.Contains(want, 0), slices.Contains(want, 1)
	var s1, d1, s2, d2 reg.VecVirtual
	if even {
		s1 = m.sum(x(1), x(2))
	}
	if odd {
		d1 = m.difference(x(1), x(2))
	}
	if even {
		s2 = m.sum(x(3), x(4))
	}
	if odd {
		d2 = m.difference(x(3), x(4))
	}
	if even {
		v := x(0)
		VADDPS(s1, v, v)
		VADDPS(s2, v, v)
		emit(0, v)
		VFMADD231PS(m.constant["p2"], s2, s1)
		emit(2, s1)
	}
	if odd {
		v := x(5)
		VADDPS(d1, v, v)
		VFMADD231PS(m.constant["p3"], d2, v)
		emit(3, v)
		VFMADD231PS(m.constant["p"], d2, d1)
		emit(1, d1)
	}
}

// weightPoints is G.
func (m *winoMachine) weightPoints(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual)) {
	g := lazily(get)
	pair := func(i int, even reg.VecVirtual, odd string) {
		v := m.copy(even)
		VFMADD231PS(m.constant[odd], g(1), v)
		emit(i, v)
		VFNMADD231PS(m.constant[odd], g(1), even)
		emit(i+1, even)
	}
	if slices.Contains(want, 1) {
		e := m.sum(g(0), g(2))
		VMULPS(m.constant["n1"], e, e)
		pair(1, e, "n1")
	}
	if slices.Contains(want, 3) {
		e := m.copy(g(0))
		VFMADD231PS(m.constant["p2"], g(2), e)
		VMULPS(m.constant["n2"], e, e)
		pair(3, e, "n2p")
	}
	if slices.Contains(want, 0) {
		v := g(0)
		VMULPS(m.constant["n0"], v, v)
		emit(0, v)
	}
	if slices.Contains(want, 5) {
		emit(5, g(2))
	}
}

// weightSums is Gᵀ.
func (m *winoMachine) weightSums(get func(i int) reg.VecVirtual, want []int, emit func(i int, v reg.VecVirtual)) {
	x := lazily(get)
	if slices.Contains(want, 1) {
		v := m.difference(x(1), x(2))
		VMULPS(m.constant["n1"], v, v)
		VFMADD231PS(m.constant["n2p"], m.difference(x(3), x(4)), v)
		emit(1, v)
	}
	if !slices.Contains(want, 0) && !slices.Contains(want, 2) {
		return
	}
	s1 := m.sum(x(1), x(2))
	VMULPS(m.constant["n1"], s1, s1)
	s2 := m.sum(x(3), x(4))
	if slices.Contains(want, 0) {
		v := m.copy(s1)
		VFMADD231PS(m.constant["n2"], s2, v)
		VFMADD231PS(m.constant["n0"], x(0), v)
		emit(0, v)
	}
	if slices.Contains(want, 2) {
		VFMADD231PS(m.constant["n2p2"], s2, s1)
		VADDPS(x(5), s1, s1)
		emit(2, s1)
	}
}
