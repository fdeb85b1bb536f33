package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/doob-diffusion/doob/experiment"
)

type doctorCommand struct {
	Backend string `default:"${backend}" help:"Tensor backend: ${backends}."`
	Dir     string `default:"." type:"existingdir" help:"Where runs would be kept."`
}

func (c *doctorCommand) Run(ctx context.Context, t *terminal) error {
	fmt.Fprintf(t.out, "doob       %s, %s, %s/%s, %d processors\n", experiment.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	failed := 0
	for _, check := range experiment.Examine(ctx, c.Backend, c.Dir) {
		mark := "ok"
		if check.Err != nil {
			mark = "FAILED"
			failed++
			fmt.Fprintf(t.out, "%-10s %s: %v\n", check.Name, mark, check.Err)
			continue
		}
		fmt.Fprintf(t.out, "%-10s %s: %s\n", check.Name, mark, check.Finding)
	}
	if failed > 0 {
		return fmt.Errorf("%d of the checks failed", failed)
	}
	return nil
}
