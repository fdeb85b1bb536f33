package world

import "math"

var (
	black = colour{0.08, 0.08, 0.1}
	stem  = colour{0.12, 0.42, 0.18}
	clay  = colour{0.6, 0.38, 0.2}
	paint = [Colours]colour{{0.86, 0.14, 0.14}, {0.16, 0.8, 0.2}, {0.16, 0.3, 0.86}, {0.92, 0.8, 0.14}, {0.56, 0.18, 0.72}, {0.96, 0.96, 0.96}}
)

// thing draws a thing of a kind into the square from (−1, −1) to (1, 1) of a stamp.
func (s stamp) thing(k Kind, c colour) {
	[Kinds]func(stamp, colour){rabbit, rose, dog, cat, fish, star}[k](s, c)
}

func rabbit(s stamp, c colour) {
	s.ellipse(c, -0.22, -0.58, 0.14, 0.42, -0.12)
	s.ellipse(c, 0.22, -0.58, 0.14, 0.42, 0.12)
	s.ellipse(c, 0, 0.52, 0.56, 0.46, 0)
	s.ellipse(c, 0, -0.02, 0.4, 0.36, 0)
	s.eyes(0, -0.06, 0.16)
}

func rose(s stamp, c colour) {
	s.polygon(stem, -0.08, 0, 0.08, 0, 0.08, 1, -0.08, 1)
	s.ellipse(stem, 0.3, 0.55, 0.28, 0.14, -0.4)
	s.ellipse(c, 0, -0.38, 0.58, 0.56, 0)
	s.ellipse(c.shade(0.55), 0, -0.38, 0.32, 0.3, 0)
	s.ellipse(c, 0, -0.38, 0.15, 0.14, 0)
}

func dog(s stamp, c colour) {
	for _, x := range []float64{-0.62, -0.3, 0.08, 0.38} {
		s.polygon(c, x-0.09, 0.3, x+0.09, 0.3, x+0.09, 1, x-0.09, 1)
	}
	s.ellipse(c, -0.12, 0.24, 0.62, 0.34, 0)
	s.polygon(c, -0.7, 0.2, -0.98, -0.4, -0.82, -0.46, -0.52, 0.1)
	s.ellipse(c, 0.46, -0.38, 0.36, 0.34, 0)
	s.ellipse(c, 0.78, -0.26, 0.22, 0.16, 0)
	s.polygon(c, 0.16, -0.3, 0.56, -0.1, 0.46, 0.3, 0.1, 0.2)
	s.ellipse(c.shade(0.55), 0.28, -0.34, 0.14, 0.32, 0.15)
	s.ellipse(black, 0.58, -0.46, 0.07, 0.08, 0)
	s.ellipse(black, 0.96, -0.3, 0.07, 0.07, 0)
}

func cat(s stamp, c colour) {
	s.polygon(c, 0.2, 0.7, 0.62, 0.62, 0.72, 0.05, 0.94, 0.1, 0.86, 0.82, 0.2, 0.98)
	s.ellipse(c, -0.06, 0.5, 0.44, 0.48, 0)
	s.ellipse(c, -0.06, -0.22, 0.46, 0.38, 0)
	s.polygon(c, -0.52, -0.3, -0.5, -0.96, -0.08, -0.5)
	s.polygon(c, 0.4, -0.3, 0.38, -0.96, -0.04, -0.5)
	s.eyes(-0.06, -0.24, 0.18)
}

func fish(s stamp, c colour) {
	s.polygon(c, 0.3, 0, 0.98, -0.5, 0.98, 0.5)
	s.ellipse(c, -0.2, 0, 0.74, 0.46, 0)
	s.polygon(c.shade(0.55), -0.2, 0.02, 0.2, -0.1, 0.2, 0.16)
	s.ellipse(black, -0.58, -0.12, 0.09, 0.1, 0)
}

func star(s stamp, c colour) {
	var corners []float64
	for i := range 10 {
		radius := 1.0
		if i%2 == 1 {
			radius = 0.42
		}
		sin, cos := math.Sincos(math.Pi * float64(i) / 5)
		corners = append(corners, radius*sin, -radius*cos)
	}
	s.polygon(c, corners...)
}

// eyes draws two eyes, side by side.
func (s stamp) eyes(x, y, apart float64) {
	s.ellipse(black, x-apart, y, 0.075, 0.085, 0)
	s.ellipse(black, x+apart, y, 0.075, 0.085, 0)
}
