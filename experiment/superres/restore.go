package superres

import (
	"context"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

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
	Residual      float64 // ‖Ax−y‖²/(nσ²) of the samples, over the tiles
	Spread        float64 // mean of the standard deviations, on the scale of [−1, 1]
	PSNR, SSIM    float64 // of the result against the picture, with Measure
}

// Restore restores a picture of any size, tile by tile: every tile is a measurement of as many pixels as the model was
// trained for, and results are blended where tiles overlap. Operators that do not see all alike, such as a hole, take pictures
// of one tile only.
func Restore(ctx context.Context, q Restoration) (*Restored, error) {
	if q.N < 1 {
		return nil, fmt.Errorf("restore: %d samples: want at least 1", q.N)
	}
	l, err := experiment.Reopen(ctx, q.Folder, q.Backend)
	if err != nil {
		return nil, err
	}
	p, ok := l.Problem().(*Problem)
	if !ok {
		return nil, fmt.Errorf("restore: %s is no run of superres", q.Folder)
	}
	if err := p.likelihood(ctx, l.Engine); err != nil {
		return nil, err
	}
	picture, err := data.ReadPicture(q.Picture, p.channels())
	if err != nil {
		return nil, err
	}
	tile := p.reward.Shape // of a measurement
	if q.Measure {
		tile = p.image()
	}
	if p.Operator == "inpaint" && (picture.Height != tile[0] || picture.Width != tile[1]) {
		return nil, fmt.Errorf("%w %s: it has %d×%d pixels, but inpainting has its hole in the middle of %d×%d", data.ErrPicture, q.Picture, picture.Height, picture.Width, tile[0], tile[1])
	}
	return q.restore(ctx, l, p, data.NewTiling(picture, tile))
}

func (q Restoration) restore(ctx context.Context, l *experiment.Lab, p *Problem, t data.Tiling) (*Restored, error) {
	h, target, err := l.Learned(ctx, "", "importance", t.N()*q.N)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	given := t.Cut()
	if q.Measure {
		if given, err = p.reward.Measure(ctx, given, t.N(), noise.New(q.Seed).Sub("measure")); err != nil {
			return nil, err
		}
	}
	y := engine.Size(p.reward.Shape)
	each := &diffusion.Condition{Shape: p.reward.Shape, Draw: func(_ noise.Key, path int, dst []float32) { copy(dst, given[path/q.N*y:]) }}
	paths, err := target.Sampler(h, each, q.Steps).Run(ctx, noise.New(q.Seed).Sub("samples"), 0, t.N()*q.N, nil)
	if err != nil {
		return nil, err
	}
	residual, err := p.reward.Residual(ctx, paths.X, paths.Given, paths.N)
	if err != nil {
		return nil, err
	}
	image := p.image()
	scale := image[0] / t.Tile[0] // of the result to what was cut
	s := &method.Samples{Count: t.N(), Members: q.N, X: paths.X}
	out := &Restored{Operator: p.Operator, Sigma: p.Sigma, Height: t.Picture.Height * scale, Width: t.Picture.Width * scale, Tiles: t.N(), NetworkCalls: target.Engine.NetworkCalls()}
	out.Residual, _ = metric.MeanSE(residual)
	mean := clipped(t.Blend(means(paths.X, q.N, p.pixels()), image, scale))
	if err := report.Picture(q.Out, mean, out.Height, out.Width, image[2]); err != nil {
		return nil, err
	}
	sd := spread(s, p.pixels())
	for _, v := range sd {
		out.Spread += float64(v) / float64(len(sd))
	}
	if q.Spread != "" {
		shades, _ := shaded(t.Blend(sd, image, scale))
		if err := report.Picture(q.Spread, shades, out.Height, out.Width, image[2]); err != nil {
			return nil, err
		}
	}
	out.PSNR, out.SSIM = math.NaN(), math.NaN()
	if q.Measure {
		shape := []int{out.Height, out.Width, image[2]}
		out.PSNR, out.SSIM = metric.PSNR(mean, t.Picture.Pixels, len(mean))[0], metric.SSIM(mean, t.Picture.Pixels, shape)[0]
	}
	return out, nil
}
