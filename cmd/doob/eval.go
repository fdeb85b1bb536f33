package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
)

type evalCommand struct {
	Folders []string `arg:"" name:"dir" help:"Run folders."`
	N       *int     `short:"n" help:"Samples of each method. Default: as many as the run has measured."`
	Seed    uint64   `default:"1000" help:"Seed of the samples; that of a run gives the run's own."`
	Methods []string `help:"Methods to measure. Default: all that the run has finished."`
	Tasks   bool     `help:"A row for every task and method instead of their means."`
	From    string   `placeholder:"DIR" help:"Folder with the files of the data set. Default: that of the run."`
	Backend string   `default:"${backend}" help:"Tensor backend: ${backends}."`
	JSON    bool     `name:"json" help:"One line of JSON per run, with all tasks."`
}

func (c *evalCommand) Run(ctx context.Context, t *terminal) error {
	n := 0
	if c.N != nil {
		if n = *c.N; n < 2 {
			return fmt.Errorf("eval: -n is %d, want at least 2 samples; without it, there are as many as the run has measured", n)
		}
	}
	for i, folder := range c.Folders {
		observe, done := func(experiment.Event) {}, func() {}
		if !c.JSON {
			d := newDisplay(t.err)
			observe, done = d.show, d.close
		}
		out, err := experiment.Evaluate(ctx, experiment.Draw{Folder: folder, Method: strings.Join(c.Methods, ","), N: n, Seed: c.Seed, From: c.From, Backend: c.Backend}, observe)
		done()
		if err != nil {
			return err
		}
		if c.JSON {
			if err := json.NewEncoder(t.out).Encode(out); err != nil {
				return err
			}
			continue
		}
		if i > 0 {
			fmt.Fprintln(t.out)
		}
		if len(c.Folders) > 1 {
			fmt.Fprintf(t.out, "%s:\n", folder)
		}
		table := out.Table()
		if c.Tasks && len(out.Tasks) > 0 {
			table = out.TaskTable()
		}
		if err := t.table(table); err != nil {
			return err
		}
	}
	return nil
}
