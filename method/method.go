package method

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/config"
)

// Method samples the law of a target, after it has learned or tuned what it needs. Its exported fields are its settings, by their names
// in YAML.
type Method interface {
	// About says what the method is called, and what it needs.
	About() About
	// Check notes settings that are out of range, under a key.
	Check(c *config.Check, key string)
	// Cost predicts what Fit and Sample will take for one target.
	Cost(w Work) Cost
	// Fit learns or tunes a control; nil where there is none.
	Fit(ctx context.Context, t *Target) (Fitted, error)
	// Sample draws as many samples as the target asks for.
	Sample(ctx context.Context, t *Target, h diffusion.Control) (*Samples, error)
}

// Loader is implemented by methods that make their control again, of the scales that Fit has found, from what other methods have learned.
type Loader interface {
	Load(ctx context.Context, t *Target, scale []float64) (diffusion.Control, error)
}

// About is what is said of a method.
type About struct {
	Name  string // in YAML and JSON
	Title string // for people
	Needs Needs
	Of    string // the learned method whose h it takes; "" for none
	Zero  bool   // it samples the law of the base model, r = 0, whatever the reward of the target
}

// Needs are what a target must offer.
type Needs uint

// What a method may need.
const (
	Gradient      Needs = 1 << iota // ∇r: the reward is a graph function
	Likelihood                      // r = −‖misfit‖²/2
	Unconditional                   // paths are not conditioned on anything
	Learning                        // an h with parameters
)

// Missing names the needs that an offer does not meet.
func (n Needs) Missing(offer Needs) string {
	var missing []string
	for i, name := range []string{"a reward with a gradient", "a reward that is the likelihood of a measurement", "paths without conditions", "an h to learn"} {
		if bit := Needs(1) << i; n&bit != 0 && offer&bit == 0 {
			missing = append(missing, name)
		}
	}
	return strings.Join(missing, " and ")
}

// Fitted is what a method has learned or tuned.
type Fitted struct {
	Control diffusion.Control // nil for none
	Scale   []float64         // of guidance or amplification, or of each stage, as tuned; nil for none
}

var (
	registered   []func() Method
	combinations = map[string]func(of string) Method{}
)

// register makes a method known. Its value is the sum of its defaults.
func register(make func() Method) bool {
	registered = append(registered, make)
	return true
}

// combine makes methods known that take the h of another one: those named like it with an ending.
func combine(ending string, make func(of string) Method) bool {
	combinations[ending] = make
	return true
}

// Names lists all methods that stand for themselves, and the endings of those that take the h of another one.
func Names() (names, endings []string) {
	for _, make := range registered {
		names = append(names, make().About().Name)
	}
	for ending := range combinations {
		endings = append(endings, ending)
	}
	slices.Sort(names)
	slices.Sort(endings)
	return names, endings
}

// New returns a method by name with its default settings, nil if there is none of that name.
func New(name string) Method {
	for _, make := range registered {
		if m := make(); m.About().Name == name {
			return m
		}
	}
	for ending, make := range combinations {
		if of, ok := strings.CutSuffix(name, ending); ok && of != "" {
			return make(of)
		}
	}
	return nil
}

// Learns reports whether a method trains an h.
func Learns(m Method) bool { return m.About().Needs&Learning != 0 }

// noFit is embedded by methods without a control.
type noFit struct{}

func (noFit) Fit(context.Context, *Target) (Fitted, error) { return Fitted{}, nil }

// noSettings is embedded by methods without settings.
type noSettings struct{}

func (noSettings) Check(*config.Check, string) {}

// draws is embedded by methods that sample P^h as it is.
type draws struct{}

func (draws) Sample(ctx context.Context, t *Target, h diffusion.Control) (*Samples, error) {
	return t.Draw(ctx, h, 0)
}

// another is embedded by methods that take the h of another one.
type another struct{ of string }

func (a another) Fit(ctx context.Context, t *Target) (Fitted, error) {
	h, err := t.Learned(ctx, a.of)
	return Fitted{Control: h}, err
}

func (a another) Load(ctx context.Context, t *Target, _ []float64) (diffusion.Control, error) {
	return t.Learned(ctx, a.of)
}

// about describes a method that takes the h of another one.
func (a another) about(ending, title string, needs Needs) About {
	inner, zero := a.of, false
	if m := New(a.of); m != nil {
		inner, _, _ = strings.Cut(m.About().Title, " (")
		zero = m.About().Zero
	}
	return About{Name: a.of + ending, Title: fmt.Sprintf(title, inner), Needs: needs, Of: a.of, Zero: zero}
}

// Plain reports whether the samples of a method are those of a control on all paths, and so cheap to draw again: nothing is selected or
// resampled.
func Plain(m Method) bool {
	_, ok := m.(interface{ Plain() })
	return ok
}

// Plain marks a method as [Plain].
func (draws) Plain() {}

// Apart reports whether a method's log Z is not that of the others on its target: it is of another chain, or another reward.
func Apart(m Method) bool {
	_, ok := m.(interface{ Apart() })
	return ok || m.About().Zero
}

// Selects reports whether a method learns from endpoints that it selects.
func Selects(m Method) bool {
	_, ok := m.(interface{ Shared() *Supervised })
	return ok
}
