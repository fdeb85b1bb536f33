package vec

import (
	"fmt"

	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// UpsampleSpec is the shape of nearest-neighbour upsampling of x [Batch, Height, Width, Channels] by an integer factor f:
// y [Batch, f·Height, f·Width, Channels] with y[b, i, j] = x[b, i/f, j/f].
type UpsampleSpec struct{ Batch, Height, Width, Channels, Factor int }

// Upsample is a prepared upsampling. A part is some rows of x.
type Upsample struct {
	spec              UpsampleSpec
	rows              int
	ctx               *kern.Context
	dst, src          []float32
	forward, backward func(part, worker int)
}

// PrepareUpsample divides the work.
func PrepareUpsample(spec UpsampleSpec) (*Upsample, error) {
	if spec.Batch < 0 || spec.Height < 0 || spec.Width < 0 || spec.Channels < 0 {
		return nil, fmt.Errorf("vec: upsampling of shape [%d, %d, %d, %d]: expected dimensions of at least 0", spec.Batch, spec.Height, spec.Width, spec.Channels)
	}
	if spec.Factor < 1 {
		return nil, fmt.Errorf("vec: upsampling by %d: expected a factor of at least 1", spec.Factor)
	}
	u := &Upsample{spec: spec}
	u.rows = max(1, grain/max(1, spec.Width*spec.Channels*spec.Factor*spec.Factor))
	u.forward, u.backward = u.forwardPart, u.backwardPart
	return u, nil
}

// Forward computes y from x.
func (u *Upsample) Forward(ctx *kern.Context, y, x []float32) {
	check("y of upsampling", y, u.size()*u.spec.Factor*u.spec.Factor)
	check("x of upsampling", x, u.size())
	u.run(ctx, u.forward, y, x)
}

// Backward computes dx, the sums of dy over the f·f copies of each value of x.
func (u *Upsample) Backward(ctx *kern.Context, dx, dy []float32) {
	check("dx of upsampling", dx, u.size())
	check("dy of upsampling", dy, u.size()*u.spec.Factor*u.spec.Factor)
	u.run(ctx, u.backward, dx, dy)
}

func (u *Upsample) size() int { return u.spec.Batch * u.spec.Height * u.spec.Width * u.spec.Channels }

func (u *Upsample) run(ctx *kern.Context, part func(part, worker int), dst, src []float32) {
	if u.size() == 0 {
		return
	}
	u.ctx, u.dst, u.src = ctx, dst, src
	run(ctx, ceil(u.spec.Batch*u.spec.Height, u.rows), u.size()*u.spec.Factor*u.spec.Factor, part)
	u.ctx, u.dst, u.src = nil, nil, nil
}

func (u *Upsample) forwardPart(part, _ int) {
	factor, channels, width := u.spec.Factor, u.spec.Channels, u.spec.Width*u.spec.Channels
	first, last := span(part, u.rows, u.spec.Batch*u.spec.Height)
	for row := first; row < last; row++ {
		x := u.src[row*width : (row+1)*width]
		y := u.dst[row*factor*factor*width : (row+1)*factor*factor*width]
		for at, to := 0, 0; at < width; at += channels {
			for range factor {
				copy(y[to:to+channels], x[at:])
				to += channels
			}
		}
		for i := 1; i < factor; i++ {
			copy(y[i*factor*width:(i+1)*factor*width], y)
		}
	}
}

// backwardPart adds the f rows of dy into scratch, some pixels at a time so that it stays in L1, then f neighbours there.
func (u *Upsample) backwardPart(part, worker int) {
	const cached = 4096
	v := &u.ctx.Vec
	factor, channels, width := u.spec.Factor, u.spec.Channels, u.spec.Width*u.spec.Channels
	first, last := span(part, u.rows, u.spec.Batch*u.spec.Height)
	step := max(1, cached/(factor*channels)) * channels
	scratch := u.ctx.Scratch(worker, factor*step)
	for row := first; row < last; row++ {
		dx := u.dst[row*width : (row+1)*width]
		dy := u.src[row*factor*factor*width : (row+1)*factor*factor*width]
		for from := 0; from < width; from += step {
			to := min(from+step, width)
			n := factor * (to - from)
			sum := dy[factor*from:][:n]
			for i := 1; i < factor; i++ {
				v.Add(&scratch[0], &sum[0], &dy[i*factor*width+factor*from], n)
				sum = scratch[:n]
			}
			for at := from; at < to; at += channels {
				pixel := sum[factor*(at-from):]
				copy(dx[at:at+channels], pixel)
				for i := 1; i < factor; i++ {
					v.Add(&dx[at], &dx[at], &pixel[i*channels], channels)
				}
			}
		}
	}
}
