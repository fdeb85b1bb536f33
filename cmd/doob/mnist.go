package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
)

type mnistCommand struct {
	Preset string `default:"quick" help:"Budgets: quick, small, paper, or ablation: the settings of importance fine-tuning, one by one."`
	From   string `placeholder:"DIR" help:"Folder with the four MNIST files, as they are or gzipped."`
	Seeds  *int   `help:"Repetitions of fine-tuning and sampling with consecutive seeds; the table then has standard errors."`
	runFlags
}

func (c *mnistCommand) Run(ctx context.Context, t *terminal) error {
	var extra []string
	if c.From != "" {
		extra = append(extra, fmt.Sprintf("from=%q", c.From))
	}
	if c.Seeds != nil {
		extra = append(extra, fmt.Sprintf("seeds=%d", *c.Seeds))
	}
	config, err := experiment.LoadMNISTConfig(c.Preset, c.Config, c.settings(extra...))
	if err != nil {
		return err
	}
	return execute(ctx, t, c.runFlags, "mnist", config.Seeds, config)
}
