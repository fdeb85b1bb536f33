package main

import (
	"context"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
)

type superResCommand struct {
	Preset string `default:"quick" help:"Budgets: quick, small, paper; gaussian is a check against closed forms."`
	From   string `placeholder:"DIR" help:"Folder with the files of flowers102."`
	Seeds  *int   `help:"Repetitions of fine-tuning and sampling with consecutive seeds; the table then has standard errors."`
	runFlags
}

func (c *superResCommand) Run(ctx context.Context, t *terminal) error {
	var extra []string
	if c.From != "" {
		extra = append(extra, fmt.Sprintf("from=%q", c.From))
	}
	if c.Seeds != nil {
		extra = append(extra, fmt.Sprintf("seeds=%d", *c.Seeds))
	}
	config, err := experiment.LoadSuperRes(c.Preset, c.Config, c.settings(extra...))
	if err != nil {
		return err
	}
	return execute(ctx, t, c.runFlags, "superres", config.Seeds, config)
}
