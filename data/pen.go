package data

import (
	"math"

	"github.com/doob-diffusion/doob/noise"
)

// A pen draws one digit. It looks up, for every point of the paper, the point of the glyph that is drawn there. Paper
// and glyph have the same unit, the height of the glyph; y grows downward.
type pen struct {
	glyph  *glyph
	affine [4]float64 // glyph = affine·paper + elastic(paper)
	// Elastic displacement in x and in y, and what is added to the weight: splines on a grid of knots.
	elastic [3][knots * knots]float64
	weight  float64 // added on both sides of a stroke
	soft    float64 // width of the edge of a stroke, in pixels
	shift   [2]float64
}

func newPen(key noise.Key, i uint64, digit int) *pen {
	uniform := func(purpose string, lo, hi float64) float64 { return lo + (hi-lo)*key.Sub(purpose).Uniform(i, 0) }
	face := int(uniform("typeface", 0, float64(len(typefaces))))
	p := &pen{glyph: glyphs()[face][digit], soft: uniform("softness", 1, 1.8), shift: [2]float64{uniform("right", -0.5, 0.5), uniform("down", -0.5, 0.5)}}
	p.weight = max(typefaces[face].least, (uniform("stroke", 0.09, 0.19)-p.glyph.stroke)/2)

	var z [3 + 3*knots*knots]float32
	key.Normal(z[:], i, 0)
	rotation, shear, aspect := 0.12*bounded(z[0]), 0.1+0.18*bounded(z[1]), math.Exp(0.12*(bounded(z[2])-1))
	sin, cos := math.Sincos(rotation)
	p.affine = [4]float64{aspect * cos, aspect * (sin + shear*cos), -sin, cos - shear*sin}
	for f, amplitude := range [3]float64{0.11, 0.11, 0.015} {
		for k := range p.elastic[f] {
			p.elastic[f][k] = amplitude * float64(z[3+f*knots*knots+k])
		}
	}
	return p
}

// bounded keeps a normal draw from turning a 6 into a 9, or from drawing beyond the paper.
func bounded(z float32) float64 { return max(-2.5, min(2.5, float64(z))) }

// draw fills the pixels of an image.
func (p *pen) draw(pixels []float32) {
	// A first look, coarse and over all of the paper, finds where the ink is.
	const n, step = lookSize, 2 * paperReach / (lookSize - 1)
	var ink [n * n]float64
	p.distances(ink[:], n, -paperReach, -paperReach, step)
	box, cx, cy := extent(ink[:], n, -paperReach, step)

	pixel := box / digitBox
	p.distances(ink[:digitSize*digitSize], digitSize, cx-(digitSize/2-0.5+p.shift[0])*pixel, cy-(digitSize/2-0.5+p.shift[1])*pixel, pixel)
	for i := range pixels {
		grey := coverage(ink[i], p.soft*pixel)
		pixels[i] = float32(math.Round(255*grey)/127.5 - 1)
	}
}

// distances fills dst [n, n] with distances from the ink, at points step apart from (x0, y0) on.
func (p *pen) distances(dst []float64, n int, x0, y0, step float64) {
	var spline [max(digitSize, lookSize)]struct {
		first   int
		weights [4]float64
	}
	for j := range n {
		spline[j].first, spline[j].weights = basis(x0 + float64(j)*step)
	}
	scale := 1 / math.Sqrt(math.Abs(p.affine[0]*p.affine[3]-p.affine[1]*p.affine[2])) // from the glyph to the paper
	for i := range n {
		y := y0 + float64(i)*step
		first, weights := basis(y)
		var line [3][knots]float64 // the splines along this line
		for f := range line {
			for k := range line[f] {
				for a, w := range weights {
					line[f][k] += w * p.elastic[f][(first+a)*knots+k]
				}
			}
		}
		for j := range n {
			x := x0 + float64(j)*step
			var e [3]float64
			w := &spline[j].weights
			for f := range e {
				l := line[f][spline[j].first:]
				e[f] = w[0]*l[0] + w[1]*l[1] + w[2]*l[2] + w[3]*l[3]
			}
			d := p.glyph.at(p.affine[0]*x+p.affine[1]*y+e[0], p.affine[2]*x+p.affine[3]*y+e[1])
			dst[i*n+j] = (d - p.weight - e[2]) * scale
		}
	}
}

// Splines are cubic B-splines whose knots lie on [−paperReach, paperReach], and one beyond at either end.
const (
	paperReach   = 1.2
	knotDistance = 0.4
	knots        = 2*paperReach/knotDistance + 3
)

// basis returns the four weights of a cubic B-spline at x, and the knot of the first. The paper ends at its last knots.
func basis(x float64) (first int, weights [4]float64) {
	t := min(knots-3-1e-9, max(0, (x+paperReach)/knotDistance))
	first = int(t)
	t -= float64(first)
	s := 1 - t
	return first, [4]float64{s * s * s / 6, (3*t*t*t - 6*t*t + 4) / 6, (3*s*s*s - 6*s*s + 4) / 6, t * t * t / 6}
}

// coverage is the share of ink at a distance from its edge, for an edge of a given width.
func coverage(distance, width float64) float64 {
	u := min(1, max(0, 0.5-distance/width))
	return u * u * (3 - 2*u)
}

// extent returns the larger side of the box around the ink, and its centre of mass. The distances [n, n] are at points
// step apart, from (at, at) on.
func extent(distances []float64, n int, at, step float64) (box, cx, cy float64) {
	least := [2][]float64{make([]float64, n), make([]float64, n)} // of every row, of every column
	for i := range n {
		least[0][i], least[1][i] = math.Inf(1), math.Inf(1)
	}
	var mass float64
	for k, d := range distances {
		i, j := k/n, k%n
		least[0][i], least[1][j] = min(least[0][i], d), min(least[1][j], d)
		ink := coverage(d, step)
		mass += ink
		cx += ink * (at + float64(j)*step)
		cy += ink * (at + float64(i)*step)
	}
	for _, d := range least {
		first, last := 1, n-2
		for first < n-2 && d[first] > 0 {
			first++
		}
		for last > first && d[last] > 0 {
			last--
		}
		// Distances are linear near an edge, so where they are 0 between two points is known.
		side := float64(last-first) + d[first]/(d[first]-d[first-1]) + d[last]/(d[last]-d[last+1])
		box = max(box, side*step)
	}
	return box, cx / mass, cy / mass
}
