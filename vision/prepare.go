package vision

import (
	"fmt"
	"math"
)

// Mean and SD are those of the colours, red, green and blue, of the pictures that CLIP was trained on. ImageReward uses the same.
var (
	Mean = [3]float32{0.48145466, 0.4578275, 0.40821073}
	SD   = [3]float32{0.26862954, 0.26130258, 0.27577711}
)

// Fit returns the size of a picture whose shorter side shall have side pixels, and the corner of the middle square of it.
func Fit(height, width, side int) (newHeight, newWidth, top, left int) {
	newHeight, newWidth = side, side
	if height < width {
		newWidth = side * width / height
	} else {
		newHeight = side * height / width
	}
	middle := func(long int) int { return int(math.RoundToEven(float64(long-side) / 2)) }
	return newHeight, newWidth, middle(newHeight), middle(newWidth)
}

// Square returns the middle square of the picture, resized to side by side.
func (p RGB) Square(side int) RGB {
	height, width, top, left := Fit(p.Height, p.Width, side)
	whole := p.Resize(height, width)
	out := RGB{side, side, make([]uint8, 0, 3*side*side)}
	for y := range side {
		row := whole.Pixels[3*((top+y)*width+left):]
		out.Pixels = append(out.Pixels, row[:3*side]...)
	}
	return out
}

// Prepare returns what CLIP and ImageReward take of a picture, [side, side, 3]: its middle square, colours less [Mean], in units of [SD]. Both models
// have a side of 224. It panics if the picture is empty.
func (p RGB) Prepare(side int) []float32 {
	if side < 1 {
		panic(fmt.Sprintf("vision.Prepare: got a side of %d, expected at least 1", side))
	}
	square := p.Square(side)
	out := make([]float32, len(square.Pixels))
	for i, v := range square.Pixels {
		out[i] = (float32(v)/255 - Mean[i%3]) / SD[i%3]
	}
	return out
}
