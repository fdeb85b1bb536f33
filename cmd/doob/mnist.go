package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
)

type mnistCommand struct {
	Preset string `default:"mlp" help:"Budgets: mlp."`
	From   string `placeholder:"DIR" help:"Folder with the four MNIST files, as they are or gzipped."`
	runFlags
}

func (c *mnistCommand) Run(ctx context.Context, t *terminal) error {
	var extra []string
	if c.From != "" {
		extra = append(extra, fmt.Sprintf("from=%q", c.From))
	}
	config, err := experiment.LoadMNISTConfig(c.Preset, c.Config, c.settings(extra...))
	if err != nil {
		return err
	}
	if c.DryRun {
		plan, err := config.Plan(ctx, c.Backend)
		if err != nil {
			return err
		}
		return c.plan(t, plan)
	}
	folder := c.folder("mnist")
	observe, done := c.observer(t, 1)
	rep, err := config.Run(ctx, folder, c.Backend, observe)
	done()
	if err != nil {
		return err
	}
	return c.finish(t, folder, rep.Table(), rep)
}
