package diffusion_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
)

// Pieces of any size, in any order, are joined to the bytes of one simulation, conditions and the means over all paths among them; and a visitor
// sees the same states, controls and noise.
func TestJoin(t *testing.T) {
	const from, n = 7, 150
	key := noise.New(3)
	for name, s := range map[string]*diffusion.Sampler{"network": planar(t, 64), "conditions": conditional(t, 64)} {
		record := func(seen *[]float32) diffusion.Visitor {
			return func(p *diffusion.Population) error {
				z := make([]float32, p.Dim)
				p.Noise(11, z)
				*seen = slices.Concat(*seen, p.X, p.EpsH, z, p.Given, []float32{float32(p.Index), float32(p.Step.T), float32(p.From)})
				return nil
			}
		}
		var want, got []float32
		whole, err := s.Run(t.Context(), key, from, n, record(&want))
		if err != nil {
			t.Fatal(err)
		}
		var pieces []diffusion.Piece
		for _, part := range [][2]int{{100, 50}, {0, 1}, {65, 35}, {1, 64}} {
			p, err := s.Piece(t.Context(), key, from+part[0], part[1], true)
			if err != nil {
				t.Fatal(err)
			}
			pieces = append(pieces, p)
		}
		joined, err := s.Join(key, from, n, pieces, record(&got))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(whole, joined); d != "" {
			t.Errorf("%s (-whole +joined):\n%s", name, d)
		}
		if !slices.Equal(want, got) {
			t.Errorf("%s: the visitor sees something else", name)
		}
		if whole.StepEnergy[3] == 0 {
			t.Errorf("%s: there is no energy to compare", name)
		}
	}
}

// What is no simulation is refused, with the place.
func TestJoinRefuses(t *testing.T) {
	s, key := planar(t, 64), noise.New(3)
	pieces := make([]diffusion.Piece, 2)
	for i := range pieces {
		var err error
		if pieces[i], err = s.Piece(t.Context(), key, 10*i, 10, false); err != nil {
			t.Fatal(err)
		}
	}
	short := pieces[1]
	short.Spent = short.Spent[1:]
	see := func(*diffusion.Population) error { return nil }
	for want, try := range map[string]func() (diffusion.Paths, error){
		"diffusion: join: a piece begins at path 10, want one that begins at 0": func() (diffusion.Paths, error) { return s.Join(key, 0, 20, pieces[1:], nil) },
		"diffusion: join: a piece begins at path 0, want one that begins at 10": func() (diffusion.Paths, error) {
			return s.Join(key, 0, 20, []diffusion.Piece{pieces[0], pieces[0]}, nil)
		},
		"diffusion: join: 10 paths, want 20":                             func() (diffusion.Paths, error) { return s.Join(key, 0, 20, pieces[:1], nil) },
		"diffusion: piece of the paths from 0 to 10: 0 states, want 240": func() (diffusion.Paths, error) { return s.Join(key, 0, 20, pieces, see) },
		"diffusion: piece of the paths from 10 to 20: 119 energies of steps, want 120": func() (diffusion.Paths, error) {
			return s.Join(key, 0, 20, []diffusion.Piece{pieces[0], short}, nil)
		},
	} {
		if _, err := try(); fmt.Sprint(err) != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
