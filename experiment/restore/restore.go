// Package restore restores pictures of any size, tile by tile, with what runs have learned: by an h that was learned for such measurements, or else by the
// run's prior under guidance by the likelihood.
package restore

import (
	"context"
	"fmt"
	"math"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/vision"
)

// Restoration says what to restore, and with what.
type Restoration struct {
	Folder string // of the run, whose problem is a [Prior]
	// Operator and Sigma say how the picture was measured, see [reward.NewOperator]; "" and 0 mean that of the run.
	Operator string
	Sigma    float64
	Picture  string // as [vision.Read] takes it: a measurement, or with Measure an image
	Measure  bool   // measure the picture first, with the run's noise, and compare the result with it
	N        int    // samples whose mean is the result; 1 gives a sample
	Steps    int    // of sampling; 0 means those of the run
	Seed     uint64
	Out      string // PNG or JPEG, by its name
	Spread   string // of the pixel-wise standard deviations, PNG or JPEG; "" means none
	Backend  string
	Observe  func(done, total int) // is told how many tiles are done; may be nil
}

// Restored says how a picture was restored.
type Restored struct {
	Operator      string
	Sigma         float64
	Learned       bool // by what the run has learned for such measurements, and not by guidance of its prior
	Height, Width int  // of the result
	Transparent   bool // parts of the picture are; they were put on white
	Tiles         int  // of the picture, one for each measurement that the model can take
	NetworkCalls  int64
	Residual      float64 // ‖Ax−y‖²/(nσ²) of the samples, over the tiles
	Spread        float64 // mean of the standard deviations, on the scale of [−1, 1]
	PSNR, SSIM    float64 // of the result against the picture, with Measure
}

// Restore restores a picture of any size, tile by tile: every tile is a measurement of as many pixels as the model was
// trained for, and results are blended where tiles overlap. Operators that do not see all alike, such as a hole, take pictures
// of one tile only. Some tiles are in memory at a time, and of the result some rows: what it takes beyond the picture itself grows with its width only.
func Restore(ctx context.Context, q Restoration) (*Restored, error) {
	if q.N < 1 {
		return nil, fmt.Errorf("restore: %d samples: want at least 1", q.N)
	}
	if q.Steps < 0 {
		return nil, fmt.Errorf("restore: %d steps: want at least 1, or 0 for those of the run", q.Steps)
	}
	outputs := []string{q.Out}
	if q.Spread != "" {
		outputs = append(outputs, q.Spread)
	}
	if err := vision.CheckOutputs([]string{q.Picture}, outputs...); err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	picture, err := vision.Read(q.Picture)
	if err != nil {
		return nil, err
	}
	if (q.Operator == "") != (q.Sigma == 0) || q.Sigma < 0 || math.IsInf(q.Sigma, 1) || math.IsNaN(q.Sigma) {
		return nil, fmt.Errorf("restore: operator %q and sigma %g: want both, the noise positive on a scale of pictures from −1 to 1, or neither, for those of the run", q.Operator, q.Sigma)
	}
	l, err := experiment.Reopen(ctx, q.Folder, q.Backend)
	if err != nil {
		return nil, err
	}
	p, ok := l.Problem().(Prior)
	if !ok {
		return nil, fmt.Errorf("restore: %s is a run of %s: want one of superres or own, or for the prior of any run over pictures one of own with prior: {run: %s}", q.Folder, l.Kind(), q.Folder)
	}
	m, err := p.Measures(ctx, l, q.Operator, q.Sigma)
	if err != nil {
		return nil, fmt.Errorf("restore: %w", err)
	}
	tile := m.Likelihood.Shape // of a measurement
	if q.Measure {
		tile = m.Likelihood.Image
	}
	if m.Operator == "inpaint" && (picture.Height != tile[0] || picture.Width != tile[1]) {
		return nil, fmt.Errorf("%w %s: it has %d×%d pixels, but inpainting has its hole in the middle of %d×%d", vision.ErrPicture, q.Picture, picture.Width, picture.Height, tile[1], tile[0])
	}
	r := &restoring{Restoration: q, measured: m, picture: picture, tiling: data.NewTiling(picture.Height, picture.Width, tile), key: noise.New(q.Seed)}
	scale := r.scale()
	for _, out := range outputs {
		if err := vision.CheckSize(out, picture.Height*scale, picture.Width*scale); err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
	}
	return r.all(ctx, l)
}
