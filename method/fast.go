package method

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
)

// Fast draws with a learned h in fewer steps than it has learned with; more are as welcome. It is called by the name of the method that
// has learned h and the ending _fast.
type Fast struct {
	another `yaml:"-"`
	Steps   int `yaml:"steps"`
}

var _ = combine("_fast", func(of string) Method { return &Fast{another: another{of}, Steps: 6} })

// About implements [Method].
func (f *Fast) About() About { return f.about("_fast", "%s, "+fmt.Sprintf("%d steps", f.Steps), 0) }

// Check implements [Method].
func (f *Fast) Check(c *config.Check, key string) { c.Positive(key+".steps", f.Steps) }

// Cost implements [Method].
func (f *Fast) Cost(w Work) Cost {
	return Cost{Paths: w.drawn(), Steps: float64(f.Steps), Networks: w.learned(), Rows: w.Samples}
}

// Sample implements [Method].
func (f *Fast) Sample(ctx context.Context, t *Target, h diffusion.Control) (*Samples, error) {
	return t.Draw(ctx, h, f.Steps)
}

// Plain marks a method as [Plain].
func (*Fast) Plain() {}

// Apart marks a method as [Apart]: a chain of other steps has another log Z.
func (*Fast) Apart() {}
