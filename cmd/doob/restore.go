package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment/superres"
	"github.com/doob-diffusion/doob/progress"
)

type restoreCommand struct {
	Picture string `arg:"" type:"existingfile" help:"Picture to restore, of any size: PNG, JPEG, GIF or WebP. What is transparent is put on white."`
	Model   string `required:"" placeholder:"DIR" help:"Run folder of doob run superres."`
	Measure bool   `help:"The picture is sharp: measure it first, with the noise of the run, and compare the result with it."`
	N       int    `short:"n" default:"8" help:"Samples of the posterior, whose mean is written; 1 writes a sample."`
	Steps   *int   `help:"Steps of sampling, at least 1. Default: those of the run."`
	Seed    uint64 `default:"1" help:"Seed of the noise."`
	Out     string `short:"o" default:"restored.png" help:"Result, PNG or JPEG by its name."`
	SD      string `name:"sd" placeholder:"FILE" help:"Write the pixel-wise standard deviation of the samples too, PNG or JPEG by its name: where the result is a guess."`
	Backend string `default:"${backend}" help:"Tensor backend: ${backends}."`
}

func (c *restoreCommand) Run(ctx context.Context, t *terminal) error {
	steps := 0
	if c.Steps != nil {
		if steps = *c.Steps; steps < 1 {
			return fmt.Errorf("restore: --steps is %d, want at least 1; without it, there are those of the run", steps)
		}
	}
	view := progress.New(t.err, progress.Options{})
	r, err := superres.Restore(ctx, superres.Restoration{Folder: c.Model, Picture: c.Picture, Measure: c.Measure, N: c.N, Steps: steps,
		Seed: c.Seed, Out: c.Out, Spread: c.SD, Backend: c.Backend, Observe: func(done, total int) {
			view.Update(progress.Update{Stage: "restoring", Done: done, Total: total, Unit: "tiles"})
		}})
	view.Close()
	if err != nil {
		return err
	}
	what := "sample"
	if c.N > 1 {
		what = fmt.Sprintf("mean of %d samples", c.N)
	}
	fmt.Fprintf(t.out, "%s: %d×%d, %s, tiles: %d, network calls: %d\n", c.Out, r.Width, r.Height, what, r.Tiles, r.NetworkCalls)
	if r.Transparent {
		fmt.Fprintln(t.out, "parts of the picture are transparent: they are on white")
	}
	fmt.Fprintf(t.out, "%s, noise of sd %g: residual %.2f (1 fits the measurement as well as the truth would)\n", r.Operator, r.Sigma, r.Residual)
	if c.N > 1 {
		fmt.Fprintf(t.out, "standard deviation of the samples: %.3f on a scale from −1 to 1\n", r.Spread)
	}
	if c.Measure {
		fmt.Fprintf(t.out, "against the picture: PSNR %.2f dB, SSIM %.3f\n", float64(r.PSNR), float64(r.SSIM))
	}
	return nil
}
