package kern

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// gemmInput returns n random numbers in [-1, 1).
func gemmInput(r *rand.Rand, n int) []float32 {
	v := Aligned(n)
	for i := range v {
		v[i] = 2*r.Float32() - 1
	}
	return v
}

// The bound on |error| is that of a sum of n products in sequence, 2⁻²⁴·n times the sum of the absolute products, and two
// more roundings for bias and add.
func gemmWithin(t *testing.T, what string, got float32, want, magnitude float64, n int) {
	t.Helper()
	if bound := float64(n+3) * magnitude * 0x1p-24; !(math.Abs(float64(got)-want) <= bound) {
		t.Fatalf("%s is %v, expected %v ± %.1e", what, got, want, bound)
	}
}

func TestTile(t *testing.T) {
	for _, table := range Tables() {
		g := &table.Gemm
		stream := func(taps, kc int, a **float32, b *float32, ldb int, c *float32, ldc int, add *float32, ldadd int, bias *float32) {
			g.Stream(taps, kc, a, b, ldb, c, ldc, add, ldadd, bias, b)
		}
		for i, tile := range []func(int, int, **float32, *float32, int, *float32, int, *float32, int, *float32){g.Tile, stream, g.Half} {
			half := i / 2
			width := g.NR / (1 + half)
			for _, taps := range []int{0, 1, 2, 9} {
				for _, kc := range []int{0, 1, 2, 3, 17, 64} {
					for variant := range 4 {
						name := fmt.Sprintf("%s, half %d, taps %d, kc %d, variant %d", table.Name, half, taps, kc, variant)
						r := rand.New(rand.NewPCG(uint64(taps), uint64(kc)))
						ldb, ldc, ldadd := width+5*(variant&1), width+3, width+1
						x := gemmInput(r, 1000+taps*g.MR*2)
						b, bias, add := gemmInput(r, (taps*kc+1)*ldb), gemmInput(r, width), gemmInput(r, g.MR*ldadd)
						c := gemmInput(r, g.MR*ldc)
						before := append([]float32(nil), c...)
						rows := make([]*float32, taps*g.MR+1)
						start := make([]int, len(rows))
						for i := range rows {
							start[i] = r.IntN(1000 - kc)
							rows[i] = &x[start[i]]
						}
						addp, biasp := &add[0], &bias[0]
						if variant == 1 {
							addp, biasp = nil, nil
						}
						if variant == 2 { // accumulate
							addp, ldadd, add = &c[0], ldc, before
						}
						tile(taps, kc, &rows[0], &b[0], ldb, &c[0], ldc, addp, ldadd, biasp)
						for i := range g.MR {
							for j := range ldc {
								if j >= width {
									if c[i*ldc+j] != before[i*ldc+j] {
										t.Fatalf("%s: wrote beyond column %d", name, width)
									}
									continue
								}
								var want, magnitude float64
								for k := range taps * kc {
									p := float64(x[start[k/kc*g.MR+i]+k%kc]) * float64(b[k*ldb+j])
									want, magnitude = want+p, magnitude+math.Abs(p)
								}
								if addp != nil {
									want += float64(add[i*ldadd+j])
								}
								if biasp != nil {
									want += float64(bias[j])
								}
								gemmWithin(t, fmt.Sprintf("%s: C[%d,%d]", name, i, j), c[i*ldc+j], want, magnitude+2, taps*kc)
							}
						}
					}
				}
			}
		}
	}
}

func TestOuter(t *testing.T) {
	for _, table := range Tables() {
		g := &table.Gemm
		for half, outer := range []func(int, *int32, *float32, *float32, *float32, int, int){g.Outer, g.OuterHalf} {
			width := g.NR / (1 + half)
			for _, n := range []int{0, 1, 2, 31, 64} {
				for add := range 2 {
					name := fmt.Sprintf("%s, half %d, n %d, add %d", table.Name, half, n, add)
					r := rand.New(rand.NewPCG(uint64(n), 1))
					x, y, ldc := gemmInput(r, 500), gemmInput(r, 700), width+3
					pairs := make([]int32, 2*n+1)
					for i := range n {
						pairs[2*i], pairs[2*i+1] = int32(r.IntN(500-g.OR)), int32(r.IntN(700-width))
					}
					c := gemmInput(r, g.OR*ldc)
					before := append([]float32(nil), c...)
					outer(n, &pairs[0], &x[0], &y[0], &c[0], ldc, add)
					for i := range g.OR {
						for j := range ldc {
							if j >= width {
								if c[i*ldc+j] != before[i*ldc+j] {
									t.Fatalf("%s: wrote beyond column %d", name, width)
								}
								continue
							}
							want := float64(add) * float64(before[i*ldc+j])
							magnitude := math.Abs(want)
							for p := range n {
								term := float64(x[int(pairs[2*p])+i]) * float64(y[int(pairs[2*p+1])+j])
								want, magnitude = want+term, magnitude+math.Abs(term)
							}
							gemmWithin(t, fmt.Sprintf("%s: C[%d,%d]", name, i, j), c[i*ldc+j], want, magnitude, n)
						}
					}
				}
			}
		}
	}
}

func TestTranspose(t *testing.T) {
	for _, table := range Tables() {
		size := table.Gemm.NR / 2
		for blocks := range 4 {
			lds, ldd := blocks*size+3, size+1
			r := rand.New(rand.NewPCG(1, 2))
			src, dst := gemmInput(r, size*lds), gemmInput(r, (blocks*size+1)*ldd)
			before := append([]float32(nil), dst...)
			table.Gemm.Transpose(blocks, &src[0], lds, &dst[0], ldd)
			for j := range blocks*size + 1 {
				for i := range ldd {
					want := before[j*ldd+i]
					if i < size && j < blocks*size {
						want = src[i*lds+j]
					}
					if dst[j*ldd+i] != want {
						t.Fatalf("%s, %d blocks: dst[%d,%d] is %v, expected %v", table.Name, blocks, j, i, dst[j*ldd+i], want)
					}
				}
			}
		}
	}
}

func TestPack(t *testing.T) {
	for _, table := range Tables() {
		g := &table.Gemm
		for _, rows := range []int{0, 1, 2, 19} {
			for panels := range 4 {
				lds, ldd := panels*g.NR+3, rows*g.NR+5
				r := rand.New(rand.NewPCG(1, 2))
				src, dst := gemmInput(r, rows*lds+1), gemmInput(r, (panels+1)*ldd+g.NR)
				want := append([]float32(nil), dst...)
				for i := range rows {
					for j := range panels {
						copy(want[j*ldd+i*g.NR:][:g.NR], src[i*lds+j*g.NR:])
					}
				}
				g.Pack(panels, rows, &src[0], lds, &dst[0], ldd)
				for i := range want {
					if dst[i] != want[i] {
						t.Fatalf("%s, %d panels, %d rows: float %d is %v, expected %v", table.Name, panels, rows, i, dst[i], want[i])
					}
				}
			}
		}
	}
}

// Touch has no result; it must not fault, whatever it is asked for.
func TestTouch(t *testing.T) {
	x := make([]float32, 100)
	rows := []*float32{&x[0], &x[99], &x[5]}
	for _, table := range Tables() {
		for n := range len(rows) + 1 {
			for lines := range 9 {
				table.Gemm.Touch(n, &rows[0], lines)
			}
		}
	}
}
