package data

import (
	"testing"

	"github.com/doob-diffusion/doob/noise"
)

// The hash is that of the content: every pixel, label and size counts.
func TestSHA256(t *testing.T) {
	sum := func(change func(im *Images)) string {
		im := Digits(noise.New(1), 30, 0).Train
		change(&im)
		return im.SHA256()
	}
	seen := map[string]string{}
	for name, change := range map[string]func(im *Images){
		"as drawn":     func(*Images) {},
		"first pixel":  func(im *Images) { im.Pixels[0] += 1e-6 },
		"last pixel":   func(im *Images) { im.Pixels[len(im.Pixels)-1] += 1e-6 },
		"a middle one": func(im *Images) { im.Pixels[1<<14-4] += 1e-6 }, // at the border of two blocks
		"one after it": func(im *Images) { im.Pixels[1<<14-3] += 1e-6 },
		"last label":   func(im *Images) { im.Labels[29]++ },
		"transposed":   func(im *Images) { im.Height, im.Width = im.Width/2, im.Height*2 },
	} {
		s := sum(change)
		if other, ok := seen[s]; ok || len(s) != 64 {
			t.Errorf("%s and %s have the hash %s", name, other, s)
		}
		seen[s] = name
		if s != sum(change) {
			t.Errorf("%s has two hashes", name)
		}
	}
}
