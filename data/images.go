// Package data provides data sets as plain arrays, and the order in which training visits them.
package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
)

// Images is a labelled set of images. The zero Images is empty.
type Images struct {
	Pixels                     []float32 // [N, Height, Width, Channels], in [−1, 1]
	Labels                     []int     // [N]
	N, Height, Width, Channels int
}

// At returns image i as a view of Pixels, [Height, Width, Channels].
func (im Images) At(i int) []float32 {
	size := im.Height * im.Width * im.Channels
	return im.Pixels[i*size : (i+1)*size : (i+1)*size]
}

// SHA256 returns the hash of sizes, pixels and labels, in hexadecimal.
func (im Images) SHA256() string {
	h := sha256.New()
	buffer := make([]byte, 0, 1<<16)
	add := func(v uint32) {
		if buffer = binary.LittleEndian.AppendUint32(buffer, v); len(buffer) == cap(buffer) {
			h.Write(buffer)
			buffer = buffer[:0]
		}
	}
	for _, v := range []int{im.N, im.Height, im.Width, im.Channels} {
		add(uint32(v))
	}
	for _, v := range im.Pixels {
		add(math.Float32bits(v))
	}
	for _, l := range im.Labels {
		add(uint32(l))
	}
	h.Write(buffer)
	return hex.EncodeToString(h.Sum(nil))
}
