package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment/restore"
	"github.com/doob-diffusion/doob/progress"
)

type restoreCommand struct {
	Picture  string  `arg:"" type:"existingfile" help:"Picture to restore, of any size: PNG, JPEG, GIF or WebP. What is transparent is put on white."`
	Model    string  `required:"" placeholder:"DIR" help:"Run folder of doob run superres, or of doob tune."`
	Operator string  `placeholder:"NAME" help:"How the picture came about: average-2 (means of 2×2 pixels), average-4, blur-1.5, inpaint. Default: as in the run. Another one than the run has learned is restored by guidance of its prior."`
	Sigma    float64 `placeholder:"SD" help:"Its noise, on the scale of pictures from −1 to 1; with --operator."`
	Measure  bool    `help:"The picture is sharp: measure it first, with the noise of the run, and compare the result with it."`
	N        int     `short:"n" default:"8" help:"Samples of the posterior, whose mean is written; 1 writes a sample."`
	Steps    *int    `help:"Steps of sampling, at least 1. Default: those of the run."`
	Seed     uint64  `default:"1" help:"Seed of the noise."`
	Out      string  `short:"o" default:"restored.png" help:"Result, PNG or JPEG by its name."`
	SD       string  `name:"sd" placeholder:"FILE" help:"Write the pixel-wise standard deviation of the samples too, PNG or JPEG by its name: where the result is a guess."`
	Backend  string  `default:"${backend}" help:"Tensor backend: ${backends}."`
}

func (c *restoreCommand) Run(ctx context.Context, t *terminal) error {
	steps := 0
	if c.Steps != nil {
		if steps = *c.Steps; steps < 1 {
			return fmt.Errorf("restore: --steps is %d, want at least 1; without it, there are those of the run", steps)
		}
	}
	view := progress.New(t.err, progress.Options{})
	r, err := restore.Restore(ctx, restore.Restoration{Folder: c.Model, Operator: c.Operator, Sigma: c.Sigma, Picture: c.Picture, Measure: c.Measure, N: c.N, Steps: steps,
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
	how := "by guidance of the prior"
	if r.Learned {
		how = "by what was learned for it"
	}
	fmt.Fprintf(t.out, "%s, noise of sd %g, %s: residual %.2f (1 fits the measurement as well as the truth would)\n", r.Operator, r.Sigma, how, r.Residual)
	if c.N > 1 {
		fmt.Fprintf(t.out, "standard deviation of the samples: %.3f on a scale from −1 to 1\n", r.Spread)
	}
	if c.Measure {
		fmt.Fprintf(t.out, "against the picture: PSNR %.2f dB, SSIM %.3f\n", float64(r.PSNR), float64(r.SSIM))
	}
	return nil
}
