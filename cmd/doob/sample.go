package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
)

type sampleCommand struct {
	Folder  string  `arg:"" name:"dir" help:"Run folder."`
	N       int     `short:"n" default:"64" help:"Number of samples."`
	Seed    uint64  `default:"1" help:"Seed of the noise."`
	Method  string  `help:"What to sample: base or a method of the run. Default: importance."`
	Task    string  `help:"Task of the run, such as single_3, or the number of a measurement. Default: the first."`
	Amplify float64 `default:"1" help:"Multiplies h: above 1 for less variety and fewer samples between the modes."`
	Accept  float64 `default:"1" help:"Keeps this share of the simulated paths, by their weights: fewer samples that the reward rules out."`
	Steps   *int    `help:"Steps of sampling, at least 1, of methods that have no number of their own. Default: those of the run."`
	Out     string  `short:"o" default:"samples.png" help:"Picture (.png) or numbers (.csv)."`
	From    string  `placeholder:"DIR" help:"Folder with the files of the data set. Default: that of the run."`
	Backend string  `default:"${backend}" help:"Tensor backend: ${backends}."`
}

func (c *sampleCommand) Run(ctx context.Context, t *terminal) error {
	if c.Amplify == 0 { // which the library takes for 1
		return errors.New("sample: amplification by 0: want a positive number, or --method base")
	}
	if c.Accept == 0 {
		return errors.New("sample: a share of 0 to accept: want a number in (0, 1]")
	}
	steps := 0
	if c.Steps != nil {
		if steps = *c.Steps; steps < 1 {
			return fmt.Errorf("sample: --steps is %d, want at least 1; without it, there are those of the run", steps)
		}
	}
	method, err := experiment.Sample(ctx, experiment.Draw{Folder: c.Folder, Method: c.Method, Task: c.Task, N: c.N, Seed: c.Seed, Amplify: c.Amplify, Accept: c.Accept, Steps: steps, From: c.From,
		Out: c.Out, Backend: c.Backend})
	if err != nil {
		return err
	}
	kept := ""
	if c.Accept != 1 {
		kept = fmt.Sprintf(", %g %% of the paths accepted", 100*c.Accept)
	}
	_, err = fmt.Fprintf(t.out, "%s: %d samples of %s%s, seed %d\n", c.Out, c.N, method, kept, c.Seed)
	return err
}
