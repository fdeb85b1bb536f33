package imaging

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/internal/config"
)

// Weighted says how much a reward counts in the sum that is trained on, and what it is called.
type Weighted struct {
	Name   string   `yaml:"name,omitempty"`   // in results; none means that of its kind
	Weight *float64 `yaml:"weight,omitempty"` // in the sum; none means 1
}

// Factor returns the weight.
func (w Weighted) Factor() float64 {
	if w.Weight == nil {
		return 1
	}
	return *w.Weight
}

// Check checks the weight of a reward that is trained on, or only measured.
func (w Weighted) Check(c *config.Check, key string, trained bool) {
	f := w.Factor()
	c.That(f != 0 && !math.IsInf(f, 0) && !math.IsNaN(f), "%s.weight is %g, want a number that is not 0: what is to be measured and not trained on stands under evaluate", key, f)
	c.That(trained || w.Weight == nil, "%s has a weight, but what is under evaluate is not trained on", key)
}

// ResultName makes the name of a reward in results of what it is called: another one than those that are taken.
func ResultName(called string, trained bool, taken []string) string {
	words := strings.FieldsFunc(strings.ToLower(called), func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r > 127) })
	name := "reward_" + strings.Join(words, "_")
	if !trained {
		name = "held_out_" + strings.Join(words, "_")
	}
	unique := name
	for n := 2; slices.Contains(taken, unique); n++ {
		unique = fmt.Sprintf("%s_%d", name, n)
	}
	return unique
}
