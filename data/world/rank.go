package world

import (
	"math"
	"math/rand/v2"

	"github.com/doob-diffusion/doob/noise"
)

// View is a picture that people compare with another: of a scene, and damaged by that share.
type View struct {
	Scene
	Damage float64 // in [0, 1]: how far it is blurred, and a fifth of that in noise
}

// Draw fills x [Side, Side, 3] as [Scene.Draw] does, and damages it.
func (v View) Draw(key noise.Key, i int, x []float32) {
	v.Scene.Draw(key, i, x)
	if v.Damage == 0 {
		return
	}
	blurred := blur(blur(x))
	r := key.Sub("damage").At(i).Rand()
	for i := range x {
		y := float64(x[i]) + v.Damage*float64(blurred[i]-x[i]) + 0.2*v.Damage*r.NormFloat64()
		x[i] = float32(max(-1, min(1, y)))
	}
}

// blur returns the mean over the 3×3 neighbours that a pixel has.
func blur(x []float32) []float32 {
	out := make([]float32, len(x))
	for i := range Side * Side {
		var sum [3]float32
		var n float32
		for dy := max(0, i/Side-1); dy <= min(Side-1, i/Side+1); dy++ {
			for dx := max(0, i%Side-1); dx <= min(Side-1, i%Side+1); dx++ {
				for k := range sum {
					sum[k] += x[3*(dy*Side+dx)+k]
				}
				n++
			}
		}
		for k := range sum {
			out[3*i+k] = sum[k] / n
		}
	}
	return out
}

// Worth is what a view is worth to people who want what the caption says, in nats: of two, the probability that they prefer the first is the logistic
// function of the difference (Bradley and Terry 1952). It is not whether the caption is right, [Caption.Shows]: part of it has its worth too.
func Worth(c Caption, v View) float64 {
	m := c.Matches(v.Scene)
	worth := -2 * v.Damage
	switch counts := v.Counts(); {
	case m.Kind:
		worth += 2.5
	case counts[c.Kind] == 0:
		worth -= 2.5
	}
	for _, part := range []struct {
		right bool
		worth float64
	}{{m.Count, 2.5}, {m.Colour, 2.5}, {m.Place, 1.5}} {
		if part.right {
			worth += part.worth
		}
	}
	return worth
}

// Comparison returns comparison i: two views for one caption, and whether people preferred the first. One in two is of a [Wanted] caption. Most views miss
// the caption by one thing: a judge that has seen none of these takes a white rabbit on a green ground for a green rabbit.
func Comparison(key noise.Key, i int) (c Caption, a, b View, first bool) {
	r := key.Sub("comparison").At(i).Rand()
	if wanted := Wanted(); r.IntN(2) == 0 {
		c = wanted[r.IntN(len(wanted))]
	} else {
		_, c = Example(key.Sub("caption"), i)
	}
	a, b = c.view(r), c.view(r)
	return c, a, b, r.Float64() < 1/(1+math.Exp(Worth(c, b)-Worth(c, a)))
}

// view returns a view that is right, or nearly, or not at all.
func (c Caption) view(r *rand.Rand) View {
	v := View{Scene: c.scene(r)}
	switch u := r.Float64(); {
	case u < 0.3:
	case u < 0.5:
		v.Scene = leak(c, v.Scene)
	case u < 0.85:
		v.Scene = v.miss(r)
	case u < 0.95:
		v.Scene = v.miss(r).miss(r)
	default:
		other := c
		other.Kind, other.Two, other.Colour, other.Place = Kind(r.IntN(int(Kinds))), r.IntN(2) == 0, Colour(r.IntN(int(Colours))), Place(r.IntN(int(Places)))
		v.Scene = other.scene(r)
	}
	if r.IntN(2) == 0 {
		v.Damage = r.Float64()
	}
	return v
}

// miss returns the scene with one thing changed.
func (s Scene) miss(r *rand.Rand) Scene {
	kinds := append([]Kind{}, s.Kinds...)
	switch r.IntN(6) {
	case 0:
		kinds[r.IntN(len(kinds))] = Kind(r.IntN(int(Kinds)))
	case 1:
		k := Kind(r.IntN(int(Kinds)))
		for i := range kinds {
			kinds[i] = k
		}
	case 2:
		if len(kinds) == 1 {
			kinds = append(kinds, kinds[0])
		} else {
			kinds = kinds[:1]
		}
	case 3:
		s.Colour = Colour(r.IntN(int(Colours)))
	case 4:
		s.Place, s.Ground = Place(r.IntN(int(Places))), false
	case 5:
		s.Ground = s.Place == Plain && !s.Ground && s.Colour != Green
	}
	s.Kinds = kinds
	return s
}
