package restore

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/internal/version"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/reward"
	"github.com/doob-diffusion/doob/steer"
	"github.com/doob-diffusion/doob/vision"
)

// together is how many paths of a restoration are in memory at a time.
const together = 256

// restoring is a restoration on its way.
type restoring struct {
	Restoration
	measured Measured
	picture  *vision.Picture
	tiling   data.Tiling
	key      noise.Key

	sampler      *diffusion.Sampler
	first        int       // tile whose measurement is the first one given
	given        []float32 // measurements of some tiles
	mean, spread *data.Blend
	residual, sd float64 // sums over paths and pixels
	agreement    agreement
}

// scale is that of the result to the picture.
func (r *restoring) scale() int { return r.measured.Likelihood.Image[0] / r.tiling.Tile[0] }

// learned reports whether what the run has learned is for these measurements.
func (r *restoring) learned() bool {
	if r.measured.Amortised {
		return true
	}
	y := r.measured.Y
	if y == nil || r.Measure || r.picture.Height != r.tiling.Tile[0] || r.picture.Width != r.tiling.Tile[1] {
		return false
	}
	for i, v := range r.tiling.Cut(0, 1, r.picture.Values) {
		if d := v*r.measured.Likelihood.Observed[i] - y[i]; d > 1e-4 || d < -1e-4 { // below what 16 bits tell apart
			return false
		}
	}
	return true
}

// guided is the control of a prior alone: the score of the likelihood of a measurement at every noise level, as it is if the data are normal.
func (r *restoring) guided() diffusion.Control {
	m := r.measured
	return steer.Twisted{Reward: m.Likelihood, Scale: 1, Weight: reward.Anneal(m.Likelihood.Sigma, m.Spread)}
}

// all restores all tiles, some at a time: path i has its own noise, whatever paths are beside it.
func (r *restoring) all(ctx context.Context, l *experiment.Lab) (*Restored, error) {
	m, n, image, learned, name := r.measured, r.tiling.N(), r.measured.Likelihood.Image, r.learned(), "base"
	if learned {
		name = "importance"
	}
	chunk := min(n, max(1, together/r.N))
	h, target, err := l.Learned(ctx, "", name, chunk*r.N)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	if !learned {
		h = r.guided()
	}
	y := engine.Size(m.Likelihood.Shape)
	r.sampler = target.Sampler(h, &diffusion.Condition{Shape: m.Likelihood.Shape, Draw: func(_ noise.Key, path int, dst []float32) { copy(dst, r.given[(path/r.N-r.first)*y:]) }}, r.Steps)

	scale := r.scale()
	out := &Restored{Operator: m.Operator, Sigma: m.Likelihood.Sigma, Learned: learned, Height: r.tiling.Height * scale, Width: r.tiling.Width * scale, Transparent: r.picture.Transparent, Tiles: n}
	result, err := vision.NewCanvas(r.Out, out.Height, out.Width, image[2])
	if err != nil {
		return nil, err
	}
	defer result.Close()
	r.agreement = agreement{picture: r.picture, width: out.Width, channels: image[2]}
	r.mean = r.tiling.Blend(image, scale, func(rows []float32) error {
		rows = imaging.Clipped(rows)
		if r.Measure {
			r.agreement.add(rows)
		}
		return result.Append(levels(rows))
	})
	var shades shades
	if r.Restoration.Spread != "" {
		if shades.canvas, err = vision.NewCanvas(r.Restoration.Spread, out.Height, out.Width, image[2]); err != nil {
			return nil, err
		}
		defer shades.canvas.Close()
		r.spread = r.tiling.Blend(image, scale, shades.add)
	}
	for r.first = 0; r.first < n; r.first += chunk {
		r.tell(r.first)
		if err := r.tiles(ctx, min(chunk, n-r.first)); err != nil {
			return nil, err
		}
	}
	r.tell(n)
	if err := result.Save(r.Out, func(v uint16) uint8 { return uint8(v) }); err != nil {
		return nil, err
	}
	if err := r.annotate(len(r.sampler.Steps)); err != nil {
		return nil, err
	}
	if shades.canvas != nil {
		if err := shades.save(r.Restoration.Spread); err != nil {
			return nil, err
		}
	}
	out.NetworkCalls = target.Engine.NetworkCalls()
	out.Residual, out.Spread = r.residual/float64(n*r.N), r.sd/float64(n*engine.Size(image))
	out.PSNR, out.SSIM = math.NaN(), math.NaN()
	if r.Measure {
		out.PSNR, out.SSIM = r.agreement.psnr(), r.agreement.ssim()
	}
	return out, nil
}

// annotate notes in a PNG what it takes to restore the picture again.
func (r *restoring) annotate(steps int) error {
	if is, err := vision.IsJPEG(r.Out); err != nil || is {
		return err
	}
	settings := fmt.Sprintf("samples %d, steps %d, measured %t", r.N, steps, r.Measure)
	return report.Annotate(r.Out, []report.Note{{Key: "run", Text: filepath.Base(filepath.Clean(r.Folder))}, {Key: "seed", Text: fmt.Sprint(r.Seed)}, {Key: "settings", Text: settings},
		{Key: "Software", Text: "doob " + version.String()}})
}

func (r *restoring) tell(done int) {
	if r.Observe != nil {
		r.Observe(done, r.tiling.N())
	}
}

// tiles restores n tiles from r.first on.
func (r *restoring) tiles(ctx context.Context, n int) error {
	likelihood, dim := r.measured.Likelihood, engine.Size(r.measured.Likelihood.Image)
	r.given = r.tiling.Cut(r.first, n, r.picture.Values)
	if r.Measure {
		var err error
		if r.given, err = likelihood.Measure(ctx, r.given, r.first, n, r.key.Sub("measure")); err != nil {
			return err
		}
	}
	paths, err := r.sampler.Run(ctx, r.key.Sub("samples"), r.first*r.N, n*r.N, nil)
	if err != nil {
		return err
	}
	for _, v := range paths.X {
		if v-v != 0 {
			return errors.New("restore: samples are not of finite numbers: the run's networks are damaged, or its training has diverged")
		}
	}
	residual, err := likelihood.Residual(ctx, paths.X, paths.Given, paths.N)
	if err != nil {
		return err
	}
	for _, v := range residual {
		r.residual += v
	}
	sd := imaging.Spread(&method.Samples{Count: n, Members: r.N, X: paths.X}, dim)
	for _, v := range sd {
		r.sd += float64(v)
	}
	if r.spread != nil {
		if err := r.spread.Add(sd); err != nil {
			return err
		}
	}
	return r.mean.Add(imaging.Means(paths.X, r.N, dim))
}
