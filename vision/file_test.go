package vision

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/adler32"
	"image"
	"image/color"
	"image/color/palette"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func file(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func encoded(t *testing.T, encode func(w io.Writer, m image.Image) error, m image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := encode(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// painting sets pixels, row-major, of an image that may have its corner anywhere.
func painting[M interface {
	image.Image
	Set(x, y int, c color.Color)
}](m M, pixels ...color.Color) M {
	b := m.Bounds()
	for i, c := range pixels {
		m.Set(b.Min.X+i%b.Dx(), b.Min.Y+i/b.Dx(), c)
	}
	return m
}

// What pictures show, by the definitions of their formats: height, width, and all colours.
func TestOpen(t *testing.T) {
	two, four := image.Rect(3, 5, 5, 6), image.Rect(0, 0, 2, 2)
	grey := func(vs ...uint8) (out []color.Color) {
		for _, v := range vs {
			out = append(out, color.Gray{Y: v})
		}
		return out
	}
	asJPEG := func(w io.Writer, m image.Image) error { return jpeg.Encode(w, m, &jpeg.Options{Quality: 100}) }
	asGIF := func(w io.Writer, m image.Image) error { return gif.Encode(w, m, nil) }
	frames := func(disposal byte) []byte {
		colours := color.Palette{color.NRGBA{}, color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 0, 255, 255}}
		first, second := image.NewPaletted(image.Rect(1, 0, 2, 1), colours), image.NewPaletted(image.Rect(0, 0, 3, 1), colours)
		first.Pix[0] = 1
		copy(second.Pix, []uint8{2, 2, 2})
		var b bytes.Buffer
		if err := gif.EncodeAll(&b, &gif.GIF{Image: []*image.Paletted{first, second}, Delay: []int{1, 1}, Disposal: []byte{disposal, disposal},
			Config: image.Config{Width: 3, Height: 1, ColorModel: colours}}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	cyan := [][][]uint8{{{0, 255, 255, 255}, {255, 255, 255, 0}}} // stored as Adobe does: 255 is no ink
	exif := append([]byte("\xe1Exif\x00\x00"), oriented(3, binary.BigEndian)...)
	halves := func(a, b []uint8) [][][]uint8 { return [][][]uint8{{a, b}} }
	wide := func(a, b []uint8) (row []uint8) { // two blocks of 8×8
		for range 8 {
			row = append(append(row, bytes.Repeat(a, 8)...), bytes.Repeat(b, 8)...)
		}
		return row
	}
	withExif := func(b []byte) []byte {
		return slices.Concat(b[:33], pngChunk("eXIf", oriented(3, binary.LittleEndian)), b[33:])
	}
	for name, c := range map[string]struct {
		content       []byte
		height, width int
		want          []uint8
	}{
		"1x1.png":                {encoded(t, png.Encode, painting(image.NewGray(image.Rect(0, 0, 1, 1)), grey(77)...)), 1, 1, []uint8{77, 77, 77}},
		"grey.png":               {encoded(t, png.Encode, painting(image.NewGray(two), grey(0, 200)...)), 1, 2, []uint8{0, 0, 0, 200, 200, 200}},
		"16-bit grey.png":        {encoded(t, png.Encode, painting(image.NewGray16(two), color.Gray16{Y: 0x1280}, color.Gray16{Y: 0xffff})), 1, 2, []uint8{0x12, 0x12, 0x12, 255, 255, 255}},
		"RGB.png":                {encoded(t, png.Encode, painting(image.NewNRGBA(two), color.NRGBA{1, 2, 3, 255}, color.NRGBA{250, 251, 252, 255})), 1, 2, []uint8{1, 2, 3, 250, 251, 252}},
		"16-bit RGB.png":         {encoded(t, png.Encode, painting(image.NewNRGBA64(two), color.NRGBA64{0x1234, 0x5678, 0x9abc, 0xffff}, color.NRGBA64{0, 0xff, 0x100, 0xffff})), 1, 2, []uint8{0x12, 0x56, 0x9a, 0, 0, 1}},
		"transparent.png":        {encoded(t, png.Encode, painting(image.NewNRGBA(two), color.NRGBA{255, 0, 0, 0}, color.NRGBA{255, 0, 0, 128})), 1, 2, []uint8{255, 255, 255, 255, 127, 127}},
		"16-bit RGBA.png":        {encoded(t, png.Encode, painting(image.NewNRGBA64(two), color.NRGBA64{0, 0, 0, 0x8000}, color.NRGBA64{0x4000, 0, 0, 0xffff})), 1, 2, []uint8{127, 127, 127, 0x40, 0, 0}},
		"grey, alpha.png":        {greyAlpha([2]uint8{0, 255}, [2]uint8{100, 0}), 1, 2, []uint8{0, 0, 0, 255, 255, 255}},
		"16-bit grey, alpha.png": {rawPNG(3, 1, 16, 4, 0, []byte{0, 0x40, 0, 0xff, 0xff, 0x40, 0, 0, 0, 0, 0, 0x80, 0}), 1, 3, []uint8{0x40, 0x40, 0x40, 255, 255, 255, 127, 127, 127}},
		"interlaced.png":         {rawPNG(2, 2, 8, 0, 1, []byte{0, 10, 0, 20, 0, 30, 40}), 2, 2, []uint8{10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40}},                                            // passes 1, 6 and 7 have pixels
		"profile.png":            {rawPNG(1, 1, 8, 2, 0, []byte{0, 1, 2, 3}, pngChunk("iCCP", []byte("a profile\x00\x00junk")), pngChunk("gAMA", []byte{0, 0, 0xb1, 0x8f})), 1, 1, []uint8{1, 2, 3}}, // colours as they stand
		"two bits.png":           {rawPNG(4, 1, 2, 0, 0, []byte{0, 0b00011011}), 1, 4, []uint8{0, 0, 0, 85, 85, 85, 170, 170, 170, 255, 255, 255}},
		"key.png":                {rawPNG(2, 1, 8, 0, 0, []byte{0, 9, 8}, pngChunk("tRNS", []byte{0, 9})), 1, 2, []uint8{255, 255, 255, 8, 8, 8}},
		"ünïcødé 🐇.png":          {rawPNG(1, 1, 8, 0, 0, []byte{0, 7}), 1, 1, []uint8{7, 7, 7}},
		"palette.png":            {encoded(t, png.Encode, painting(image.NewPaletted(four, color.Palette{color.NRGBA{9, 8, 7, 255}, color.NRGBA{0, 0, 0, 0}, color.NRGBA{0, 0, 255, 51}}), color.NRGBA{9, 8, 7, 255}, color.NRGBA{}, color.NRGBA{0, 0, 255, 51}, color.NRGBA{9, 8, 7, 255})), 2, 2, []uint8{9, 8, 7, 255, 255, 255, 204, 204, 255, 9, 8, 7}},
		"turned.png":             {withExif(encoded(t, png.Encode, painting(image.NewGray(two), grey(10, 20)...))), 1, 2, []uint8{20, 20, 20, 10, 10, 10}},
		"grey.jpg":               {flatJPEG(halves([]uint8{40}, []uint8{240}), false), 8, 16, wide([]uint8{40, 40, 40}, []uint8{240, 240, 240})},
		"colour.jpeg":            {flatJPEG(halves([]uint8{128, 128, 128}, []uint8{76, 85, 255}), false), 8, 16, wide([]uint8{128, 128, 128}, []uint8{254, 0, 0})}, // JFIF: R = 76 + 1.402·127, B = 76 − 1.772·43 = 0
		"progressive.jpg":        {flatJPEG(halves([]uint8{0}, []uint8{200}), true), 8, 16, wide([]uint8{0, 0, 0}, []uint8{200, 200, 200})},
		"CMYK.jpg":               {flatJPEG(cyan, false), 8, 16, wide([]uint8{0, 255, 255}, []uint8{0, 0, 0})},
		"turned.jpg":             {flatJPEG(halves([]uint8{40}, []uint8{240}), false, []byte("\xfea comment"), exif), 8, 16, wide([]uint8{240, 240, 240}, []uint8{40, 40, 40})},
		"broken Exif.jpg":        {flatJPEG(halves([]uint8{40}, []uint8{240}), false, exif[:20]), 8, 16, wide([]uint8{40, 40, 40}, []uint8{240, 240, 240})},
		"no such way.jpg":        {flatJPEG(halves([]uint8{40}, []uint8{240}), false, append([]byte("\xe1Exif\x00\x00"), oriented(9, binary.BigEndian)...)), 8, 16, wide([]uint8{40, 40, 40}, []uint8{240, 240, 240})},
		"wrong name.png":         {encoded(t, asJPEG, painting(image.NewGray(image.Rect(0, 0, 1, 1)), grey(77)...)), 1, 1, []uint8{77, 77, 77}},
		"wrong name.jpg":         {webpOf([]uint8{5}, 6, 7, 255, nil, false), 1, 1, []uint8{6, 5, 7}},
		"no name":                {encoded(t, asGIF, painting(image.NewPaletted(two, palette.Plan9), palette.Plan9[3], palette.Plan9[250])), 1, 2, colours(palette.Plan9[3], palette.Plan9[250])},
		"animated.gif":           {frames(gif.DisposalBackground), 1, 3, []uint8{255, 255, 255, 255, 0, 0, 255, 255, 255}}, // the first one, on its screen
		"lossless.webp":          {webpOf([]uint8{5, 90, 5}, 6, 7, 255, nil, false), 1, 3, []uint8{6, 5, 7, 6, 90, 7, 6, 5, 7}},
		"transparent.webp":       {webpOf([]uint8{0}, 0, 0, 51, nil, false), 1, 1, []uint8{204, 204, 204}},
		"turned.webp":            {webpOf([]uint8{5, 90}, 6, 7, 255, oriented(6, binary.BigEndian), false), 2, 1, []uint8{6, 5, 7, 6, 90, 7}},
		"mirrored.webp":          {webpOf([]uint8{5, 90}, 6, 7, 255, append([]byte("Exif\x00\x00"), oriented(2, binary.LittleEndian)...), false), 1, 2, []uint8{6, 90, 7, 6, 5, 7}},
	} {
		path := file(t, name, c.content)
		height, width, err := Declared(path)
		if err != nil || height*width != c.height*c.width { // some are turned
			t.Errorf("%s declares %d×%d, want as many pixels as %d×%d; err = %v", name, width, height, c.width, c.height, err)
		}
		p, err := Open(path)
		if err != nil || p.Height != c.height || p.Width != c.width || !slices.Equal(p.Pixels, c.want) {
			t.Errorf("%s: %d×%d %v, want %d×%d %v; err = %v", name, p.Height, p.Width, p.Pixels, c.height, c.width, c.want, err)
		}
	}
	p, err := Open(golden.Path("pictures/1.png"))
	if want := picture(t, "1.png"); err != nil || p.Height != want.Height || p.Width != want.Width || !slices.Equal(p.Pixels, want.Pixels) {
		t.Errorf("another picture, %d×%d; err = %v", p.Width, p.Height, err)
	}
}

func colours(cs ...color.Color) (out []uint8) {
	for _, c := range cs {
		r, g, b, _ := c.RGBA()
		out = append(out, uint8(r>>8), uint8(g>>8), uint8(b>>8))
	}
	return out
}

// greyAlpha is a PNG of one row, of grey levels with their opacity, which the standard library reads and does not write.
func greyAlpha(pixels ...[2]uint8) []byte {
	row := []byte{0}
	for _, p := range pixels {
		row = append(row, p[0], p[1])
	}
	return rawPNG(len(pixels), 1, 8, 4, 0, row)
}

// rawPNG is a PNG of some bits, colour type and interlacing, of rows as they are filtered, with chunks between the head and them.
func rawPNG(width, height int, bits, kind, interlaced byte, rows []byte, chunks ...[]byte) []byte {
	// Without compression: one stored block.
	z := append([]byte{0x78, 0x01, 1, byte(len(rows)), 0, ^byte(len(rows)), 0xff}, rows...)
	z = binary.BigEndian.AppendUint32(z, adler32.Checksum(rows))
	head := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(width)), uint32(height)), bits, kind, 0, 0, interlaced)
	return slices.Concat([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", head), slices.Concat(chunks...), pngChunk("IDAT", z), pngChunk("IEND", nil))
}

// All eight ways to hold a camera: what is stored so that F shows upright, as the specification of Exif draws it.
func TestOrientations(t *testing.T) {
	const upright = "##" + "#." + "##" + "#." + "#." // 5×2
	for orientation, as := range map[uint16][]string{
		1: {"##", "#.", "##", "#.", "#."}, 2: {"##", ".#", "##", ".#", ".#"}, 3: {".#", ".#", "##", ".#", "##"}, 4: {"#.", "#.", "##", "#.", "##"},
		5: {"#####", "#.#.."}, 6: {"#.#..", "#####"}, 7: {"..#.#", "#####"}, 8: {"#####", "..#.#"},
	} {
		var blocks [][][]uint8
		for _, line := range as {
			var row [][]uint8
			for _, c := range line {
				row = append(row, []uint8{map[rune]uint8{'#': 20, '.': 220}[c]})
			}
			blocks = append(blocks, row)
		}
		exif := append([]byte("\xe1Exif\x00\x00"), oriented(orientation, binary.LittleEndian)...)
		p, err := Read(file(t, "f.jpg", flatJPEG(blocks, false, exif)))
		if err != nil || p.Height != 40 || p.Width != 16 || p.Format != "JPEG" || p.Transparent {
			t.Errorf("%d: %+v, %v", orientation, p, err)
			continue
		}
		for i, c := range upright {
			if r, _, _ := p.At(i/2*8+3, i%2*8+5); r>>8 != map[rune]uint16{'#': 20, '.': 220}[c] {
				t.Errorf("%d: block %d is %d, want %c", orientation, i, r>>8, c)
			}
		}
	}
}

// Values for models are in [−1, 1], of 16 bits, and grey by luma.
func TestValues(t *testing.T) {
	p := upright(painting(image.NewNRGBA64(image.Rect(2, 2, 3, 3)), color.NRGBA64{0x1234, 0xffff, 0, 0xffff}), 1)
	var rgb [3]float32
	var grey [1]float32
	p.Values(0, 0, rgb[:])
	p.Values(0, 0, grey[:])
	for i, want := range []float64{float64(0x1234)/32767.5 - 1, 1, -1} {
		oracle.Near(t, "colour", float64(rgb[i]), want, 1e-6)
	}
	oracle.Near(t, "grey", float64(grey[0]), 2*(0.299*0x1234/0xffff+0.587)-1, 1e-4)
}

// What is no picture, or not all of one, is refused by name, and before the memory for it is taken.
func TestOpenRefuses(t *testing.T) {
	whole := golden.Read(t, "pictures/1.png")
	photo := flatJPEG([][][]uint8{{{40}, {240}}}, false)
	var moving bytes.Buffer
	if err := gif.Encode(&moving, image.NewPaletted(image.Rect(0, 0, 9, 9), palette.Plan9), nil); err != nil {
		t.Fatal(err)
	}
	webp := webpOf([]uint8{5, 90, 5}, 6, 7, 255, nil, false)
	damaged := slices.Clone(whole)
	damaged[len(damaged)-20] ^= 0xff
	huge := headOfPNG(100_000, 100_000)
	if len(huge) != 65 {
		t.Fatalf("the file of a huge PNG has %d bytes, want 65", len(huge))
	}
	wide := slices.Clone(photo)
	copy(wide[bytes.Index(wide, []byte{0xff, 0xc0})+5:], []byte{0xff, 0xff, 0xff, 0xff})
	for name, c := range map[string]struct {
		content   []byte
		truncated bool
		words     string
	}{
		"huge.png":     {huge, false, "100000×100000 pixels, the limit is 67 megapixels"},
		"huge.jpg":     {wide, false, "65535×65535 pixels, the limit is 67 megapixels"},
		"none.gif":     {slices.Concat([]byte("GIF89a\xff\xff\xff\xff"), moving.Bytes()[10:]), false, "65535×65535 pixels"},
		"cut.png":      {whole[:len(whole)/2], true, "PNG file is truncated"},
		"no end.png":   {whole[:len(whole)-12], true, "PNG file is truncated"},
		"head.png":     {whole[:20], true, "PNG file is truncated"},
		"magic.png":    {whole[:5], true, "PNG file is truncated, it has 5 bytes"},
		"cut.jpg":      {photo[:len(photo)-4], true, "JPEG file is truncated"},
		"head.jpg":     {photo[:10], true, "JPEG file is truncated"},
		"cut.gif":      {moving.Bytes()[:moving.Len()-8], true, "GIF file is truncated"},
		"cut.webp":     {webp[:len(webp)-4], true, "WebP file is truncated"},
		"moving.webp":  {webpOf([]uint8{5}, 6, 7, 255, nil, true), false, "the WebP file is animated, want one picture"},
		"damaged.png":  {damaged, false, "PNG file is damaged"},
		"empty.png":    {nil, false, "the file is empty, want PNG, JPEG, GIF or WebP"},
		"text.png":     {[]byte("a text"), false, `it begins with "a text"`},
		"photo.heic":   {[]byte("\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"), false, "it is a HEIC picture, want PNG, JPEG, GIF or WebP"},
		"scan.tif":     {[]byte("II*\x00\x08\x00\x00\x00\x00\x00"), false, "it is a TIFF picture, want"},
		"lfs.png":      {[]byte("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 492265168\n"), false, "git lfs pull fetches"},
		"no pixel.png": {headOfPNG(0, 1), false, "PNG file is damaged"},
	} {
		path := file(t, name, c.content)
		_, err := Open(path)
		oracle.WantError(t, err, path, c.words)
		if !errors.Is(err, ErrPicture) || errors.Is(err, io.ErrUnexpectedEOF) != c.truncated {
			t.Errorf("%s: %v: want one that wraps ErrPicture, and only of truncated files io.ErrUnexpectedEOF", name, err)
		}
	}
	dir := t.TempDir()
	_, err := Open(filepath.Join(dir, "none.png"))
	oracle.WantError(t, err, "none.png", "no such file")
	_, err = Open(dir)
	oracle.WantError(t, err, dir, "want a file")
}
