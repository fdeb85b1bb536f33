package experiment_test

import (
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
)

// A batch that was dropped is told from one of which nothing happened to be accepted.
func TestDroppedIsShown(t *testing.T) {
	for dropped, want := range map[bool]string{true: "0 (dropped)", false: "0"} {
		fields := experiment.Event{Iteration: &finetune.Event{Dropped: dropped}}.Fields()
		if !slices.Contains(fields, [2]string{"acceptance", want}) {
			t.Errorf("dropped %t: fields %v, want an acceptance of %q", dropped, fields, want)
		}
	}
}
