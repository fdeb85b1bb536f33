package report

import (
	"image/color"
	"strings"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
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
	dashes = [][]float64{nil, {5, 3}, {1.5, 2.5}, {7, 2.5, 1.5, 2.5}} // one for each pass through the palette

	sampleRamp = ramp{{0xb5, 0xd4, 0xec, 0xff}, {0x5b, 0xa3, 0xd4, 0xff}, {0x1f, 0x6f, 0xb4, 0xff}, {0x08, 0x30, 0x6b, 0xff}}
	exactRamp  = ramp{{0xff, 0xff, 0xff, 0xff}, {0xfd, 0xdc, 0xb8, 0xff}, {0xf5, 0x9b, 0x4b, 0xff}, {0xc8, 0x52, 0x06, 0xff}, {0x7a, 0x2b, 0x04, 0xff}}
)

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

// textStyle is a font size in CSS pixels, a weight and a colour.
type textStyle struct {
	size  float64
	bold  bool
	color color.RGBA
}

var (
	titleText = textStyle{13, true, ink}
	noteText  = textStyle{11.5, false, soft}
	tickText  = textStyle{11, false, soft}

	regular, bold = mustParse(liberationsansregular.TTF), mustParse(liberationsansbold.TTF)
)

func mustParse(ttf []byte) *sfnt.Font {
	f, err := opentype.Parse(ttf)
	if err != nil {
		panic(err) // the fonts are embedded
	}
	return f
}

func (s textStyle) font() *sfnt.Font {
	if s.bold {
		return bold
	}
	return regular
}

func (s textStyle) face() font.Face {
	return font.Face{Font: font.Font{Size: vg.Length(s.size)}, Face: s.font()}
}

// drawable replaces what the font lacks by a box, which is seen to be missing: the font itself would leave it out.
func (s textStyle) drawable(text string) string {
	var b sfnt.Buffer
	return strings.Map(func(r rune) rune {
		if i, err := s.font().GlyphIndex(&b, r); err != nil || i == 0 {
			return '□'
		}
		return r
	}, text)
}

func (s textStyle) width(text string) float64 {
	face := s.face()
	return float64(face.Width(text))
}
