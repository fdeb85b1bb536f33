package cpu_test

import (
	"testing"

	"github.com/gomlx/compute/support/backendtest"

	"github.com/doob-diffusion/doob/cpu"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// The compliance suite of compute, on every instruction set of this machine.
func TestCompliance(t *testing.T) {
	for _, table := range kern.Tables() {
		t.Run(table.Name, func(t *testing.T) {
			backend, err := cpu.New(table.Name + ",workers=2")
			if err != nil {
				t.Fatal(err)
			}
			defer backend.Finalize()
			backendtest.RunAll(t, backend, nil)
		})
	}
}
