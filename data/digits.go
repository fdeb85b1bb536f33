package data

import (
	"fmt"
	"sync"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	"codeberg.org/go-fonts/liberation/liberationserifitalic"
	"codeberg.org/go-fonts/liberation/liberationserifregular"
	"golang.org/x/image/font/sfnt"

	"github.com/doob-diffusion/doob/noise"
)

// Digits returns drawn digits with the sizes, the margins and the grey values of [MNIST], for machines without its
// files: n to train on and m to test, [28, 28, 1] each, labelled 0 to 9. For a nearest neighbour they are nearly as
// hard as handwriting, but results on them say nothing about results on MNIST.
//
// A digit is an outline of one of several fonts, under a random affine map (rotation, shear, aspect) and an elastic one
// (Simard, Steinkraus and Platt, "Best practices for convolutional neural networks", ICDAR 2003), with strokes of random
// weight and edges of random softness. As in MNIST its ink fills a box of 20×20 pixels, whose centre of mass is in the
// middle of the image to within a pixel, and pixels are k/127.5 − 1 for k from 0 to 255.
//
// Image i of each part depends on (key, i) alone, so more images only add to fewer. Every ten hold each label once.
func Digits(key noise.Key, n, m int) MNIST {
	return MNIST{Train: drawDigits(key.Sub("train"), n), Test: drawDigits(key.Sub("test"), m)}
}

const (
	digitSize = 28 // pixels of an image
	digitBox  = 20 // pixels of the ink's larger side
	lookSize  = 49 // points of the paper along each side, to find the ink
)

// typefaces are what digits are drawn from, as characters for 0 to 9. Most people write a 1 as a bar.
var typefaces = []struct {
	ttf        []byte
	characters string
	least      float64 // what strokes gain at least, on both sides: the thin ones of a typeface shall not vanish
}{
	{liberationsansregular.TTF, "0l23456789", -0.02},
	{liberationsansbold.TTF, "0l23456789", -0.06},
	{liberationserifregular.TTF, "0123456789", 0.01},
	{liberationserifitalic.TTF, "0123456789", 0.01},
}

// glyphs holds the digits of every typeface.
var glyphs = sync.OnceValue(func() [][10]*glyph {
	out := make([][10]*glyph, len(typefaces))
	for i, face := range typefaces {
		f, err := sfnt.Parse(face.ttf)
		for digit := range 10 {
			if err == nil {
				out[i][digit], err = newGlyph(f, rune(face.characters[digit]))
			}
		}
		if err != nil {
			panic(fmt.Errorf("data: typeface %d: %w", i, err)) // the fonts are embedded
		}
	}
	return out
})

func drawDigits(key noise.Key, n int) Images {
	im := Images{Pixels: make([]float32, n*digitSize*digitSize), Labels: make([]int, n), N: n, Height: digitSize, Width: digitSize, Channels: 1}
	var labels []int
	for i := range n {
		if i%10 == 0 {
			labels = key.Sub("labels").At(i / 10).Rand().Perm(10)
		}
		im.Labels[i] = labels[i%10]
		newPen(key.Sub("pen"), uint64(i), im.Labels[i]).draw(im.At(i))
	}
	return im
}
