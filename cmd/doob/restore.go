package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment/superres"
)

type restoreCommand struct {
	Picture string `arg:"" type:"existingfile" help:"Picture to restore: PNG, JPEG or GIF."`
	Model   string `required:"" placeholder:"DIR" help:"Run folder of doob run superres."`
	Measure bool   `help:"The picture is sharp: measure it first, with the noise of the run, and compare the result with it."`
	N       int    `short:"n" default:"8" help:"Samples of the posterior, whose mean is written; 1 writes a sample."`
	Steps   int    `help:"Steps of sampling. Default: those of the run."`
	Seed    uint64 `default:"1" help:"Seed of the noise."`
	Out     string `short:"o" default:"restored.png" help:"Result, a PNG."`
	SD      string `name:"sd" placeholder:"FILE" help:"Write the pixel-wise standard deviation of the samples too, a PNG: where the result is a guess."`
	Backend string `default:"${backend}" help:"Tensor backend: ${backends}."`
}

func (c *restoreCommand) Run(ctx context.Context, t *terminal) error {
	r, err := superres.Restore(ctx, superres.Restoration{Folder: c.Model, Picture: c.Picture, Measure: c.Measure, N: c.N, Steps: c.Steps,
		Seed: c.Seed, Out: c.Out, Spread: c.SD, Backend: c.Backend})
	if err != nil {
		return err
	}
	what := "sample"
	if c.N > 1 {
		what = fmt.Sprintf("mean of %d samples", c.N)
	}
	fmt.Fprintf(t.out, "%s: %d×%d, %s, tiles: %d, network calls: %d\n", c.Out, r.Width, r.Height, what, r.Tiles, r.NetworkCalls)
	fmt.Fprintf(t.out, "%s, noise of sd %g: residual %.2f (1 fits the measurement as well as the truth would)\n", r.Operator, r.Sigma, r.Residual)
	if c.N > 1 {
		fmt.Fprintf(t.out, "standard deviation of the samples: %.3f on a scale from −1 to 1\n", r.Spread)
	}
	if c.Measure {
		fmt.Fprintf(t.out, "against the picture: PSNR %.2f dB, SSIM %.3f\n", float64(r.PSNR), float64(r.SSIM))
	}
	return nil
}
