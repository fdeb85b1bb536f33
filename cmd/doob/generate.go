package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/doob-diffusion/doob/experiment/textimage"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/progress"
)

type generateCommand struct {
	Model    string   `required:"" placeholder:"DIR" help:"Folder of Stable Diffusion 1.x or 2.x, in the layout of diffusers."`
	Prompt   string   `required:"" placeholder:"TEXT" help:"What to draw."`
	Negative string   `placeholder:"TEXT" help:"What to guide away from. Default: the empty text."`
	N        int      `short:"n" default:"4" help:"Number of pictures."`
	Steps    int      `default:"50" help:"Steps of DDIM."`
	Eta      float64  `default:"0" help:"Noise that the steps add: 0 for none, 1 for all that the process has."`
	Guidance float64  `default:"7.5" help:"Scale of classifier-free guidance; up to 1 there is none, at half the cost."`
	LoRA     []string `name:"lora" placeholder:"FILE[:SCALE]" sep:"none" help:"Add a low-rank adapter, times a scale. Repeatable."`
	Size     string   `placeholder:"WxH" help:"Pixels of a picture, such as 512x512. Default: what the model was trained on."`
	Seed     uint64   `default:"1" help:"Seed of the noise. Picture i depends on it and i, and not on -n."`
	Out      string   `short:"o" default:"out.png" help:"PNG or JPEG, by its name, with all pictures; one for each with %d in the name, such as rabbit-%d.png."`
	DryRun   bool     `help:"Print the plan (parameters, memory, time) and stop."`
	Backend  string   `default:"${backend}" help:"Tensor backend: ${backends}."`
}

func (c *generateCommand) Run(ctx context.Context, t *terminal) error {
	g := textimage.Generation{Model: c.Model, Prompt: c.Prompt, Negative: c.Negative, N: c.N, Steps: c.Steps, Eta: c.Eta, Guidance: c.Guidance, Seed: c.Seed, Out: c.Out,
		Backend: c.Backend}
	var err error
	if c.Size != "" {
		if g.Height, g.Width, err = textimage.ParseSize(c.Size); err != nil {
			return fmt.Errorf("generate: %w", err)
		}
	}
	for _, text := range c.LoRA {
		path, scale, err := lora.ParseScaled(text)
		if err != nil {
			return fmt.Errorf("generate: %w", err)
		}
		g.Adapters = append(g.Adapters, textimage.Adapter{Path: path, Scale: scale})
	}
	if c.DryRun {
		plan, err := textimage.NewPlan(g)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "%s\n\n", plan.Title)
		return t.table(plan.Table())
	}
	view := progress.New(t.err, progress.Options{})
	g.Observe = func(ev textimage.Event) {
		if ev.Warning != "" {
			view.Log("doob: warning: " + ev.Warning)
			return
		}
		view.Update(progress.Update{Stage: ev.Stage, Done: ev.Done, Total: ev.Total})
	}
	done, err := textimage.Generate(ctx, g)
	view.Close()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s: %d × %dx%d, seed %d, network calls: %d\n", strings.Join(done.Files, " "), c.N, done.Width, done.Height, c.Seed, done.NetworkCalls)
	return err
}
