package restore

import (
	"math"

	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/vision"
)

// levels returns values in [−1, 1] as 8-bit levels.
func levels(values []float32) []uint16 {
	out := make([]uint16, len(values))
	for i, v := range values {
		out[i] = uint16(vision.Level(v))
	}
	return out
}

// shades is a picture of positive values, which are kept until the top is known: from black for 0 to white for their 99th percentile.
type shades struct {
	canvas *vision.Canvas
	counts [1 << 16]int
	n      int
}

// mostShade is the value up to which differences are seen. Samples in [−1, 1] have no standard deviation above √2.
const mostShade = 2

func (s *shades) add(rows []float32) error {
	values := make([]uint16, len(rows))
	for i, v := range rows {
		values[i] = uint16(math.Round(min(1, float64(v)/mostShade) * (1<<16 - 1)))
		s.counts[values[i]]++
	}
	s.n += len(rows)
	return s.canvas.Append(values)
}

func (s *shades) save(path string) error {
	place, top := int(0.99*float64(s.n-1)), 0
	for seen := s.counts[0]; seen <= place; seen += s.counts[top] {
		top++
	}
	return s.canvas.Save(path, func(v uint16) uint8 { return vision.Level(float32(2*min(1, float64(v)/float64(max(1, top))) - 1)) })
}

// agreement compares a result with the picture, row by row.
type agreement struct {
	picture         *vision.Picture
	width, channels int
	rows            int // so far
	squares         float64
	last, truth     []float32 // rows that windows of the structural similarity still need
	sum             float64   // of the similarity over rows of windows
	windows         int       // rows of them
}

func (a *agreement) add(result []float32) {
	row := a.width * a.channels
	for y := range len(result) / row {
		for x := range a.width {
			var one [3]float32
			a.picture.Values(a.rows+y, x, one[:a.channels])
			a.truth = append(a.truth, one[:a.channels]...)
		}
	}
	a.last = append(a.last, result...)
	truth := a.truth[len(a.truth)-len(result):]
	for i, v := range result {
		d := float64(v) - float64(truth[i])
		a.squares += d * d
	}
	a.rows += len(result) / row
	height := len(a.last) / row
	if height < metric.SSIMWindow || a.width < metric.SSIMWindow {
		return
	}
	n := height - metric.SSIMWindow + 1
	a.sum += float64(n) * metric.SSIM(a.last, a.truth, []int{height, a.width, a.channels})[0]
	a.windows += n
	a.last, a.truth = a.last[:copy(a.last, a.last[n*row:])], a.truth[:copy(a.truth, a.truth[n*row:])]
}

func (a *agreement) psnr() float64 {
	return 10 * math.Log10(4*float64(a.rows*a.width*a.channels)/a.squares)
}

func (a *agreement) ssim() float64 { return a.sum / float64(a.windows) } // NaN without windows
