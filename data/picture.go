package data

import "github.com/doob-diffusion/doob/vision"

// ReadPicture reads a picture, see [vision.Read], as one image of 1 or 3 channels.
func ReadPicture(path string, channels int) (Images, error) {
	p, err := vision.Read(path)
	if err != nil {
		return Images{}, err
	}
	out := Images{N: 1, Height: p.Height, Width: p.Width, Channels: channels, Pixels: make([]float32, p.Height*p.Width*channels)}
	for y := range p.Height {
		for x := range p.Width {
			p.Values(y, x, out.Pixels[(y*p.Width+x)*channels:][:channels])
		}
	}
	return out, nil
}
