package cpu

import "github.com/doob-diffusion/doob/cpu/internal/kern"

// InstructionSets returns the names of the instruction sets that this machine and build can run, the fastest first and
// "generic" last. Each is an option of [New].
func InstructionSets() []string {
	var names []string
	for _, table := range kern.Tables() {
		names = append(names, table.Name)
	}
	return names
}

// InstructionSet returns the name of the instruction set that [New] takes when no option names one: that of the
// environment's GOMLX_CPU_ISA, or the fastest. One that this machine cannot run is an error.
func InstructionSet() (string, error) {
	table, err := kern.Default()
	if err != nil {
		return "", err
	}
	return table.Name, nil
}
