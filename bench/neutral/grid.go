package main

import "math"

// grid is an interval with equal spacings, on which densities and functions in one dimension are held: of x_i = −reach + i·step.
type grid struct {
	n    int
	step float64
}

const reach = 5.5

func newGrid(step float64) grid {
	return grid{int(2*reach/step) + 1, step}
}

func (g grid) at(i int) float64 { return -reach + float64(i)*g.step }

func (g grid) of(f func(x float64) float64) []float64 {
	out := make([]float64, g.n)
	for i := range out {
		out[i] = f(g.at(i))
	}
	return out
}

// integral is the trapezoidal rule. For what is smooth and vanishes at the ends it is exact to rounding, once a spacing is below the
// width of all features: that is why so few points do.
func (g grid) integral(f func(i int) float64) (sum float64) {
	for i := range g.n {
		sum += g.step * f(i)
	}
	return sum
}

// stride is how many points of the grid an integral over a kernel may skip: to half its width, and no more than what functions have.
func (g grid) stride(sd float64) int {
	const finest = 0.04 // features of all functions are wider than this
	return max(1, int(min(sd/2, finest)/g.step))
}

// around returns the points of the grid at which a kernel is not negligible.
func (g grid) around(m, sd float64) (from, to int) {
	const tail = 8
	return max(0, int((m-tail*sd+reach)/g.step)), min(g.n, int((m+tail*sd+reach)/g.step)+2)
}

// convolve returns ∫f(y) N(x; centre(y), sd²) dy at all x of the grid, and its logarithmic slope, d log/dx.
func (g grid) convolve(f []float64, centre func(i int) float64, sd float64) (out, slope []float64) {
	stride := g.stride(sd)
	out, slope = make([]float64, g.n), make([]float64, g.n)
	for j := 0; j < g.n; j += stride {
		weight := f[j] * g.step * float64(stride) / (sd * math.Sqrt(2*math.Pi))
		if weight < 1e-30 {
			continue
		}
		m := centre(j)
		from, to := g.around(m, sd)
		for i := from; i < to; i++ {
			z := (g.at(i) - m) / sd
			p := weight * math.Exp(-z*z/2)
			out[i] += p
			slope[i] -= p * z / sd
		}
	}
	for i := range slope {
		if out[i] > 0 {
			slope[i] /= out[i]
		}
	}
	return out, slope
}
