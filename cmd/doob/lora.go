package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/sd"
)

type loraCommand struct {
	Info    loraInfoCommand    `cmd:"" help:"Say what an adapter changes."`
	Convert loraConvertCommand `cmd:"" help:"Write an adapter in the spelling of another library."`
	Merge   loraMergeCommand   `cmd:"" help:"Write a copy of a model with adapters merged into its weights."`
}

// known are the models that adapters are read for without a folder.
var known = []string{"Stable Diffusion 1.x", "Stable Diffusion 2.x"}

// openAdapter reads an adapter, and says which models it fits: that in a folder, or of those that are known.
func openAdapter(path, model string) (a lora.Adapter, s lora.Spelling, fits []string, err error) {
	if model != "" {
		f, err := sd.Open(model)
		if err != nil {
			return a, s, nil, err
		}
		a, s, err = lora.Load(path, modules(*f))
		return a, s, []string{model}, err
	}
	var errs []error
	for i, f := range sd.Known() {
		adapter, spelling, err := lora.Load(path, modules(f))
		if err == nil {
			a, s, fits = adapter, spelling, append(fits, known[i])
			continue
		}
		if !errors.Is(err, lora.ErrModel) {
			return a, s, nil, err
		}
		errs = append(errs, fmt.Errorf("as one of %s: %w", known[i], err))
	}
	if len(fits) == 0 {
		return a, s, nil, fmt.Errorf("%w\nFor a model of other sizes, name its folder: --model DIR", errors.Join(errs...))
	}
	return a, s, fits, nil
}

func modules(f sd.Folder) lora.Model {
	return lora.Model{UNet: f.UNet.Tensors(), Text: f.Text.Tensors()}
}

type loraInfoCommand struct {
	File  string `arg:"" help:"Adapter: .safetensors or .bin, or a folder of PEFT or diffusers."`
	Model string `placeholder:"DIR" help:"Folder of its model. Default: Stable Diffusion 1.x or 2.x, as published."`
}

func (c *loraInfoCommand) Run(t *terminal) error {
	a, spelling, fits, err := openAdapter(c.File, c.Model)
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "%s: spelling %s, for %s\n", c.File, spelling, strings.Join(fits, " and "))
	table := report.Table{Columns: []report.Column{{Name: "part"}, {Name: "modules", Right: true}, {Name: "parameters", Right: true}, {Name: "rank"}, {Name: "scale (alpha/rank)"}}}
	for _, part := range []struct {
		name  string
		pairs map[string]lora.Pair
	}{{"unet", a.UNet}, {"text_encoder", a.Text}} {
		if len(part.pairs) == 0 {
			continue
		}
		scales := map[float64]bool{}
		for _, p := range part.pairs {
			scales[p.Scale] = true
		}
		own := lora.Adapter{UNet: part.pairs}
		table.Rows = append(table.Rows, []string{part.name, fmt.Sprint(len(part.pairs)), fmt.Sprint(own.Parameters()), list(own.Ranks()), list(slices.Sorted(maps.Keys(scales)))})
	}
	return t.table(table)
}

// list writes a few values, or their range.
func list[T any](values []T) string {
	if n := len(values); n > 4 {
		return fmt.Sprintf("%.4v to %.4v", values[0], values[n-1])
	}
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return strings.Join(texts, ", ")
}

type loraConvertCommand struct {
	File  string `arg:"" help:"Adapter: .safetensors or .bin, or a folder of PEFT or diffusers."`
	To    string `required:"" enum:"peft,diffusers,kohya" help:"Spelling: peft, diffusers or kohya."`
	Out   string `short:"o" required:"" placeholder:"OUT" help:"Result: a file .safetensors, or a folder for peft."`
	Model string `placeholder:"DIR" help:"Folder of its model. Default: Stable Diffusion 1.x or 2.x, as published."`
}

func (c *loraConvertCommand) Run(t *terminal) error {
	a, spelling, _, err := openAdapter(c.File, c.Model)
	if err != nil {
		return err
	}
	if err := a.Save(c.Out, lora.Spelling(c.To)); err != nil {
		return err
	}
	_, err = fmt.Fprintf(t.out, "%s: %d modules, %s as %s, with alpha = rank\n", c.Out, len(a.UNet)+len(a.Text), spelling, c.To)
	return err
}

type loraMergeCommand struct {
	Files []string `arg:"" name:"file" help:"Adapters, each with :SCALE after it if another scale than 1 is wanted."`
	Model string   `required:"" placeholder:"DIR" help:"Folder of the model, which stays as it is."`
	Out   string   `short:"o" required:"" placeholder:"NEW" help:"New folder for the result."`
}

func (c *loraMergeCommand) Run(ctx context.Context, t *terminal) error {
	f, err := sd.Open(c.Model)
	if err != nil {
		return err
	}
	var adapters []lora.Adapter
	for _, s := range c.Files {
		path, scale, err := lora.ParseScaled(s)
		if err != nil {
			return err
		}
		a, _, err := lora.Load(path, modules(*f))
		if err != nil {
			return err
		}
		adapters = append(adapters, a.Scaled(scale))
	}
	left, err := f.Merge(ctx, c.Out, adapters...)
	if err != nil {
		return err
	}
	for _, name := range left {
		fmt.Fprintf(t.err, "doob: warning: %s is left out: it has weights in a format that is not read, without the adapters\n", name)
	}
	_, err = fmt.Fprintf(t.out, "%s is %s with %s\n", c.Out, c.Model, strings.Join(c.Files, ", "))
	return err
}
