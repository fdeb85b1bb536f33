package vision

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"strings"

	"golang.org/x/image/webp"
)

// formats are those that are read, in words.
const formats = "PNG, JPEG, GIF or WebP"

// format is a kind of file, told by its first bytes.
type format struct {
	name, magic string // a ? is any byte
	size        func(io.Reader) (image.Config, error)
	decode      func(io.Reader) (image.Image, error)
	exif        func(io.ReadSeeker) []byte // nil if there is none
}

var known = []format{
	{"PNG", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode, exifOfPNG},
	{"JPEG", "\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode, exifOfJPEG},
	{"GIF", "GIF8", gif.DecodeConfig, gif.Decode, func(io.ReadSeeker) []byte { return nil }},
	{"WebP", "RIFF????WEBP", webp.DecodeConfig, decodeWebP, exifOfWebP},
}

// foreign are formats that people have pictures in, and that are not read.
var foreign = []struct{ name, magic string }{
	{"a HEIC picture", "????ftyphei"}, {"a HEIC picture", "????ftypmif1"}, {"an AVIF picture", "????ftypavif"}, {"a TIFF picture", "II*\x00"}, {"a TIFF picture", "MM\x00*"},
	{"a BMP picture", "BM"}, {"a JPEG XL picture", "\xff\x0a"}, {"a JPEG XL picture", "\x00\x00\x00\x0cJXL "}, {"a Photoshop file", "8BPS"}, {"a PDF", "%PDF"},
	{"an SVG drawing", "<svg"}, {"a pointer of Git LFS (git lfs pull fetches the picture itself)", "version https://git-lfs.github.com/spec/"},
}

// formatOf tells the format of a file of size bytes.
func formatOf(r io.ReaderAt, size int64) (format, error) {
	head := make([]byte, min(size, 64))
	if _, err := r.ReadAt(head, 0); err != nil && err != io.EOF {
		return format{}, err
	}
	if len(head) == 0 {
		return format{}, fmt.Errorf("the file is empty, want %s", formats)
	}
	for _, f := range known {
		if begins(head, f.magic) {
			return f, nil
		}
	}
	for _, f := range known {
		if len(head) < len(f.magic) && begins(head, f.magic[:len(head)]) {
			return format{}, fmt.Errorf("the %s file is truncated, it has %d bytes: %w", f.name, size, io.ErrUnexpectedEOF)
		}
	}
	for _, f := range foreign {
		if begins(head, f.magic) {
			return format{}, fmt.Errorf("it is %s, want %s", f.name, formats)
		}
	}
	return format{}, fmt.Errorf("it begins with %q, as none of the formats that are read does: want %s", head[:min(8, len(head))], formats)
}

func begins(head []byte, magic string) bool {
	for i := range len(magic) {
		if i >= len(head) || magic[i] != '?' && magic[i] != head[i] {
			return false
		}
	}
	return true
}

// errAnimated says so of a WebP. Of a GIF the first picture is taken.
var errAnimated = errors.New("the WebP file is animated, want one picture")

// decodeWebP reads a WebP. The decoder finds no picture in one that is animated.
func decodeWebP(r io.Reader) (image.Image, error) {
	const (
		flags    = 20 // in the file: 12 bytes of RIFF, 8 of the chunk VP8X
		animated = 2
	)
	head := make([]byte, flags+1)
	n, err := io.ReadFull(r, head)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(string(head[12:]), "VP8X") && head[flags]&animated != 0 {
		return nil, errAnimated
	}
	return webp.Decode(io.MultiReader(bytes.NewReader(head[:n]), r))
}
