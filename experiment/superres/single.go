package superres

import (
	"context"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
)

// Single is importance fine-tuning for one measurement only, which it is measured on.
type Single struct {
	method.Importance `yaml:",inline"`
	Measurement       int `yaml:"measurement"` // from 0
}

var _ method.Method = (*Single)(nil)

// About implements [method.Method].
func (*Single) About() method.About {
	return method.About{Name: "importance_single", Title: "Importance, one measurement", Needs: method.Learning}
}

// Check implements [method.Method].
func (s *Single) Check(c *config.Check, key string) {
	s.Importance.Check(c, key)
	c.That(s.Prefill == 0, "%s.prefill is %d, want 0: base samples know nothing of its measurement", key, s.Prefill)
}

// Cost implements [method.Method].
func (s *Single) Cost(w method.Work) method.Cost {
	w.Samples /= w.Conditions
	return s.Importance.Cost(w)
}

// Fit implements [method.Method].
func (s *Single) Fit(ctx context.Context, t *method.Target) (method.Fitted, error) {
	p := t.Of.(*Problem)
	given, held := t.Given, t.Held
	t.Conditions, t.Group, t.Spread = 1, 0, nil // other processes would take the target's conditions
	t.Given, t.Learn = s.given(p), p.one(s.Measurement)
	t.Held = &method.Held{Given: t.Learn, Key: held.Key, Paths: t.Samples}
	fitted, err := s.Importance.Fit(ctx, t)
	t.Given = given
	return fitted, err
}

// Sample implements [method.Method].
func (s *Single) Sample(ctx context.Context, t *method.Target, h diffusion.Control) (*method.Samples, error) {
	t.Conditions, t.Given = 1, s.given(t.Of.(*Problem))
	out, err := t.Draw(ctx, h, 0)
	if err == nil {
		out.From = s.Measurement
	}
	return out, err
}

// Apart marks the method as [method.Apart]: one measurement has another log Z than all on average.
func (*Single) Apart() {}

func (s *Single) given(p *Problem) func(from, each int) *diffusion.Condition {
	return func(int, int) *diffusion.Condition { return p.one(s.Measurement) }
}
