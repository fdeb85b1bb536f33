package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/checkpoint/statedict"
)

type modelConvertCommand struct {
	File string `arg:"" help:"State dict of PyTorch: .pt, .pth or .bin, such as ImageReward.pt."`
	Out  string `short:"o" required:"" placeholder:"FILE" help:"Result, a .safetensors with the same names."`
}

func (c *modelConvertCommand) Run(ctx context.Context, t *terminal) error {
	f, err := statedict.Open(c.File)
	if err != nil {
		return err
	}
	err = checkpoint.Rewrite(c.Out, f, map[string]string{"format": "pt"}, func(_ string, x checkpoint.Tensor) (checkpoint.Tensor, error) {
		return x, ctx.Err()
	})
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s: %d tensors of %s\n", c.Out, len(f.Names()), c.File)
	return err
}
