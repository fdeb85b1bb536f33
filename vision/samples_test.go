package vision

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// Files that the encoders of the standard library do not write, as small as they can be.

// oriented is the Exif of a camera that was held in one way, in either order of bytes.
func oriented(orientation uint16, order binary.AppendByteOrder) []byte {
	b := []byte("II*\x00")
	if order.String() == "BigEndian" {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint32(b, 8) // the directory
	b = order.AppendUint16(b, 2)
	b = append(order.AppendUint32(order.AppendUint16(order.AppendUint16(b, 0x0100), 3), 1), 9, 9, 0, 0) // something else
	b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, 0x0112), 3), 1)
	b = append(order.AppendUint16(b, orientation), 0, 0)
	return order.AppendUint32(b, 0) // no other directory
}

// flatJPEG is a JPEG of blocks of 8×8 equal values, blocks[y][x][component]: 1 component is grey, 3 are YCbCr, 4 are CMYK as Adobe stores it. Progressive
// ones have one pass. Extra are segments before all others.
func flatJPEG(blocks [][][]uint8, progressive bool, extra ...[]byte) []byte {
	out := []byte{0xff, 0xd8}
	segment := func(marker byte, content ...byte) {
		out = append(binary.BigEndian.AppendUint16(append(out, 0xff, marker), uint16(len(content)+2)), content...)
	}
	for _, e := range extra {
		segment(e[0], e[1:]...)
	}
	components := len(blocks[0][0])
	if components == 4 {
		segment(0xee, []byte("Adobe\x00\x64\x00\x00\x00\x00\x00")...) // CMYK, not YCCK
	}
	segment(0xdb, append([]byte{0}, bytes.Repeat([]byte{8}, 64)...)...) // a difference of 1 is one level
	frame := []byte{8, 0, byte(8 * len(blocks)), 0, byte(8 * len(blocks[0])), byte(components)}
	scan := []byte{byte(components)}
	for c := range components {
		frame, scan = append(frame, byte(c+1), 0x11, 0), append(scan, byte(c+1), 0)
	}
	sof, last := byte(0xc0), byte(63)
	if progressive {
		sof, last = 0xc2, 0
	}
	segment(sof, frame...)
	segment(0xc4, append([]byte{0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)...) // category k has the 4 bits of k
	segment(0xc4, append([]byte{0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 0)...)                                     // the end of a block: 1 bit, 0
	segment(0xda, append(scan, 0, last, 0)...)
	var bits []byte
	put := func(v, n int) {
		for n--; n >= 0; n-- {
			bits = append(bits, byte(v>>n&1))
		}
	}
	before := make([]int, components)
	for _, row := range blocks {
		for _, block := range row {
			for c, v := range block {
				d := int(v) - 128 - before[c]
				before[c] += d
				size := 0
				for a := max(d, -d); a > 0; a >>= 1 {
					size++
				}
				put(size, 4)
				put(d+boolInt(d < 0)*(1<<size-1), size) // negative ones as one less than their complement
				if !progressive {
					put(0, 1)
				}
			}
		}
	}
	for len(bits)%8 != 0 {
		bits = append(bits, 1)
	}
	for i := 0; i < len(bits); i += 8 {
		var b byte
		for _, bit := range bits[i : i+8] {
			b = b<<1 | bit
		}
		if out = append(out, b); b == 0xff {
			out = append(out, 0)
		}
	}
	return append(out, 0xff, 0xd9)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// webpOf is a lossless WebP of one row, whose pixels differ in green only. With Exif, or animated, it is of the extended kind.
func webpOf(greens []uint8, red, blue, alpha uint8, exif []byte, animated bool) []byte {
	var bits []byte
	put := func(v, n int) { // the lowest bit first
		for i := range n {
			bits = append(bits, byte(v>>i&1))
		}
	}
	put(len(greens)-1, 14)
	put(0, 14)
	put(boolInt(alpha < 255), 1)
	put(0, 3+1+1+1) // version 0; no transform, no cache, one code for all
	low, high := greens[0], greens[0]
	for _, g := range greens {
		low, high = min(low, g), max(high, g)
	}
	code := func(symbols ...uint8) { // one or two
		put(1, 1)
		put(len(symbols)-1, 1)
		put(1, 1)
		for _, s := range symbols {
			put(int(s), 8)
		}
	}
	if low < high {
		code(low, high)
	} else {
		code(low)
	}
	code(red)
	code(blue)
	code(alpha)
	code(0)
	if low < high {
		for _, g := range greens {
			put(boolInt(g == high), 1)
		}
	}
	data := []byte{0x2f}
	for i := 0; i < len(bits); i += 8 {
		var b byte
		for j, bit := range bits[i:min(i+8, len(bits))] {
			b |= bit << j
		}
		data = append(data, b)
	}
	chunk := func(name string, data []byte) []byte {
		b := append(binary.LittleEndian.AppendUint32([]byte(name), uint32(len(data))), data...)
		return append(b, make([]byte, len(data)%2)...)
	}
	body := chunk("VP8L", data)
	if exif != nil || animated {
		flags := byte(boolInt(exif != nil)<<3 | boolInt(animated)<<1)
		head := chunk("VP8X", []byte{flags, 0, 0, 0, byte(len(greens) - 1), 0, 0, 0, 0, 0})
		if animated {
			body = chunk("ANMF", append(make([]byte, 16), body...))
		}
		body = append(append(head, body...), chunk("EXIF", exif)...)
	}
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body)+4)), append([]byte("WEBP"), body...)...)
}

// pngChunk is one chunk of a PNG.
func pngChunk(name string, data []byte) []byte {
	b := append(append(binary.BigEndian.AppendUint32(nil, uint32(len(data))), name...), data...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
}

// headOfPNG declares a size in 8-bit RGBA, and has no pixels: 65 bytes in all.
func headOfPNG(width, height uint32) []byte {
	ihdr := append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, width), height), 8, 6, 0, 0, 0)
	b := append([]byte("\x89PNG\r\n\x1a\n"), pngChunk("IHDR", ihdr)...)
	b = append(b, pngChunk("IDAT", []byte("\x78\x9c\x63\x00\x00\x00\x01\x00\x01")[:8])...)
	return append(b, pngChunk("IEND", nil)...)
}
