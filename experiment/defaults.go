package experiment

import (
	"context"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
)

// What a problem has that says nothing of its own.

// Check implements [Problem].
func (*Common) Check(*config.Check) {}

// Offers implements [Problem].
func (*Common) Offers() method.Needs {
	return method.Gradient | method.Unconditional | method.Learning
}

// Tasks implements [Problem].
func (*Common) Tasks() []string { return []string{""} }

// GroupOf implements [Problem].
func (*Common) GroupOf(string) (name, title string) { return "", "" }

// Load implements [Problem].
func (*Common) Load() (data.Source, error) { return data.Source{}, nil }

// Networks implements [Problem].
func (*Common) Networks() []Network { return nil }

// Prepare implements [Problem].
func (*Common) Prepare(context.Context, *Lab) error { return nil }

// Keys implements [Problem]: of a task, all methods share the noise of their samples, and those that learn start from the same h.
func (*Common) Keys(seed uint64, task, name string) method.Keys {
	key := noise.New(seed).Sub("repetition")
	own := key.Sub(task)
	return method.Keys{Root: own, Start: key.Sub("h"), Loop: own.Sub(name), Particles: own.Sub("particles")}
}

// References implements [Problem].
func (*Common) References(context.Context, *Lab) (map[string]Result, error) { return nil, nil }

// Reference implements [Problem].
func (*Common) Reference() string { return "Target" }

// Alike implements [Problem].
func (*Common) Alike() []string { return nil }

// Describe implements [Problem].
func (*Common) Describe(*Lab) map[string]any { return nil }

// Title implements [Problem].
func (c *Common) Title() string { return c.entry.About }

// Notes implements [Problem].
func (*Common) Notes(*Report) []string { return nil }

// Figures implements [Problem].
func (*Common) Figures(context.Context, *Lab, *Report) ([]report.Section, error) { return nil, nil }

// Picture implements [Problem].
func (*Common) Picture(string, []float32, int, int) error { return nil }
