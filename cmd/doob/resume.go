package main

import (
	"context"
	"errors"

	"github.com/doob-diffusion/doob/experiment"
)

// resumeCommand is doob run without the name of an experiment.
type resumeCommand struct {
	Folder  string `name:"resume" placeholder:"DIR" help:"Continue the run in this folder, to the same bytes as if it had never stopped."`
	Backend string `default:"${backend}" help:"Tensor backend of a toy; other runs go on with theirs."`
	JSON    bool   `name:"json" help:"Events and the report as JSON lines on standard output."`
}

func (c *resumeCommand) Run(ctx context.Context, t *terminal) error {
	if c.Folder == "" {
		return errors.New("run: want an experiment, toy, mnist or superres, or --resume DIR")
	}
	f := runFlags{JSON: c.JSON}
	observe, done := f.observer(t, 1)
	rep, err := experiment.Resume(ctx, c.Folder, c.Backend, observe)
	done()
	return f.finish(t, c.Folder, rep, err)
}
