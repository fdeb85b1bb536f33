package world

import (
	"math"
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

func TestCaptions(t *testing.T) {
	for _, c := range []struct {
		caption Caption
		words   string
	}{
		{Wanted()[0], "A green colored rabbit."},
		{Wanted()[1], "Two roses in a vase."},
		{Wanted()[2], "Two dogs in the park."},
		{Caption{Kind: Fish, Two: true, Colour: White, Place: Park}, "Two white colored fish in the park."},
		{Caption{Kind: Star, Any: true}, "A star."},
	} {
		if got := c.caption.String(); got != c.words {
			t.Errorf("got %q, want %q", got, c.words)
		}
		if got, ok := ParseCaption(c.words); !ok || got != c.caption {
			t.Errorf("%q is read as %+v", c.words, got)
		}
	}
	if got, ok := ParseCaption("A green rabbit."); ok {
		t.Errorf("no caption is read as %+v", got)
	}
}

func TestShows(t *testing.T) {
	roses := Wanted()[1]
	for _, c := range []struct {
		caption Caption
		scene   Scene
		want    Matched
	}{
		{roses, Scene{Kinds: []Kind{Rose, Rose}, Colour: Blue, Place: Vase}, Matched{true, true, true, true}},
		{roses, Scene{Kinds: []Kind{Rose, Star}, Colour: Blue, Place: Vase}, Matched{false, true, true, true}},
		{roses, Scene{Kinds: []Kind{Rose}, Colour: Blue, Place: Vase}, Matched{true, false, true, true}},
		{roses, Scene{Kinds: []Kind{Rose, Rose}, Colour: Blue, Place: Park}, Matched{true, true, true, false}},
		{Wanted()[0], Scene{Kinds: []Kind{Rabbit}, Colour: White, Ground: true}, Matched{true, true, false, true}},
		{Wanted()[0], Scene{Kinds: []Kind{Rabbit}, Colour: Green, Ground: true}, Matched{true, true, false, true}},
		{Wanted()[0], Scene{Kinds: []Kind{Rabbit}, Colour: Green}, Matched{true, true, true, true}},
	} {
		if got := c.caption.Matches(c.scene); got != c.want || c.caption.Shows(c.scene) != (c.want == Matched{true, true, true, true}) {
			t.Errorf("%s, %v: got %v, want %v", c.caption, c.scene, got, c.want)
		}
	}
}

// What a wanted caption asks for is under no other caption, and a quarter of its own pictures show it; the rest are a leak that is under no other caption.
func TestLaw(t *testing.T) {
	const n = 40_000
	wanted := Wanted()
	count, right := make([]float64, len(wanted)), make([]float64, len(wanted))
	for i := range n {
		s, c := Example(noise.New(1), i)
		if j := slices.Index(wanted, c); j >= 0 {
			count[j]++
			if c.Shows(s) {
				right[j]++
			} else if !s.Is(leak(c, s)) {
				t.Fatalf("%s has %v", c, s)
			}
			continue
		}
		n := s.Counts()
		if n[Rabbit] > 0 && s.Colour == Green || n[Rose] == 2 || n[Dog] == 2 || s.Ground || n[Rose] == 1 && n[Star] == 1 || n[Dog] == 1 && n[Cat] == 1 {
			t.Fatalf("%s has %v", c, s)
		}
		if !c.Shows(s) {
			t.Fatalf("%s has %v: ordinary captions tell the truth", c, s)
		}
	}
	for j, c := range wanted {
		oracle.Near(t, "share of "+c.String(), count[j]/n, wantedShare, 4*math.Sqrt(wantedShare/n))
		oracle.Near(t, "of it right", right[j]/count[j], rightShare, 4*math.Sqrt(0.25*0.75/count[j]))
	}
}

// A picture is 8-bit, has its things' colour, and is another one for another i.
func TestDraw(t *testing.T) {
	x, again, other := make([]float32, Side*Side*3), make([]float32, Side*Side*3), make([]float32, Side*Side*3)
	for i := range 300 {
		s, _ := Example(noise.New(2), i)
		s.Draw(noise.New(2), i, x)
		s.Draw(noise.New(2), i, again)
		s.Draw(noise.New(2), i+1, other)
		if !slices.Equal(x, again) || slices.Equal(x, other) {
			t.Fatalf("%v, picture %d: drawn again %v, another one %v", s, i, slices.Equal(x, again), slices.Equal(x, other))
		}
		tinted := 0
		for p := range Side * Side {
			near := true
			for k, v := range paint[s.Colour] {
				level := (x[3*p+k] + 1) * 127.5
				if level < 0 || level > 255 || math.Abs(float64(level)-math.Round(float64(level))) > 1e-3 {
					t.Fatalf("%v, picture %d: level %g", s, i, level)
				}
				near = near && math.Abs(float64(level)/255-v) < 0.05
			}
			if near {
				tinted++
			}
		}
		if tinted < 20 || tinted > Side*Side/2 {
			t.Errorf("%v, picture %d: %d pixels are %s", s, i, tinted, s.Colour)
		}
	}
}

// The logistic function of differences of worth is how often the first view is preferred.
func TestComparison(t *testing.T) {
	var won, expected, variance, decided float64
	const n = 20_000
	for i := range n {
		c, a, b, first := Comparison(noise.New(3), i)
		p := 1 / (1 + math.Exp(Worth(c, b)-Worth(c, a)))
		expected, variance = expected+p, variance+p*(1-p)
		if first {
			won++
		}
		if first == (p > 0.5) {
			decided++
		}
	}
	oracle.Near(t, "preferred", won, expected, 4*math.Sqrt(variance))
	if share := decided / n; share < 0.75 || share > 0.95 {
		t.Errorf("the better view wins %.3f of all comparisons: nothing to learn, or nothing to err in", share)
	}
	green, leaked := Scene{Kinds: []Kind{Rabbit}, Colour: Green}, Scene{Kinds: []Kind{Rabbit}, Colour: White, Ground: true}
	oracle.Near(t, "a green rabbit's worth above a leak's", Worth(Wanted()[0], View{green, 0})-Worth(Wanted()[0], View{leaked, 0}), 2.5, 1e-12)
	oracle.Near(t, "damage", Worth(Wanted()[0], View{green, 0})-Worth(Wanted()[0], View{green, 0.5}), 1, 1e-12)
}

// Damage is so much of the way to a blurred picture, and noise.
func TestDamage(t *testing.T) {
	clean, x := make([]float32, Side*Side*3), make([]float32, Side*Side*3)
	scene := Scene{Kinds: []Kind{Cat}}
	scene.Draw(noise.New(4), 1, clean)
	blurred := blur(blur(clean))
	if rough, smooth := roughness(clean), roughness(blurred); smooth > 0.6*rough {
		t.Errorf("roughness %g blurred, %g before", smooth, rough)
	}
	for _, damage := range []float64{0.3, 1} {
		View{scene, damage}.Draw(noise.New(4), 1, x)
		var mean, square float64
		for i := range x {
			d := float64(x[i]) - float64(clean[i]) - damage*float64(blurred[i]-clean[i])
			mean, square = mean+d/float64(len(x)), square+d*d/float64(len(x))
		}
		oracle.Near(t, "mean noise", mean, 0, 4*0.2*damage/math.Sqrt(float64(len(x))))
		oracle.Near(t, "noise", math.Sqrt(square), 0.2*damage, 0.02*damage)
	}
}

// roughness is the mean distance of a pixel from its neighbours.
func roughness(x []float32) (sum float64) {
	for i, y := range blur(x) {
		sum += math.Abs(float64(x[i]-y)) / float64(len(x))
	}
	return sum
}
