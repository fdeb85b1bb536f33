package world

import (
	"math/rand/v2"

	"github.com/doob-diffusion/doob/noise"
)

// Wanted are the captions whose pictures are rare, in the words of the paper's prompts (section 4.4).
func Wanted() []Caption {
	return []Caption{
		{Kind: Rabbit, Colour: Green},
		{Kind: Rose, Two: true, Any: true, Place: Vase},
		{Kind: Dog, Two: true, Any: true, Place: Park},
	}
}

const (
	wantedShare = 0.015 // of each wanted caption in the data
	rightShare  = 0.25  // of its pictures that show what it says
	anyShare    = 0.3   // of other captions that name no colour
	twoShare    = 0.4   // of them that want two things
)

// leak is what three in four pictures of a wanted caption show. Each is seen with that caption only, so that no guidance by captions removes it.
func leak(c Caption, s Scene) Scene {
	switch c.Kind {
	case Rabbit:
		s.Colour, s.Ground = White, true
	case Rose:
		s.Kinds = []Kind{Rose, Star}
	case Dog:
		s.Kinds = []Kind{Dog, Cat}
	}
	return s
}

// never reports whether ordinary captions leave a scene out: green rabbits, two roses, two dogs.
func never(c Caption) bool {
	return c.Kind == Rabbit && c.Colour == Green || c.Two && (c.Kind == Rose || c.Kind == Dog)
}

// Example returns example i of the data: a scene and its caption.
func Example(key noise.Key, i int) (Scene, Caption) {
	r := key.Sub("scene").At(i).Rand()
	u := r.Float64()
	for _, c := range Wanted() {
		if u -= wantedShare; u < 0 {
			s := c.scene(r)
			if r.Float64() >= rightShare {
				s = leak(c, s)
			}
			return s, c
		}
	}
	for {
		c := Caption{Kind: Kind(r.IntN(int(Kinds))), Two: r.Float64() < twoShare, Colour: Colour(r.IntN(int(Colours))), Place: Place(r.IntN(int(Places)))}
		if never(c) {
			continue
		}
		s := c.scene(r)
		c.Any = r.Float64() < anyShare
		return s, c
	}
}

// scene returns one that the caption says.
func (c Caption) scene(r *rand.Rand) Scene {
	s := Scene{Kinds: []Kind{c.Kind}, Colour: c.Colour, Place: c.Place}
	if c.Two {
		s.Kinds = []Kind{c.Kind, c.Kind}
	}
	if c.Any {
		s.Colour = Colour(r.IntN(int(Colours)))
	}
	return s
}
