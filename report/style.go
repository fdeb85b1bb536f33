package report

import (
	"image/color"
	"strings"

	xfont "golang.org/x/image/font"
	"golang.org/x/image/font/sfnt"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// The colours of all figures. Series use the colour-blind safe palette of Okabe and Ito (2008) in an order that keeps
// neighbours apart, without its yellow and black, which are too faint or too loud on white.
var (
	ink     = color.RGBA{0x1f, 0x23, 0x28, 0xff} // titles
	soft    = color.RGBA{0x57, 0x60, 0x6a, 0xff} // labels and notes
	axis    = color.RGBA{0x8c, 0x95, 0x9f, 0xff}
	grid    = color.RGBA{0xea, 0xed, 0xf0, 0xff}
	exact   = color.RGBA{0xd5, 0x5e, 0x00, 0xff} // the exact density, as curve and contours
	barFill = color.RGBA{0x8d, 0xbd, 0xe1, 0xff} // histograms of samples
	barEdge = color.RGBA{0x2b, 0x7b, 0xba, 0xff}

	series = []color.RGBA{
		{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0x00, 0x9e, 0x73, 0xff},
		{0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff},
	}
	dashes = [][]vg.Length{nil, {5, 3}, {1.5, 2.5}, {7, 2.5, 1.5, 2.5}} // one for each pass through the palette

	sampleRamp = ramp{{0xb5, 0xd4, 0xec, 0xff}, {0x5b, 0xa3, 0xd4, 0xff}, {0x1f, 0x6f, 0xb4, 0xff}, {0x08, 0x30, 0x6b, 0xff}}
	exactRamp  = ramp{{0xff, 0xff, 0xff, 0xff}, {0xfd, 0xdc, 0xb8, 0xff}, {0xf5, 0x9b, 0x4b, 0xff}, {0xc8, 0x52, 0x06, 0xff}, {0x7a, 0x2b, 0x04, 0xff}}
)

var axisLine = draw.LineStyle{Color: axis, Width: 0.75}

// colour and line are those of the series i of a figure, reference is its reference line i.
func colour(i int) color.RGBA { return series[i%len(series)] }

func line(i int, width vg.Length) draw.LineStyle {
	return draw.LineStyle{Color: colour(i), Width: width, Dashes: dashes[i/len(series)%len(dashes)]}
}

func reference(i int) draw.LineStyle {
	return draw.LineStyle{Color: ink, Width: 1, Dashes: dashes[1+i%(len(dashes)-1)]}
}

// dot is the style of a filled circle.
func dot(colour color.Color, radius vg.Length) draw.GlyphStyle {
	return draw.GlyphStyle{Color: colour, Radius: radius, Shape: draw.CircleGlyph{}}
}

// ramp is a sequential colour scale.
type ramp []color.RGBA

// at returns the colour at u in [0, 1].
func (r ramp) at(u float64) color.RGBA {
	u = min(1, max(0, u)) * float64(len(r)-1)
	i := min(int(u), len(r)-2)
	return mix(r[i], r[i+1], u-float64(i))
}

// mix returns a at u = 0 and b at u = 1.
func mix(a, b color.RGBA, u float64) color.RGBA {
	f := func(a, b uint8) uint8 { return uint8(float64(a)*(1-u) + float64(b)*u + 0.5) }
	return color.RGBA{f(a.R, b.R), f(a.G, b.G), f(a.B, b.B), 0xff}
}

var (
	titleText = textOf(13, xfont.WeightBold, ink)
	noteText  = textOf(11.5, xfont.WeightNormal, soft)
	rowText   = textOf(11.5, xfont.WeightNormal, ink)
	tickText  = textOf(11, xfont.WeightNormal, soft)
)

func textOf(size vg.Length, weight xfont.Weight, colour color.Color) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}
	return text.Style{Color: colour, Font: f, Handler: boxes{text.Plain{Fonts: font.NewCache(liberation.Collection())}}}
}

// boxes writes a box for what the font lacks, which is seen to be missing: gonum's own handler would leave it out.
type boxes struct{ text.Plain }

func (b boxes) Box(s string, f font.Font) (width, height, depth vg.Length) {
	return b.Plain.Box(b.drawable(s, f), f)
}

func (b boxes) Draw(c vg.Canvas, s string, sty text.Style, p vg.Point) {
	b.Plain.Draw(c, b.drawable(s, sty.Font), sty, p)
}

func (b boxes) drawable(s string, f font.Font) string {
	var buffer sfnt.Buffer
	face := b.Fonts.Lookup(f, f.Size).Face
	return strings.Map(func(r rune) rune {
		if i, err := face.GlyphIndex(&buffer, r); err != nil || i == 0 {
			return '□'
		}
		return r
	}, s)
}

// fit shortens s with an ellipsis to a width.
func fit(s string, sty text.Style, width vg.Length) string {
	if sty.Width(s) <= width {
		return s
	}
	r := []rune(s)
	for len(r) > 0 && sty.Width(string(r)+"…") > width {
		r = r[:len(r)-1]
	}
	return strings.TrimRight(string(r), " ,;·") + "…"
}

// faded returns the colour with the given opacity.
func faded(c color.RGBA, opacity float64) color.NRGBA {
	return color.NRGBA{c.R, c.G, c.B, uint8(255*opacity + 0.5)}
}
