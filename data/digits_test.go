package data

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/doob-diffusion/doob/noise"
)

func TestDigitsGolden(t *testing.T) {
	d := Digits(noise.New(1), 4, 4)
	// The grey of every row of the last images. A change here changes what every seed means; one or two grey values may
	// differ on a machine that rounds a product and a sum at once.
	for _, c := range []struct {
		name string
		got  []float32
		want []float64
	}{
		{"train", d.Train.At(3), []float64{0, 0, 140, 1595, 1104, 580, 473, 458, 461, 835, 1554, 1222, 1292, 1285, 1183, 1113, 1077, 1070, 1084, 1146, 1271, 1804, 1101, 0, 0, 0, 0, 0}},
		{"test", d.Test.At(3), []float64{0, 0, 0, 141, 2710, 3571, 2153, 1658, 1444, 1384, 1388, 1432, 1514, 1557, 1570, 1606, 1578, 1610, 1603, 1719, 1961, 3032, 2621, 1305, 0, 0, 0, 0}},
	} {
		var got []float64
		for row := range slices.Chunk(c.got, digitSize) {
			var grey float64
			for _, v := range row {
				grey += (float64(v) + 1) * 127.5
			}
			got = append(got, math.Round(grey))
		}
		if d := cmp.Diff(c.want, got, cmpopts.EquateApprox(0, 2)); d != "" {
			t.Errorf("rows of %s (-want +got):\n%s\n%v", c.name, d, got)
		}
	}
}

func TestDigitsAreFunctionsOfKeyAndNumber(t *testing.T) {
	few, many := Digits(noise.New(5), 13, 4), Digits(noise.New(5), 40, 25)
	if d := cmp.Diff(few.Train.Pixels, many.Train.Pixels[:13*digitSize*digitSize]); d != "" {
		t.Error("the first 13 of 40 images are not the 13 images")
	}
	if d := cmp.Diff(few.Train.Labels, many.Train.Labels[:13]); d != "" {
		t.Errorf("labels of the first 13 of 40 (-want +got):\n%s", d)
	}
	if d := cmp.Diff(few.Test.Pixels, many.Test.Pixels[:4*digitSize*digitSize]); d != "" {
		t.Error("the first 4 of 25 test images are not the 4 images")
	}
	other := Digits(noise.New(6), 40, 0)
	seen := map[string]string{}
	for name, im := range map[string]Images{"train": many.Train, "test": many.Test, "another seed": other.Train} {
		for i := range im.N {
			var grey []byte
			for _, v := range im.At(i) {
				grey = append(grey, byte(math.Round((float64(v)+1)*127.5)))
			}
			if where, ok := seen[string(grey)]; ok {
				t.Errorf("image %d of %s is also in %s", i, name, where)
			}
			seen[string(grey)] = name
		}
	}
	if empty := Digits(noise.New(1), 0, 0); empty.Train.N != 0 || len(empty.Test.Pixels) != 0 {
		t.Errorf("no digits are %+v", empty)
	}
}

func TestDigitsLabels(t *testing.T) {
	d := Digits(noise.New(2), 200, 10).Train
	for ten := range slices.Chunk(d.Labels, 10) {
		if got := slices.Sorted(slices.Values(ten)); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
			t.Errorf("ten labels are %v", got)
		}
	}
	if slices.Equal(d.Labels[:10], d.Labels[10:20]) {
		t.Errorf("labels repeat: %v", d.Labels[:20])
	}
}

// The format of MNIST: 28×28 in steps of 1/127.5, ink in a box of 20 around the middle, about an eighth of it ink (0.131).
func TestDigitsLookLikeMNIST(t *testing.T) {
	d := Digits(noise.New(3), 1000, 10).Train
	if d.N != 1000 || d.Height != 28 || d.Width != 28 || d.Channels != 1 || len(d.Pixels) != 1000*28*28 {
		t.Fatalf("%d images of [%d, %d, %d]", d.N, d.Height, d.Width, d.Channels)
	}
	var all float64
	for i := range d.N {
		var mass, row, column float64
		box := [4]int{28, 28, -1, -1} // first and last row and column with more ink than paper
		for k, v := range d.At(i) {
			grey := (float64(v) + 1) * 127.5
			if grey < 0 || grey > 255 || math.Abs(grey-math.Round(grey)) > 1e-4 {
				t.Fatalf("image %d has the pixel %g", i, v)
			}
			mass += grey
			row += grey * (float64(k/28) + 0.5)
			column += grey * (float64(k%28) + 0.5)
			if grey > 127 {
				box = [4]int{min(box[0], k/28), min(box[1], k%28), max(box[2], k/28), max(box[3], k%28)}
			}
		}
		all += mass / 255 / 784 / float64(d.N)
		// Half a pixel on purpose, the rest because the first look is coarse.
		if math.Abs(row/mass-14) > 0.9 || math.Abs(column/mass-14) > 0.9 {
			t.Errorf("image %d, a %d: centre of mass at (%.2f, %.2f), want (14, 14) ± 0.9", i, d.Labels[i], row/mass, column/mass)
		}
		if side := max(box[2]-box[0], box[3]-box[1]) + 1; side < 18 || side > 21 {
			t.Errorf("image %d, a %d: the ink's larger side is %d pixels, want 20 but for soft edges", i, d.Labels[i], side)
		}
	}
	if all < 0.11 || all > 0.16 {
		t.Errorf("ink on %.3f of the paper, want 0.11 to 0.16", all)
	}
}

// Whoever compares pixels must be able to read most of them, or labels and images do not belong together.
func TestDigitsCanBeRead(t *testing.T) {
	d := Digits(noise.New(4), 1000, 200)
	right := 0
	for i := range d.Test.N {
		nearest, least := -1, math.Inf(1)
		for j := range d.Train.N {
			var d2 float64
			other := d.Train.At(j)
			for k, v := range d.Test.At(i) {
				d2 += float64((v - other[k]) * (v - other[k]))
			}
			if d2 < least {
				nearest, least = j, d2
			}
		}
		if d.Train.Labels[nearest] == d.Test.Labels[i] {
			right++
		}
	}
	t.Logf("nearest neighbour is right on %d of %d", right, d.Test.N)
	if right < 160 || right == d.Test.N {
		t.Errorf("the nearest neighbour is right on %d of %d: want at least 160, but not all, or it is too easy", right, d.Test.N)
	}
}

func TestExtent(t *testing.T) {
	// A box from (−0.3, −0.52) to (0.41, 0.2), with exact distances along its sides.
	const n, at = 41, -1.0
	const step = 0.05
	distances := make([]float64, n*n)
	for k := range distances {
		x, y := at+float64(k%n)*step, at+float64(k/n)*step
		distances[k] = max(-0.3-x, x-0.41, -0.52-y, y-0.2)
	}
	box, cx, cy := extent(distances, n, at, step)
	for _, c := range []struct {
		name            string
		got, want, band float64
	}{{"side", box, 0.72, 1e-9}, {"centre x", cx, 0.055, step / 10}, {"centre y", cy, -0.16, step / 10}} {
		if math.Abs(c.got-c.want) > c.band {
			t.Errorf("%s = %.4f, want %.4f", c.name, c.got, c.want)
		}
	}
}

func BenchmarkDigits(b *testing.B) {
	for b.Loop() {
		Digits(noise.New(1), 100, 0)
	}
}
