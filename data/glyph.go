package data

import (
	"fmt"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// A glyph is the outline of a character as a signed distance field: how far a point is from the outline, negative
// inside. The unit is the character's height and the origin the centre of its box; y grows downward.
type glyph struct {
	field  []float32 // [fieldSize, fieldSize], over [−fieldReach, fieldReach]²
	stroke float64   // width of the thickest stroke
}

const (
	fieldSize  = 73
	fieldReach = 0.75
	fieldStep  = 2 * fieldReach / (fieldSize - 1)
)

// segment is a piece of an outline.
type segment struct{ x0, y0, x1, y1 float64 }

// newGlyph reads the outline of r from a font.
func newGlyph(f *sfnt.Font, r rune) (*glyph, error) {
	outline, err := readOutline(f, r)
	if err != nil {
		return nil, fmt.Errorf("outline of %q: %w", r, err)
	}
	g := &glyph{field: make([]float32, fieldSize*fieldSize)}
	for i := range g.field {
		y, x := float64(i/fieldSize)*fieldStep-fieldReach, float64(i%fieldSize)*fieldStep-fieldReach
		d := distance(outline, x, y)
		g.field[i] = float32(d)
		g.stroke = max(g.stroke, -2*d)
	}
	return g, nil
}

// readOutline returns the closed curves of a character as segments, scaled to a box of height 1 around the origin.
func readOutline(f *sfnt.Font, r rune) ([]segment, error) {
	var b sfnt.Buffer
	index, err := f.GlyphIndex(&b, r)
	if err != nil {
		return nil, err
	}
	if index == 0 {
		return nil, fmt.Errorf("the font has no such character")
	}
	em := fixed.I(int(f.UnitsPerEm()))
	bounds, _, err := f.GlyphBounds(&b, index, em, font.HintingNone)
	if err != nil {
		return nil, err
	}
	curves, err := f.LoadGlyph(&b, index, em, nil)
	if err != nil {
		return nil, err
	}
	scale := 1 / float64(bounds.Max.Y-bounds.Min.Y)
	cx, cy := float64(bounds.Min.X+bounds.Max.X)/2, float64(bounds.Min.Y+bounds.Max.Y)/2
	point := func(p fixed.Point26_6) (x, y float64) {
		return (float64(p.X) - cx) * scale, (float64(p.Y) - cy) * scale
	}
	var out []segment
	var x, y float64
	lineTo := func(x1, y1 float64) {
		out = append(out, segment{x, y, x1, y1})
		x, y = x1, y1
	}
	for _, c := range curves {
		switch c.Op {
		case sfnt.SegmentOpMoveTo: // sfnt closes every curve before the next one begins
			x, y = point(c.Args[0])
		case sfnt.SegmentOpLineTo:
			lineTo(point(c.Args[0]))
		case sfnt.SegmentOpQuadTo:
			const pieces = 6
			x0, y0 := x, y
			x1, y1 := point(c.Args[0])
			x2, y2 := point(c.Args[1])
			for i := 1; i <= pieces; i++ {
				t := float64(i) / pieces
				s := 1 - t
				lineTo(s*s*x0+2*s*t*x1+t*t*x2, s*s*y0+2*s*t*y1+t*t*y2)
			}
		default:
			return nil, fmt.Errorf("a cubic curve, which TrueType outlines do not have")
		}
	}
	return out, nil
}

// distance returns the signed distance of (x, y) from an outline: inside is where it winds around the point.
func distance(outline []segment, x, y float64) float64 {
	least, winding := math.Inf(1), 0
	for _, s := range outline {
		dx, dy := s.x1-s.x0, s.y1-s.y0
		px, py := x-s.x0, y-s.y0
		if length := dx*dx + dy*dy; length > 0 {
			t := min(1, max(0, (px*dx+py*dy)/length))
			qx, qy := px-t*dx, py-t*dy
			least = min(least, qx*qx+qy*qy)
		}
		if (s.y0 <= y) != (s.y1 <= y) { // the segment crosses the line through the point, on its right or its left
			if side := dx*py - dy*px; (side < 0) == (dy > 0) {
				if dy > 0 {
					winding++
				} else {
					winding--
				}
			}
		}
	}
	if winding != 0 {
		return -math.Sqrt(least)
	}
	return math.Sqrt(least)
}

// at interpolates the field linearly. Beyond its border the field is that of the nearest point on the border, which is
// far from the outline already.
func (g *glyph) at(x, y float64) float64 {
	const last = fieldSize - 1 - 1e-9
	fx := min(last, max(0, (x+fieldReach)/fieldStep))
	fy := min(last, max(0, (y+fieldReach)/fieldStep))
	i, j := int(fy), int(fx)
	fy -= float64(i)
	fx -= float64(j)
	c := g.field[i*fieldSize+j:]
	top := float64(c[0]) + fx*float64(c[1]-c[0])
	bottom := float64(c[fieldSize]) + fx*float64(c[fieldSize+1]-c[fieldSize])
	return top + fy*(bottom-top)
}
