package restore

import (
	"context"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/reward"
)

// Prior is a problem whose base model is over pictures.
type Prior interface {
	experiment.Problem
	// Measures prepares the problem of a lab that was reopened for measurements by an operator with some noise; "" means those that the run is about. What it
	// returns has the target's reward as its likelihood.
	Measures(ctx context.Context, l *experiment.Lab, operator string, sigma float64) (Measured, error)
}

// Measured is the likelihood of measurements, and what a run has learned for it.
type Measured struct {
	Operator   string
	Likelihood *reward.Inverse
	Spread     float64   // ‖A‖²: AAᵀ ≈ spread·I, or less
	Amortised  bool      // h serves any measurement (56)
	Y          []float32 // h serves this one; nil for none
}

// NewMeasured makes the likelihood for images of a shape, measured so many at a time.
func NewMeasured(ctx context.Context, e *engine.Engine, operator string, sigma float64, image []int, batch int) (Measured, error) {
	a, err := reward.NewOperator(operator, image)
	if err != nil {
		return Measured{}, err
	}
	r, err := reward.NewInverse(e, a, sigma, image, batch, nil)
	if err != nil {
		return Measured{}, err
	}
	spread, err := r.Norm(ctx, 50, noise.New(0).Sub("norm"))
	return Measured{Operator: operator, Likelihood: r, Spread: spread}, err
}
