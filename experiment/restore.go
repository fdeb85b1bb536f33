package experiment

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/gif" // the formats that pictures may have
	_ "image/jpeg"
	_ "image/png"
	"math"
	"os"
	"slices"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// ErrPicture says that a picture cannot be restored by a model.
var ErrPicture = errors.New("picture")

// Restoration says what to restore, with the amortised h (56) that a run of superres has learned.
type Restoration struct {
	Folder  string // of the run
	Picture string // PNG, JPEG or GIF: a measurement, or with Measure an image
	Measure bool   // measure the picture first, with the run's noise, and compare the result with it
	N       int    // samples whose mean is the result; 1 gives a sample
	Steps   int    // of sampling; 0 means those of the run
	Seed    uint64
	Out     string // PNG
	Spread  string // PNG of the pixel-wise standard deviations; "" means none
	Backend string
}

// Restored says how a picture was restored.
type Restored struct {
	Operator      string
	Sigma         float64
	Height, Width int // of the result
	Tiles         int // of the picture, one for each measurement that the model can take
	NetworkCalls  int64
	Residual      float64         // ‖Ax−y‖²/(nσ²) of the samples, over the tiles
	Spread        float64         // mean of the standard deviations, on the scale of [−1, 1]
	PSNR, SSIM    finetune.Number // of the result against the picture, with Measure
}

// overlap is how much of a tile's measurement is that of its neighbour too, where both results are blended.
const overlap = 0.25

// Restore restores a picture of any size, tile by tile: every tile is a measurement of as many pixels as the model was
// trained for, and results are blended where tiles overlap. Operators that do not see all alike, such as a hole, take pictures
// of one tile only.
func Restore(ctx context.Context, q Restoration) (*Restored, error) {
	if q.N < 1 {
		return nil, fmt.Errorf("restore: %d samples: want at least 1", q.N)
	}
	config, err := readConfig(q.Folder)
	if err != nil {
		return nil, err
	}
	s, ok := config.(*SuperRes)
	if !ok {
		return nil, fmt.Errorf("restore: %s is no run of superres", q.Folder)
	}
	if !exists(checkpointFile(q.Folder, "importance")) {
		return nil, fmt.Errorf("restore: %s has learned no amortised h: want a run of superres with the method importance", q.Folder)
	}
	s.Backend = q.Backend
	r, err := s.newRun(&Folder{Path: q.Folder}, data.Images{}, data.Images{})
	if err != nil {
		return nil, err
	}
	if err := r.loadNetworks(q.Folder); err != nil {
		return nil, err
	}
	if err := r.likelihood(ctx); err != nil {
		return nil, err
	}
	picture, err := readPicture(q.Picture, s.channels())
	if err != nil {
		return nil, err
	}
	tile := r.reward.Shape // of a measurement
	if q.Measure {
		tile = r.image()
	}
	if s.Operator == "inpaint" && (picture.Height != tile[0] || picture.Width != tile[1]) {
		return nil, fmt.Errorf("%w %s: it has %d×%d pixels, but inpainting has its hole in the middle of %d×%d", ErrPicture, q.Picture, picture.Height, picture.Width, tile[0], tile[1])
	}
	return q.restore(ctx, r, newTiling(picture, tile))
}

func (q Restoration) restore(ctx context.Context, r *superResRun, t tiling) (*Restored, error) {
	var err error
	given := t.cut()
	if q.Measure {
		if given, err = r.reward.Measure(ctx, given, t.n(), noise.New(q.Seed).Sub("measure")); err != nil {
			return nil, err
		}
	}
	s := &superResSeed{superResRun: r, seed: r.Seed, key: noise.New(q.Seed), first: true}
	h, err := s.load(r.engine, "importance")
	if err != nil {
		return nil, err
	}
	y := engine.Size(r.reward.Shape)
	each := &diffusion.Condition{Shape: r.reward.Shape, Draw: func(_ noise.Key, path int, dst []float32) { copy(dst, given[path/q.N*y:]) }}
	paths, err := r.sampler(r.engine, h, each, q.Steps).Run(ctx, s.key.Sub("samples"), 0, t.n()*q.N, nil)
	if err != nil {
		return nil, err
	}
	residual, err := r.reward.Residual(ctx, paths.X, paths.Given, paths.N)
	if err != nil {
		return nil, err
	}
	image := r.image()
	scale := image[0] / t.tile[0] // of the result to what was cut
	o := &restored{count: t.n(), members: q.N, samples: paths.X}
	out := &Restored{Operator: r.Operator, Sigma: r.Sigma, Height: t.picture.Height * scale, Width: t.picture.Width * scale, Tiles: t.n(), NetworkCalls: r.engine.NetworkCalls()}
	out.Residual, _ = metric.MeanSE(residual)
	mean := clipped(t.blend(means(paths.X, q.N, r.pixels()), image, scale))
	if err := report.Picture(q.Out, mean, out.Height, out.Width, image[2]); err != nil {
		return nil, err
	}
	sd := spread(o, r.pixels())
	for _, v := range sd {
		out.Spread += float64(v) / float64(len(sd))
	}
	if q.Spread != "" {
		shades, _ := shaded(t.blend(sd, image, scale))
		if err := report.Picture(q.Spread, shades, out.Height, out.Width, image[2]); err != nil {
			return nil, err
		}
	}
	out.PSNR, out.SSIM = nan, nan
	if q.Measure {
		shape := []int{out.Height, out.Width, image[2]}
		out.PSNR, out.SSIM = finetune.Number(metric.PSNR(mean, t.picture.Pixels, len(mean))[0]), finetune.Number(metric.SSIM(mean, t.picture.Pixels, shape)[0])
	}
	return out, nil
}

// readPicture reads an image file as one image of 1 or 3 channels.
func readPicture(path string, channels int) (data.Images, error) {
	f, err := os.Open(path)
	if err != nil {
		return data.Images{}, fmt.Errorf("%w: %w", ErrPicture, err)
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	if err != nil {
		return data.Images{}, fmt.Errorf("%w %s: %w; want PNG, JPEG or GIF", ErrPicture, path, err)
	}
	size := m.Bounds().Size()
	out := data.Images{N: 1, Height: size.Y, Width: size.X, Channels: channels}
	for y := range size.Y {
		for x := range size.X {
			c := m.At(m.Bounds().Min.X+x, m.Bounds().Min.Y+y)
			values := []uint16{color.Gray16Model.Convert(c).(color.Gray16).Y}
			if channels == 3 {
				r, g, b, _ := c.RGBA()
				values = []uint16{uint16(r), uint16(g), uint16(b)}
			}
			for _, v := range values {
				out.Pixels = append(out.Pixels, float32(v)/32767.5-1)
			}
		}
	}
	return out, nil
}

// tiling covers a picture with tiles of one size that overlap. A picture that is smaller than a tile is continued by its
// border.
type tiling struct {
	picture data.Images
	tile    []int // height, width, channels
	tops    []int
	lefts   []int
}

func newTiling(picture data.Images, tile []int) tiling {
	starts := func(length, side int) []int {
		step := max(1, side-int(overlap*float64(side)))
		var out []int
		for at := 0; ; at += step {
			if at+side >= length {
				return append(out, max(0, length-side))
			}
			out = append(out, at)
		}
	}
	return tiling{picture: picture, tile: tile, tops: starts(picture.Height, tile[0]), lefts: starts(picture.Width, tile[1])}
}

func (t tiling) n() int { return len(t.tops) * len(t.lefts) }

// cut returns the tiles, [n, height, width, channels].
func (t tiling) cut() []float32 {
	var out []float32
	p := t.picture
	for _, top := range t.tops {
		for _, left := range t.lefts {
			for y := range t.tile[0] {
				for x := range t.tile[1] {
					at := (min(top+y, p.Height-1)*p.Width + min(left+x, p.Width-1)) * p.Channels
					out = append(out, p.Pixels[at:at+p.Channels]...)
				}
			}
		}
	}
	return out
}

// blend puts results of the tiles together, which are larger than the tiles by a factor. Their weights fall toward
// the border of a tile, so that no seam shows.
func (t tiling) blend(results []float32, image []int, factor int) []float32 {
	height, width, channels := t.picture.Height*factor, t.picture.Width*factor, image[2]
	sum, weight := make([]float64, height*width*channels), make([]float64, height*width)
	hat := func(at, side int) float64 { // 1 in the middle, falling over the overlap
		edge := float64(min(at, side-1-at)) + 0.5
		return math.Min(1, edge/(overlap*float64(side)))
	}
	tile := 0
	for _, top := range t.tops {
		for _, left := range t.lefts {
			from := results[tile*engine.Size(image):]
			tile++
			for y := range min(image[0], height-top*factor) {
				for x := range min(image[1], width-left*factor) {
					w := hat(y, image[0]) * hat(x, image[1])
					at := (top*factor+y)*width + left*factor + x
					weight[at] += w
					for c := range channels {
						sum[at*channels+c] += w * float64(from[(y*image[1]+x)*channels+c])
					}
				}
			}
		}
	}
	out := slices.Repeat([]float32{0}, len(sum))
	for i := range out {
		out[i] = float32(sum[i] / weight[i/channels])
	}
	return out
}
