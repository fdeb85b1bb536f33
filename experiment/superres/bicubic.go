package superres

import (
	"context"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/experiment/imaging"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/reward"
)

// Bicubic is what can be done without a prior: bicubic upsampling, or for operators other than averages, backprojection.
type Bicubic struct{}

var _ method.Method = (*Bicubic)(nil)

// About implements [method.Method].
func (*Bicubic) About() method.About {
	return method.About{Name: "bicubic", Title: "Bicubic upsampling"}
}

// Check implements [method.Method].
func (*Bicubic) Check(*config.Check, string) {}

// Cost implements [method.Method].
func (*Bicubic) Cost(method.Work) method.Cost { return method.Cost{} }

// Fit implements [method.Method].
func (*Bicubic) Fit(context.Context, *method.Target) (method.Fitted, error) {
	return method.Fitted{}, nil
}

// Sample implements [method.Method]: one image for every measurement.
func (*Bicubic) Sample(ctx context.Context, t *method.Target, _ diffusion.Control) (*method.Samples, error) {
	p := t.Of.(*Problem)
	out := &method.Samples{Count: t.Conditions, Members: 1}
	measured := p.measured[:t.Conditions*len(p.measurement(0))]
	if factor, ok := strings.CutPrefix(p.Operator, "average-"); ok {
		f, err := strconv.Atoi(factor)
		out.X = imaging.Clipped(reward.Bicubic(measured, p.reward.Shape, f))
		return out, err
	}
	var err error
	out.X, err = p.backproject(ctx, t.Engine, measured)
	return out, err
}

// Plain marks a method as [method.Plain].
func (*Bicubic) Plain() {}
