package cpu_test

import (
	"slices"
	"testing"

	"github.com/doob-diffusion/doob/cpu"
)

func TestInstructionSets(t *testing.T) {
	names := cpu.InstructionSets()
	if names[len(names)-1] != "generic" {
		t.Errorf("got %q, want generic last", names)
	}
	for _, name := range names {
		b, err := cpu.New(name)
		if err != nil {
			t.Fatal(err)
		}
		b.Finalize()
	}
	if got, err := cpu.InstructionSet(); err != nil || !slices.Contains(names, got) {
		t.Errorf("default %q, want one of %q; err = %v", got, names, err)
	}
}
