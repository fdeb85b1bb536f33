package serve

import (
	"errors"
	"fmt"
	"slices"
	"unicode/utf8"

	"github.com/doob-diffusion/doob/experiment"
)

// Bounds of what can be asked for. The OpenAPI file says them too, and a test holds them together.
const (
	mostSamples  = 256
	mostPictures = 16 // that are generated, or whose mean restores one
	mostSteps    = 1000
	mostText     = 2000 // characters
	mostStrength = 10
	mostGuidance = 50
	mostSide     = 1024
	mostSeed     = 1<<53 - 1 // what a number of JSON can say
	mostPicture  = 8 << 20   // bytes
	mostPixels   = 1 << 20   // of a picture to restore
)

// check refuses what is out of range, or not offered.
func (r Request) check(o offer) error {
	var errs []error
	that := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, v, least, most float64) {
		that(v >= least && v <= most, "%s is %g, want %g to %g", name, v, least, most)
	}
	most := mostPictures
	if r.Sample != nil {
		most = mostSamples
	}
	within("n", float64(r.N), 1, float64(most))
	within("steps", float64(r.Steps), 1, mostSteps)
	that(r.Seed <= mostSeed, "seed is %d, want at most %d", r.Seed, uint64(mostSeed))
	one := func(name, v string, choices []experiment.Choice) {
		that(slices.ContainsFunc(choices, func(c experiment.Choice) bool { return c.Name == v }), "%s is %q, want %s", name, v, quoted(choices))
	}
	switch {
	case r.Sample != nil:
		s := r.Sample
		one("method", s.Method, o.Methods)
		if len(o.Tasks) > 0 {
			one("task", s.Task, o.Tasks)
		}
		that(len(o.Tasks) > 0 || o.Numbered || s.Task == "", "task is %q, want none: the run has a single one", s.Task)
		that(utf8.RuneCountInString(s.Task) <= mostText, "task is longer than %d characters", mostText)
		that(s.Strength > 0 && s.Strength <= mostStrength, "strength is %g, want more than 0 and at most %d", s.Strength, mostStrength)
		that(s.Format == "png" || s.Format == "csv", "format is %q, want png or csv", s.Format)
	case r.Generate != nil:
		g := r.Generate
		for name, text := range map[string]string{"prompt": g.Prompt, "negative": g.Negative} {
			that(utf8.RuneCountInString(text) <= mostText, "%s has more than %d characters", name, mostText)
		}
		that(g.Prompt != "", "prompt is empty, want what to draw")
		within("guidance", g.Guidance, 0, mostGuidance)
		within("eta", g.Eta, 0, 1)
		within("height", float64(g.Height), 0, mostSide)
		within("width", float64(g.Width), 0, mostSide)
		that((g.Height == 0) == (g.Width == 0), "height is %d and width %d, want both, or 0 for the model's own", g.Height, g.Width)
		within("strength", g.Strength, -mostStrength, mostStrength)
		if g.LoRA != "" {
			one("lora", g.LoRA, o.LoRAs)
		}
	case r.Restore != nil:
		that(len(r.Restore.Picture) > 0, "picture is missing: want a PNG, JPEG, GIF or WebP")
		within("bytes of the picture", float64(len(r.Restore.Picture)), 0, mostPicture)
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", errRequest, errors.Join(errs...))
	}
	return nil
}

// quoted lists names for people.
func quoted(choices []experiment.Choice) string {
	if len(choices) == 0 {
		return "none"
	}
	const some = 12
	text := ""
	for i, c := range choices[:min(some, len(choices))] {
		if i > 0 {
			text += ", "
		}
		text += fmt.Sprintf("%q", c.Name)
	}
	if len(choices) > some {
		text += fmt.Sprintf(" or %d others", len(choices)-some)
	}
	return text
}
