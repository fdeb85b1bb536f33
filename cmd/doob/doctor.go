package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/doob-diffusion/doob/internal/doctor"
	"github.com/doob-diffusion/doob/internal/version"
)

type doctorCommand struct {
	Backend string `default:"${backend}" help:"Tensor backend: ${backends}."`
	Dir     string `default:"." type:"existingdir" help:"Where runs would be kept."`
}

func (c *doctorCommand) Run(ctx context.Context, t *terminal) error {
	fmt.Fprintf(t.out, "doob       %s, %s, %s/%s, %d processors\n", version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0))
	failed := 0
	for _, f := range doctor.Examine(ctx, c.Backend, c.Dir) {
		if f.Err != nil {
			failed++
			fmt.Fprintf(t.out, "%-10s FAILED: %v\n", f.Name, f.Err)
			continue
		}
		fmt.Fprintf(t.out, "%-10s ok: %s\n", f.Name, f.Text)
	}
	if failed > 0 {
		return fmt.Errorf("%d of the checks failed", failed)
	}
	return nil
}
