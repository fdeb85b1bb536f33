package data

import (
	"bytes"
	"errors"
	"image"
	"image/jpeg"

	"golang.org/x/image/draw"
)

// cropQuality is that of the prepared 64×64 set, to go by its quantization tables; chroma is halved there as here. The
// traces of JPEG are part of what a model of small pictures learns, so both sets should have the same.
const cropQuality = 75

// cropJPEG returns the middle of a photograph, [side, side], as a JPEG file.
func cropJPEG(file []byte, side int) ([]byte, error) {
	photograph, err := jpeg.Decode(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	if photograph.Bounds().Empty() {
		return nil, errors.New("got an image without pixels")
	}
	var out bytes.Buffer
	err = jpeg.Encode(&out, crop(photograph, side), &jpeg.Options{Quality: cropQuality})
	return out.Bytes(), err
}

// crop scales an image until its shorter side has side pixels, and cuts the middle out of the longer one.
func crop(photograph image.Image, side int) *image.RGBA {
	size := photograph.Bounds().Size()
	scaled := func(long, short int) int { return (2*side*long + short) / (2 * short) } // rounded
	w, h := side, side
	if size.X > size.Y {
		w = scaled(size.X, size.Y)
	} else {
		h = scaled(size.Y, size.X)
	}
	// The scaled image reaches beyond the crop, on both sides alike.
	corner := image.Pt(-(w-side)/2, -(h-side)/2)
	out := image.NewRGBA(image.Rect(0, 0, side, side))
	draw.CatmullRom.Scale(out, image.Rectangle{Min: corner, Max: corner.Add(image.Pt(w, h))}, photograph, photograph.Bounds(), draw.Src, nil)
	return out
}
