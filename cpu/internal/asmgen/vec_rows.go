package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The loops over the rows of a matrix are of two kinds: columns keeps sums in registers and walks down a block of columns,
// eachRow walks along the rows in the order of memory.

// columns writes for each block of columns: the body, which gets the places of the vectors in the first row and a count
// of rows to begin with. A block is some whole vectors, then one vector at a time under a mask.
func (l *lanes) columns(n reg.Register, block int, body func(places []place)) {
	index, rest := GP64(), GP64()
	XORQ(index, index)
	MOVQ(n, rest)
	loop, single, done := l.label("block"), l.label("single"), l.label("end")
	SUBQ(I32(int32(block*l.width)), rest)
	JL(LabelRef(single))
	Label(loop)
	var places []place
	for u := range block {
		places = append(places, place{index: index, disp: u * l.bytes()})
	}
	body(places)
	ADDQ(I32(int32(block*l.width)), index)
	SUBQ(I32(int32(block*l.width)), rest)
	JGE(LabelRef(loop))
	Label(single)
	ADDQ(I32(int32(block*l.width)), rest)
	JLE(LabelRef(done))
	column := l.label("column")
	Label(column)
	count := GP64()
	MOVQ(I32(int32(l.width)), count)
	CMPQ(rest, count)
	CMOVQLT(rest, count)
	body([]place{{index: index, mask: l.tail(count)}})
	ADDQ(I32(int32(l.width)), index)
	SUBQ(I32(int32(l.width)), rest)
	JG(LabelRef(column))
	Label(done)
}

// columnSums writes a kernel that adds to each of the sums, by columns, what the body makes of the rows of the inputs and
// of the vectors that belong to the columns. Even and odd rows have accumulators of their own.
func (l *lanes) columnSums(name string, sums, inputs, fixed []string, block int, body func(acc, in, fixed []reg.VecVirtual)) {
	signature := "func("
	for _, list := range [][]string{sums, inputs, fixed} {
		for _, name := range list {
			if signature != "func(" {
				signature += ", "
			}
			signature += name
		}
	}
	l.function(name, signature+" *float32, n, rows, stride int)")
	to, from, vectors := arguments(sums...), arguments(inputs...), arguments(fixed...)
	n, rows, stride := argument("n"), argument("rows"), argument("stride")
	SHLQ(U8(2), stride)
	l.columns(n, block, func(places []place) {
		held := make([][]reg.VecVirtual, len(places))
		acc := [2][][]reg.VecVirtual{make([][]reg.VecVirtual, len(places)), make([][]reg.VecVirtual, len(places))}
		for u, p := range places {
			for _, v := range vectors {
				held[u] = append(held[u], l.load(v, p))
			}
			acc[0][u], acc[1][u] = l.zeros(len(sums)), l.zeros(len(sums))
		}
		at := make([]reg.GPVirtual, len(from))
		for i, f := range from {
			at[i] = GP64()
			MOVQ(f, at[i])
		}
		step := func(phase int) {
			for u, p := range places {
				var in []reg.VecVirtual
				for _, f := range at {
					in = append(in, l.load(f, p))
				}
				body(acc[phase][u], in, held[u])
			}
			for _, f := range at {
				ADDQ(stride, f)
			}
		}
		left := GP64()
		MOVQ(rows, left)
		loop, last, done := l.label("rows"), l.label("last"), l.label("sums")
		SUBQ(U8(2), left)
		JL(LabelRef(last))
		Label(loop)
		step(0)
		step(1)
		SUBQ(U8(2), left)
		JGE(LabelRef(loop))
		Label(last)
		ADDQ(U8(2), left)
		JLE(LabelRef(done))
		step(0)
		Label(done)
		for u, p := range places {
			for i := range sums {
				VADDPS(acc[1][u][i], acc[0][u][i], acc[0][u][i])
				old := l.load(to[i], p)
				VADDPS(acc[0][u][i], old, old)
				l.store(old, to[i], p)
			}
		}
	})
	finish()
}

// eachRow runs the body for the vectors of each row, and moves the given pointers from row to row.
func (l *lanes) eachRow(n, rows, stride reg.Register, unroll int, moving []reg.GPVirtual, body func(p place, u int)) {
	loop, done := l.label("row"), l.label("rows")
	SHLQ(U8(2), stride)
	TESTQ(rows, rows)
	JLE(LabelRef(done))
	Label(loop)
	l.sweep(n, unroll, body)
	for _, p := range moving {
		ADDQ(stride, p)
	}
	DECQ(rows)
	JNE(LabelRef(loop))
	Label(done)
}

// rows writes the loops over matrices.
func (l *lanes) rows() {
	type vec = reg.VecVirtual
	block := 2
	if l.wide() {
		block = 4
	}
	l.columnSums("accumulateRows", []string{"dst"}, []string{"a"}, nil, 4, func(acc, in, _ []vec) {
		VADDPS(in[0], acc[0], acc[0])
	})
	l.columnSums("moments", []string{"sum", "squares"}, []string{"x"}, []string{"shift"}, block, func(acc, in, fixed []vec) {
		VSUBPS(fixed[0], in[0], in[0])
		VADDPS(in[0], acc[0], acc[0])
		VFMADD231PS(in[0], in[0], acc[1])
	})
	l.columnSums("gradMoments", []string{"sum", "dot"}, []string{"dy", "x"}, []string{"center"}, block, func(acc, in, fixed []vec) {
		VADDPS(in[0], acc[0], acc[0])
		VSUBPS(fixed[0], in[1], in[1])
		VFMADD231PS(in[0], in[1], acc[1])
	})

	for _, silu := range []bool{false, true} {
		name, unroll := "affineRows", 4
		if silu {
			name, unroll = "affineSiLURows", 2
		}
		l.function(name, "func(y, x, scale, shift *float32, n, rows, stride int)")
		y, x, scale, shift := argument("y"), argument("x"), argument("scale"), argument("shift")
		n, rows, stride := argument("n"), argument("rows"), argument("stride")
		if silu {
			l.preloadSiLU()
		}
		l.eachRow(n, rows, stride, unroll, []reg.GPVirtual{y, x}, func(p place, _ int) {
			v, a, b := l.load(x, p), l.load(scale, p), l.load(shift, p)
			VFMADD213PS(b, a, v)
			if silu {
				v = l.silu(v)
			}
			l.store(v, y, p)
		})
		finish()
	}

	l.function("siluGradMoments", "func(dz, sum, dot, dy, x, scale, shift, center *float32, n, rows, stride int)")
	dz, sum, dot, dy, x := argument("dz"), argument("sum"), argument("dot"), argument("dy"), argument("x")
	scale, shift, center := argument("scale"), argument("shift"), argument("center")
	n, rows, stride := argument("n"), argument("rows"), argument("stride")
	l.preloadSiLU()
	l.eachRow(n, rows, stride, 1, []reg.GPVirtual{dz, dy, x}, func(p place, _ int) {
		u, a, b := l.load(x, p), l.load(scale, p), l.load(shift, p)
		VFMADD231PS(u, a, b)
		d := l.siluGrad(b)
		VMULPS(l.load(dy, p), d, d)
		l.store(d, dz, p)
		total := l.load(sum, p)
		VADDPS(d, total, total)
		l.store(total, sum, p)
		VSUBPS(l.load(center, p), u, u)
		total = l.load(dot, p)
		VFMADD231PS(u, d, total)
		l.store(total, dot, p)
	})
	finish()

	l.function("affineSumRows", "func(dx, dz, x, p, q, r *float32, n, rows, stride int)")
	dx, dz, x := argument("dx"), argument("dz"), argument("x")
	p, q, r := argument("p"), argument("q"), argument("r")
	n, rows, stride = argument("n"), argument("rows"), argument("stride")
	l.eachRow(n, rows, stride, 4, []reg.GPVirtual{dx, dz, x}, func(at place, _ int) {
		v := l.load(r, at)
		VFMADD231PS(l.load(q, at), l.load(x, at), v)
		VFMADD231PS(l.load(p, at), l.load(dz, at), v)
		l.store(v, dx, at)
	})
	finish()
}

// adamW writes the step of the optimiser; the coefficients are in the order of kern.AdamW.
func (l *lanes) adamW() {
	l.function("adamW", "func(p1, m1, v1, p, grad, m, v *float32, coefficients *float32, n int)")
	coefficients := argument("coefficients")
	held := map[int]reg.VecVirtual{}
	// scalar is coefficient i in a register. They all stay there where there are enough registers.
	scalar := func(i int) reg.VecVirtual {
		if v, ok := held[i]; ok {
			return v
		}
		v := l.vector()
		VBROADCASTSS(Mem{Base: coefficients, Disp: 4 * i}, v)
		return v
	}
	if l.wide() {
		for i := range 10 {
			held[i] = scalar(i)
		}
	}
	const rate, gradScale, fix1, fix2, epsilon, decay, beta1, rest1, beta2, rest2 = 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
	p1, m1, v1 := argument("p1"), argument("m1"), argument("v1")
	p, grad, m, v, n := argument("p"), argument("grad"), argument("m"), argument("v"), argument("n")
	l.sweep(n, 1, func(at place, _ int) {
		g := l.load(grad, at)
		VMULPS(scalar(gradScale), g, g)
		mean := l.load(m, at)
		VMULPS(scalar(beta1), mean, mean)
		VFMADD231PS(scalar(rest1), g, mean)
		l.store(mean, m1, at)
		square := l.load(v, at)
		VMULPS(g, g, g)
		VMULPS(scalar(beta2), square, square)
		VFMADD231PS(scalar(rest2), g, square)
		l.store(square, v1, at)
		VMULPS(scalar(fix2), square, square)
		VSQRTPS(square, square)
		VADDPS(scalar(epsilon), square, square)
		VMULPS(scalar(fix1), mean, mean)
		VDIVPS(square, mean, mean)
		value := l.load(p, at)
		VFMADD231PS(scalar(decay), value, mean)
		VFNMADD231PS(scalar(rate), mean, value)
		l.store(value, p1, at)
	})
	finish()
}
