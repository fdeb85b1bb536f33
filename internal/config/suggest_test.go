package config

import (
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestUnknown(t *testing.T) {
	known := []string{"base", "importance"}
	for got, want := range map[string]string{
		"bsae":           `"bsae", did you mean "base": want one of base, importance`,
		"importance_smk": `"importance_smk", did you mean "importance_smc": want one of base, importance`,
		"nothing":        `"nothing": want one of base, importance`,
		"":               `"": want one of base, importance`,
	} {
		if s := Unknown(got, known, "importance_smc"); s != want {
			t.Errorf("%q: %s, want %s", got, s, want)
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"samples", "importance", "importance_fast", "loop.iterations", "process.steps", "pretrain.steps", "ema"}
	for got, want := range map[string]string{
		"sampels": `, did you mean "samples"?`, "Samples": `, did you mean "samples"?`, "imprtance": `, did you mean "importance"?`, "iteration": `, did you mean "loop.iterations"?`,
		"step": `, did you mean "process.steps" or "pretrain.steps"?`, "steps": `, did you mean "process.steps" or "pretrain.steps"?`, "em": `, did you mean "ema"?`,
		"colour": "", "x": "", "": "",
	} {
		if s := Suggest(got, known); s != want {
			t.Errorf("%q: %q, want %q", got, s, want)
		}
	}
	if d := distance("kitten", "sitting"); d != 3 {
		t.Errorf("kitten and sitting: %d, want 3", d)
	}
	if d := distance("ab", "ba"); d != 1 {
		t.Errorf("a swap: %d, want 1", d)
	}
}

// A key that is not known is told with the one that was meant, at its place.
func TestDecodeSuggests(t *testing.T) {
	for text, want := range map[string]string{
		"sampels: 3\n": `unknown field "sampels", did you mean "samples"?`, "net: {with: 3}\n": `unknown field "with", did you mean "net.width" or "extra.width"?`,
		"width: 3\n": `unknown field "width", did you mean "net.width" or "extra.width"?`, "h: {head: 3}\n": `unknown field "head", did you mean "heads"?`, "colour: 3\n": `unknown field "colour"` + "\n",
	} {
		_, _, err := decode(text)
		oracle.WantError(t, err, want)
	}
}
