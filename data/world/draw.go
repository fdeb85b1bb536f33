package world

import (
	"math"
	"math/rand/v2"

	"github.com/doob-diffusion/doob/noise"
)

// Draw fills x [Side, Side, 3] with picture i of a scene: −1 is black and 1 full colour, in steps of 8 bits. Where things are, their size, slant and shade
// and those of the place are random.
func (s Scene) Draw(key noise.Key, i int, x []float32) {
	r := key.Sub("picture").At(i).Rand()
	p := s.place(r)
	n := len(s.Kinds)
	size := uniform(r, 0.56, 0.7)
	if n == 2 {
		size = uniform(r, 0.42, 0.48)
	}
	var bottom float64 // of things
	switch s.Place {
	case Plain:
		bottom = size + uniform(r, -0.12, 0.12)
	case Park:
		bottom = uniform(r, 0.68, 0.86)
	case Vase:
		size *= 0.85
		bottom = potTop + 0.12
	}
	room := 0.98 - size // for a thing to the left and to the right
	if n == 2 {
		room = 0.04
	}
	middle := uniform(r, -room, room)
	if s.Place == Vase {
		middle *= 0.4
	}
	tint := colour{}
	for k, v := range paint[s.Colour] {
		tint[k] = min(1, max(0, v+uniform(r, -0.03, 0.03)))
	}
	apart := uniform(r, 1, 1.04)
	for j, k := range s.Kinds {
		at := middle
		if n == 2 {
			at += apart * size * float64(2*j-1)
		}
		sin, cos := math.Sincos(uniform(r, -0.1, 0.1))
		height := size // fish are flat
		if k == Fish {
			height = 0.5 * size
		}
		stamp{p, at, bottom - height + uniform(r, -0.02, 0.02), size, r.IntN(2) == 1, sin, cos}.thing(k, tint)
	}
	if s.Place == Vase {
		p.pot(middle, r)
	}
	for i, c := range p.pixels {
		for k, v := range c {
			x[3*i+k] = float32(math.Round(255*v)/127.5 - 1)
		}
	}
}

const potTop = 0.28

// place paints what is behind things.
func (s Scene) place(r *rand.Rand) *canvas {
	grey := uniform(r, 0.6, 0.8)
	wall := colour{grey, grey, grey}
	if s.Ground {
		wall = paint[Green].shade(uniform(r, 0.95, 1.05))
	}
	if s.Place != Park {
		return newCanvas(wall)
	}
	p := newCanvas(colour{0.52, 0.74, 0.94}.shade(uniform(r, 0.95, 1.04)))
	horizon := uniform(r, -0.1, 0.3)
	stamp{p, 0, 0, 1, false, 0, 1}.polygon(colour{0.27, 0.5, 0.24}.shade(uniform(r, 0.93, 1.07)), -1, horizon, 1, horizon, 1, 1, -1, 1)
	return p
}

// pot paints the pot that things stand in.
func (p *canvas) pot(x float64, r *rand.Rand) {
	s := stamp{p, x, 0, 1, false, 0, 1}
	c := clay.shade(uniform(r, 0.92, 1.08))
	s.polygon(c, -0.3, potTop+0.1, 0.3, potTop+0.1, 0.2, 0.94, -0.2, 0.94)
	s.polygon(c.shade(1.12), -0.38, potTop, 0.38, potTop, 0.36, potTop+0.16, -0.36, potTop+0.16)
}

func uniform(r *rand.Rand, lo, hi float64) float64 { return lo + (hi-lo)*r.Float64() }
