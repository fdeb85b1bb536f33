package kern

import "unsafe"

var genericWino = Wino{
	Input: genericInput, OutputGrad: genericOutputGrad, Output: genericOutput,
	Weight: genericWeight, WeightGrad: genericWeightGrad,
}

// inputPoints returns Bᵀ·x. Rows ±p of Bᵀ are the sum and the difference of a part even in p and one odd in p.
func inputPoints(x [6]float32) [6]float32 {
	e1, o1 := x[4]-winoP2*x[2], x[3]-winoP2*x[1]
	e2, o2 := x[4]-x[2], x[3]-x[1]
	return [6]float32{
		winoP2*x[0] + x[4] - (1+winoP2)*x[2],
		e1 + o1,
		e1 - o1,
		e2 + winoP*o2,
		e2 - winoP*o2,
		x[5] - (1+winoP2)*x[3] + winoP2*x[1],
	}
}

// outputSums returns Aᵀ·m.
func outputSums(m [6]float32) [4]float32 {
	s1, d1 := m[1]+m[2], m[1]-m[2]
	s2, d2 := m[3]+m[4], m[3]-m[4]
	return [4]float32{m[0] + s1 + s2, d1 + winoP*d2, s1 + winoP2*s2, m[5] + d1 + winoP3*d2}
}

// outputPoints returns A·y.
func outputPoints(y [4]float32) [6]float32 {
	e1, o1 := y[0]+y[2], y[1]+y[3]
	e2, o2 := y[0]+winoP2*y[2], y[1]+winoP2*y[3]
	return [6]float32{y[0], e1 + o1, e1 - o1, e2 + winoP*o2, e2 - winoP*o2, y[3]}
}

// weightPoints returns G·g.
func weightPoints(g [3]float32) [6]float32 {
	e1, o1 := winoN1*(g[0]+g[2]), winoN1*g[1]
	e2, o2 := winoN2*(g[0]+winoP2*g[2]), winoN2*winoP*g[1]
	return [6]float32{winoN0 * g[0], e1 + o1, e1 - o1, e2 + o2, e2 - o2, g[2]}
}

// weightSums returns Gᵀ·s.
func weightSums(s [6]float32) [3]float32 {
	s1, d1 := winoN1*(s[1]+s[2]), s[1]-s[2]
	s2, d2 := s[3]+s[4], s[3]-s[4]
	return [3]float32{
		s1 + winoN2*s2 + winoN0*s[0],
		winoN1*d1 + winoN2*winoP*d2,
		s1 + winoN2*winoP2*s2 + s[5],
	}
}

func genericInput(v *float32, point, tile int, rows **float32, w, left, pixel, c, tiles int) {
	for q := range tiles {
		for ch := range c {
			var x [6][6]float32
			for r, row := range unsafe.Slice(rows, 6) {
				for s := range 6 {
					if i := left + 4*q + s; 0 <= i && i < w {
						x[r][s] = *at(row, i*pixel+ch)
					}
				}
			}
			for s := range 6 {
				col := inputPoints([6]float32{x[0][s], x[1][s], x[2][s], x[3][s], x[4][s], x[5][s]})
				for i := range 6 {
					x[i][s] = col[i]
				}
			}
			for i := range 6 {
				for j, value := range inputPoints(x[i]) {
					*at(v, (6*i+j)*point+q*tile+ch) = value
				}
			}
		}
	}
}

func genericOutputGrad(z *float32, point, tile int, rows **float32, w, left, pixel, c, tiles int) {
	for q := range tiles {
		for ch := range c {
			var y [6][4]float32
			for s := range 4 {
				var col [4]float32
				if i := left + 4*q + s; 0 <= i && i < w {
					for r, row := range unsafe.Slice(rows, 4) {
						col[r] = *at(row, i*pixel+ch)
					}
				}
				for i, value := range outputPoints(col) {
					y[i][s] = value
				}
			}
			for i := range 6 {
				for j, value := range outputPoints(y[i]) {
					*at(z, (6*i+j)*point+q*tile+ch) = value
				}
			}
		}
	}
}

func genericOutput(y *float32, row, pixel int, m *float32, point, tile int, bias, add *float32, w, h, c, tiles int) {
	for q := range tiles {
		for ch := range c {
			var sums [4][6]float32
			for j := range 6 {
				var col [6]float32
				for i := range 6 {
					col[i] = *at(m, (6*i+j)*point+q*tile+ch)
				}
				if j == 1 {
					col[1] += *at(bias, ch) // the sums weigh point (1, 1) with 1 in all outputs
				}
				for i, value := range outputSums(col) {
					sums[i][j] = value
				}
			}
			for i := range h {
				for s, value := range outputSums(sums[i]) {
					if 4*q+s >= w {
						break
					}
					to := i*row + (4*q+s)*pixel + ch
					if add != nil {
						value += *at(add, to)
					}
					*at(y, to) = value
				}
			}
		}
	}
}

func genericWeight(u *float32, point, row int, w *float32, tap, wrow, n, c int) {
	for k := range n {
		for ch := range c {
			var g [6][3]float32
			for s := range 3 {
				var col [3]float32
				for r := range 3 {
					col[r] = *at(w, (3*r+s)*tap+k*wrow+ch)
				}
				for i, value := range weightPoints(col) {
					g[i][s] = value
				}
			}
			for i := range 6 {
				for j, value := range weightPoints(g[i]) {
					*at(u, (6*i+j)*point+k*row+ch) = value
				}
			}
		}
	}
}

func genericWeightGrad(dw *float32, tap, dwrow int, s *float32, point, row, n, c int) {
	for k := range n {
		for ch := range c {
			var g [3][6]float32
			for j := range 6 {
				var col [6]float32
				for i := range 6 {
					col[i] = *at(s, (6*i+j)*point+k*row+ch)
				}
				for i, value := range weightSums(col) {
					g[i][j] = value
				}
			}
			for i := range 3 {
				for j, value := range weightSums(g[i]) {
					*at(dw, (3*i+j)*tap+k*dwrow+ch) = value
				}
			}
		}
	}
}
