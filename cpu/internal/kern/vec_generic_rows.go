package kern

import (
	"math"
	"unsafe"
)

// The portable reductions and the loops over the rows of a matrix. Sums of one run are in double precision.

func sumGeneric(a *float32, n int) float32 {
	var sum float64
	for _, v := range unsafe.Slice(a, n) {
		sum += float64(v)
	}
	return float32(sum)
}

func sumSquaresGeneric(a *float32, n int) float32 { return dotGeneric(a, a, n) }

func dotGeneric(a, b *float32, n int) float32 {
	x, y := unsafe.Slice(a, n), unsafe.Slice(b, n)
	var sum float64
	for i := range x {
		sum += float64(x[i]) * float64(y[i])
	}
	return float32(sum)
}

func maxReduceGeneric(a *float32, n int) float32 {
	m := float32(math.Inf(-1))
	for _, v := range unsafe.Slice(a, n) {
		m = max(m, v)
	}
	return m
}

func minReduceGeneric(a *float32, n int) float32 {
	m := float32(math.Inf(1))
	for _, v := range unsafe.Slice(a, n) {
		m = min(m, v)
	}
	return m
}

func expSumGeneric(dst, a *float32, s float32, n int) float32 {
	d, x := unsafe.Slice(dst, n), unsafe.Slice(a, n)
	var sum float64
	for i := range d {
		d[i] = float32(math.Exp(float64(x[i] - s)))
		sum += float64(d[i])
	}
	return float32(sum)
}

func softmaxGradGeneric(dst, dy, y *float32, s float32, n int) {
	d, g, x := unsafe.Slice(dst, n), unsafe.Slice(dy, n), unsafe.Slice(y, n)
	for i := range d {
		d[i] = x[i] * (g[i] - s)
	}
}

// row is row i of a matrix: n values, stride apart from those of the next row.
func row(a *float32, i, n, stride int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(a), 4*i*stride)), n)
}

func accumulateRowsGeneric(dst, a *float32, n, rows, stride int) {
	d := unsafe.Slice(dst, n)
	for i := range rows {
		x := row(a, i, n, stride)
		for j := range d {
			d[j] += x[j]
		}
	}
}

func momentsGeneric(sum, squares, x, shift *float32, n, rows, stride int) {
	s, q, k := unsafe.Slice(sum, n), unsafe.Slice(squares, n), unsafe.Slice(shift, n)
	for i := range rows {
		xi := row(x, i, n, stride)
		for j := range s {
			d := xi[j] - k[j]
			s[j] += d
			q[j] += d * d
		}
	}
}

func affineRowsGeneric(y, x, scale, shift *float32, n, rows, stride int) {
	a, b := unsafe.Slice(scale, n), unsafe.Slice(shift, n)
	for i := range rows {
		yi, xi := row(y, i, n, stride), row(x, i, n, stride)
		for j := range yi {
			yi[j] = xi[j]*a[j] + b[j]
		}
	}
}

func affineSiLURowsGeneric(y, x, scale, shift *float32, n, rows, stride int) {
	a, b := unsafe.Slice(scale, n), unsafe.Slice(shift, n)
	for i := range rows {
		yi, xi := row(y, i, n, stride), row(x, i, n, stride)
		for j := range yi {
			yi[j] = float32(silu(float64(xi[j]*a[j] + b[j])))
		}
	}
}

func gradMomentsGeneric(sum, dot, dy, x, center *float32, n, rows, stride int) {
	s, d, k := unsafe.Slice(sum, n), unsafe.Slice(dot, n), unsafe.Slice(center, n)
	for i := range rows {
		g, xi := row(dy, i, n, stride), row(x, i, n, stride)
		for j := range s {
			s[j] += g[j]
			d[j] += g[j] * (xi[j] - k[j])
		}
	}
}

func siluGradMomentsGeneric(dz, sum, dot, dy, x, scale, shift, center *float32, n, rows, stride int) {
	a, b := unsafe.Slice(scale, n), unsafe.Slice(shift, n)
	for i := range rows {
		zi, g, xi := row(dz, i, n, stride), row(dy, i, n, stride), row(x, i, n, stride)
		for j := range zi {
			zi[j] = g[j] * float32(siluGrad(float64(xi[j]*a[j]+b[j])))
		}
	}
	gradMomentsGeneric(sum, dot, dz, x, center, n, rows, stride)
}

func affineSumRowsGeneric(dx, dz, x, p, q, r *float32, n, rows, stride int) {
	a, b, c := unsafe.Slice(p, n), unsafe.Slice(q, n), unsafe.Slice(r, n)
	for i := range rows {
		d, g, xi := row(dx, i, n, stride), row(dz, i, n, stride), row(x, i, n, stride)
		for j := range d {
			d[j] = g[j]*a[j] + xi[j]*b[j] + c[j]
		}
	}
}
