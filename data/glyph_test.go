package data

import (
	"math"
	"testing"

	"codeberg.org/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font/sfnt"
)

// ring is a square of side 2 with a square hole of side 1, wound the other way.
func ring() []segment {
	square := func(r float64) []segment {
		return []segment{{-r, -r, r, -r}, {r, -r, r, r}, {r, r, -r, r}, {-r, r, -r, -r}}
	}
	out := square(1)
	for _, s := range square(0.5) {
		out = append(out, segment{s.x1, s.y1, s.x0, s.y0})
	}
	return out
}

func TestDistance(t *testing.T) {
	for _, c := range []struct{ x, y, want float64 }{
		{0, 0, 0.5}, {0.1, 0, 0.4}, {0.75, 0, -0.25}, {0.9, 0.2, -0.1}, {1.5, 0, 0.5}, {0, -3, 2},
		{1 + 3, 1 + 4, 5}, {-0.6, 0.55, -math.Hypot(0.1, 0.05)}, {0, 0.75, -0.25}, {-2, 0.5, 1}, {-2, 1, 1}, {3, -1, 2},
	} {
		if got := distance(ring(), c.x, c.y); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("distance of (%g, %g) is %g, want %g", c.x, c.y, got, c.want)
		}
	}
	// Where curves overlap, as in many fonts, the inside is what either encloses.
	overlap := append(ring()[:4:4], segment{0, -1, 3, -1}, segment{3, -1, 3, 1}, segment{3, 1, 0, 1}, segment{0, 1, 0, -1})
	if got := distance(overlap, 0.5, 0); got > 0 {
		t.Errorf("a point in two curves is at %g, want inside", got)
	}
}

// An l without serifs is a rectangle: the field is known everywhere.
func TestGlyphOfARectangle(t *testing.T) {
	f, err := sfnt.Parse(liberationsansregular.TTF)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGlyph(f, 'l')
	if err != nil {
		t.Fatal(err)
	}
	half := g.stroke / 2
	if g.stroke < 0.1 || g.stroke > 0.15 {
		t.Errorf("stroke %g of the height", g.stroke)
	}
	for _, c := range []struct{ x, y, want float64 }{
		{0, 0, -half}, {0.3, 0.1, 0.3 - half}, {-0.4, -0.3, 0.4 - half}, {0, 0.7, 0.2}, {0.02, -0.6, 0.1}, {half + 0.15, 0.5 + 0.2, 0.25},
		{99, 0, fieldReach - half},
	} {
		if got := g.at(c.x, c.y); math.Abs(got-c.want) > fieldStep/2 {
			t.Errorf("field at (%g, %g) is %.4f, want %.4f", c.x, c.y, got, c.want)
		}
	}
	if _, err := newGlyph(f, '🙂'); err == nil {
		t.Error("a character that the font does not have gives no error")
	}
}
