// Package conv computes two-dimensional convolutions of images in NHWC order with kernels in HWIO order, and the gradients
// with respect to both.
//
//	y[b,i,j,o] = Σ_{k,l,c} x[b, i·StrideH + k·DilationH − PadTop, j·StrideW + l·DilationW − PadLeft, c]·w[k,l,c,o]
//
// where x is zero outside of the image. Results do not depend on the number of workers.
package conv

import (
	"fmt"
	"math"
)

// Method chooses how a convolution is computed.
type Method int

const (
	Auto     Method = iota // the fastest for the shape
	Direct                 // the sum as it is defined, over the terms that are not padding
	Winograd               // by transformed tiles: less work, and some times the rounding error
	Streamed               // likewise, with weights that are transformed where they are used, for many channels and few tiles
)

// Spec is the shape of a convolution. Strides and dilations of 0 mean 1. Paddings may differ, and negative ones cut rows
// or columns off.
type Spec struct {
	Batch, H, W, Ci                      int
	Kh, Kw, Co                           int
	StrideH, StrideW                     int
	PadTop, PadBottom, PadLeft, PadRight int
	DilationH, DilationW                 int
	Method                               Method
}

// Out returns the height and width of the result.
func (s Spec) Out() (h, w int) {
	return outSize(s.H, s.Kh, s.StrideH, s.DilationH, s.PadTop+s.PadBottom),
		outSize(s.W, s.Kw, s.StrideW, s.DilationW, s.PadLeft+s.PadRight)
}

func outSize(n, k, stride, dilation, pad int) int {
	span := (k-1)*max(dilation, 1) + 1
	if k == 0 || n+pad < span {
		return 0
	}
	return (n+pad-span)/max(stride, 1) + 1
}

// check replaces the defaults and returns an error that names what is wrong.
func (s *Spec) check() error {
	for _, d := range []struct {
		name         string
		value, least int
	}{
		{"Batch", s.Batch, 0}, {"H", s.H, 0}, {"W", s.W, 0}, {"Ci", s.Ci, 0}, {"Co", s.Co, 0}, {"Kh", s.Kh, 1}, {"Kw", s.Kw, 1},
		{"StrideH", s.StrideH, 0}, {"StrideW", s.StrideW, 0}, {"DilationH", s.DilationH, 0}, {"DilationW", s.DilationW, 0},
	} {
		if d.value < d.least {
			return fmt.Errorf("conv: %s is %d, expected at least %d", d.name, d.value, d.least)
		}
	}
	s.StrideH, s.StrideW = max(s.StrideH, 1), max(s.StrideW, 1)
	s.DilationH, s.DilationW = max(s.DilationH, 1), max(s.DilationW, 1)
	if s.Method < Auto || s.Method > Streamed {
		return fmt.Errorf("conv: Method is %d, expected Auto, Direct, Winograd or Streamed", s.Method)
	}
	if s.Method >= Winograd && (s.Kh != 3 || s.Kw != 3 || s.StrideH != 1 || s.StrideW != 1 || s.DilationH != 1 || s.DilationW != 1) {
		return fmt.Errorf("conv: Winograd's method is for 3×3 kernels of stride and dilation 1, not for %+v", *s)
	}
	// Offsets within an image, and a few images more, are kept in 32 bits.
	oh, ow := s.Out()
	for _, image := range []struct {
		name    string
		h, w, c int
	}{{"input", s.H, s.W, s.Ci}, {"output", oh, ow, s.Co}} {
		if size := float64(image.h) * float64(image.w) * float64(max(image.c, 1)); size > math.MaxInt32/256 && size*float64(oh*ow+256) > math.MaxInt32*float64(oh*ow) {
			return fmt.Errorf("conv: an %s image of %d×%d×%d floats is too large", image.name, image.h, image.w, image.c)
		}
	}
	return nil
}
