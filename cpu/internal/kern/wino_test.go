package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// winoCase is a row of tiles: channels, width of the image, first pixel of the first tile, tiles.
type winoCase struct{ c, w, left, tiles int }

func winoCases(yield func(winoCase)) {
	for _, c := range []int{1, 3, 7, 8, 15, 16, 17, 24, 33, 48} {
		for _, w := range []int{1, 2, 3, 4, 5, 8, 11} {
			for _, left := range []int{-5, -2, -1, 0, 3} {
				yield(winoCase{c, w, left, 1 + (c+w)%3})
			}
		}
	}
}

// padded is the room that c channels need in the longest vectors.
func padded(c int) int { return (c + 15) / 16 * 16 }

// rows returns n rows of w pixels with a stride of c+1 floats, surrounded by NaN: what lies outside must not be read.
func (s winoCase) rows(r *rand.Rand, n int) (rows []*float32, values [][]float32, pixel int) {
	pixel = s.c + 1
	for range n {
		line := make([]float32, (s.w+20)*pixel)
		for i := range line {
			line[i] = float32(math.NaN())
		}
		for i := range s.w {
			for ch := range s.c {
				line[(10+i)*pixel+ch] = 2*r.Float32() - 1
			}
		}
		values = append(values, line[10*pixel:])
		rows = append(rows, &line[10*pixel])
	}
	return rows, values, pixel
}

// winoSame requires got to agree with want within a few roundings of numbers of the given size, and to be equal to before
// where want is: what the portable function leaves alone must be left alone, except where free says so.
func winoSame(t *testing.T, what string, got, want, before []float32, size float64, free func(i int) bool) {
	t.Helper()
	for i := range got {
		if free != nil && free(i) {
			continue
		}
		if want[i] == before[i] && got[i] != before[i] {
			t.Fatalf("%s: wrote %v to place %d, which is not its own", what, got[i], i)
		}
		if !(math.Abs(float64(got[i]-want[i])) <= 16*size*0x1p-24) {
			t.Fatalf("%s: place %d is %v, the portable function has %v", what, i, got[i], want[i])
		}
	}
}

func TestWinoPoints(t *testing.T) {
	for _, table := range native() {
		for side, run := range map[int][2]func(*float32, int, int, **float32, int, int, int, int, int){
			6: {table.Wino.Input, genericWino.Input}, 4: {table.Wino.OutputGrad, genericWino.OutputGrad},
		} {
			winoCases(func(s winoCase) {
				r := rand.New(rand.NewPCG(uint64(s.c), uint64(s.w)))
				rows, _, pixel := s.rows(r, side)
				tile := padded(s.c) + 3
				point := s.tiles*tile + 5
				before := gemmInput(r, 36*point)
				got, want := append([]float32(nil), before...), append([]float32(nil), before...)
				run[0](&got[0], point, tile, &rows[0], s.w, s.left, pixel, s.c, s.tiles)
				run[1](&want[0], point, tile, &rows[0], s.w, s.left, pixel, s.c, s.tiles)
				winoSame(t, fmt.Sprintf("%s, side %d, %+v", table.Name, side, s), got, want, before, 225, func(i int) bool {
					q := i % point / tile
					ch := i % point % tile
					return q < s.tiles && s.c <= ch && ch < padded(s.c)
				})
			})
		}
	}
}

func TestWinoOutput(t *testing.T) {
	for _, table := range native() {
		winoCases(func(s winoCase) {
			r := rand.New(rand.NewPCG(uint64(s.c), uint64(s.w)))
			tiles, h := (s.w+3)/4, 1+(s.c+s.w)%4
			tile := padded(s.c) + 3
			point := tiles*tile + 5
			pixel := s.c + 1
			row := s.w*pixel + 7
			m, bias, add, before := gemmInput(r, 36*point), gemmInput(r, s.c), gemmInput(r, 4*row), gemmInput(r, 4*row)
			got, want := append([]float32(nil), before...), append([]float32(nil), before...)
			residual := [2]*float32{}
			switch s.left {
			case -1: // separate
				residual = [2]*float32{&add[0], &add[0]}
			case -2: // in place
				residual = [2]*float32{&got[0], &want[0]}
			}
			table.Wino.Output(&got[0], row, pixel, &m[0], point, tile, &bias[0], residual[0], s.w, h, s.c, tiles)
			genericWino.Output(&want[0], row, pixel, &m[0], point, tile, &bias[0], residual[1], s.w, h, s.c, tiles)
			winoSame(t, fmt.Sprintf("%s, height %d, %+v", table.Name, h, s), got, want, before, 225, nil)
		})
	}
}

func TestWinoWeights(t *testing.T) {
	for _, table := range native() {
		for _, c := range []int{1, 3, 8, 15, 16, 17, 31, 32, 40} {
			for _, n := range []int{1, 2, 5} {
				for flip := range 2 {
					r := rand.New(rand.NewPCG(uint64(c), uint64(n)))
					name := fmt.Sprintf("%s, %d rows of %d, flip %d", table.Name, n, c, flip)
					row, wrow := padded(c)+1, c+2
					point, tap := n*row+3, n*wrow+1
					w, before := gemmInput(r, 9*tap), gemmInput(r, 36*point)
					got, want := append([]float32(nil), before...), append([]float32(nil), before...)
					first, step := 0, tap
					if flip == 1 {
						first, step = 8*tap, -tap
					}
					table.Wino.Weight(&got[0], point, row, &w[first], step, wrow, n, c)
					genericWino.Weight(&want[0], point, row, &w[first], step, wrow, n, c)
					winoSame(t, name, got, want, before, 1, func(i int) bool {
						ch := i % point % row
						return i%point < n*row && c <= ch && ch < padded(c)
					})

					s, dw := gemmInput(r, 36*point), gemmInput(r, 9*tap)
					got, want = append([]float32(nil), dw...), append([]float32(nil), dw...)
					table.Wino.WeightGrad(&got[first], step, wrow, &s[0], point, row, n, c)
					genericWino.WeightGrad(&want[first], step, wrow, &s[0], point, row, n, c)
					winoSame(t, name, got, want, dw, 9, nil)
				}
			}
		}
	}
}

// TestWinoIdentity checks the portable transforms against the definition of a convolution and of its weight gradient, in
// float64: they are the specification of the others.
func TestWinoIdentity(t *testing.T) {
	const bound = 1e-5
	r := rand.New(rand.NewPCG(1, 2))
	x, g, dy := gemmInput(r, 36), gemmInput(r, 9), gemmInput(r, 16)
	rows := func(v []float32, n int) **float32 {
		list := make([]*float32, n)
		for i := range list {
			list[i] = &v[i*n]
		}
		return &list[0]
	}
	w := &genericWino
	v, u, z, m, s := make([]float32, 36), make([]float32, 36), make([]float32, 36), make([]float32, 36), make([]float32, 36)
	w.Input(&v[0], 1, 1, rows(x, 6), 6, 0, 1, 1, 1)
	w.Weight(&u[0], 1, 1, &g[0], 1, 1, 1, 1)
	w.OutputGrad(&z[0], 1, 1, rows(dy, 4), 4, 0, 1, 1, 1)
	for p := range 36 {
		m[p], s[p] = u[p]*v[p], z[p]*v[p]
	}
	y, dg, bias := make([]float32, 16), make([]float32, 9), []float32{3}
	w.Output(&y[0], 4, 1, &m[0], 1, 1, &bias[0], nil, 4, 4, 1, 1)
	w.WeightGrad(&dg[0], 1, 1, &s[0], 1, 1, 1, 1)
	for i := range 4 {
		for j := range 4 {
			want := float64(bias[0])
			for k := range 9 {
				want += float64(x[6*(i+k/3)+j+k%3]) * float64(g[k])
			}
			if got := float64(y[4*i+j]); !(math.Abs(got-want) < bound) {
				t.Errorf("y[%d,%d] is %v, expected %v", i, j, got, want)
			}
		}
	}
	for k := range 9 {
		var want float64
		for i := range 4 {
			for j := range 4 {
				want += float64(x[6*(i+k/3)+j+k%3]) * float64(dy[4*i+j])
			}
		}
		if got := float64(dg[k]); !(math.Abs(got-want) < bound) {
			t.Errorf("dg[%d,%d] is %v, expected %v", k/3, k%3, got, want)
		}
	}
}
