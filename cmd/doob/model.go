package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/sd"
)

type modelCommand struct {
	Check   modelCheckCommand   `cmd:"" help:"Say what a model in a folder is, or all that would be refused of it."`
	Convert modelConvertCommand `cmd:"" help:"Write weights in PyTorch's own format as safetensors, and run nothing that is in them."`
}

type modelCheckCommand struct {
	Dir     string `arg:"" help:"Folder of a Stable Diffusion or an unconditional model in the layout of diffusers, of an ImageReward, or of a CLIP."`
	Variant string `help:"Weights of this variant, such as fp16, where there are some."`
	Weights bool   `help:"Read all weights, for numbers that are not finite, and not the headers of the files alone."`
	JSON    bool   `name:"json" help:"Print a JSON object."`
}

func (c *modelCheckCommand) Run(t *terminal) error {
	d, err := sd.Describe(c.Dir, c.Variant, c.Weights)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(t.out).Encode(modelJSON(d))
	}
	fmt.Fprintf(t.out, "%s: %s\n", c.Dir, d.Kind)
	if s := d.Schedule; s != nil {
		fmt.Fprintf(t.out, "predicts %s; trained with %s\n", s.Prediction, s)
	}
	if d.Side > 0 {
		fmt.Fprintf(t.out, "pictures of %d×%d\n", d.Side, d.Side)
	}
	table := report.Table{Columns: []report.Column{{Name: "part"}, {Name: "tensors", Right: true}, {Name: "parameters", Right: true}, {Name: "precision"}, {Name: "in files", Right: true}, {Name: "in F32", Right: true}}}
	row := func(name string, tensors, parameters, bytes int, precision string) {
		table.Rows = append(table.Rows, []string{name, fmt.Sprint(tensors), fmt.Sprint(parameters), precision, megabytes(bytes), megabytes(4 * parameters)})
	}
	var tensors, parameters, bytes int
	for _, p := range d.Parts {
		n, b := p.Count()
		tensors, parameters, bytes = tensors+p.Tensors, parameters+n, bytes+b
		row(p.Name, p.Tensors, n, b, precision(p))
	}
	if len(d.Parts) > 1 {
		row("all", tensors, parameters, bytes, "")
	}
	table.Notes = []string{"Loading takes as much memory as there is in the files, or in F32 where a network is computed in that."}
	if c.Weights {
		table.Notes = append(table.Notes, "All numbers are finite.")
	} else {
		table.Notes = append(table.Notes, "Names, shapes and sizes are right; --weights reads the numbers too.")
	}
	return t.table(table)
}

// precision lists the types of a part's numbers.
func precision(p sd.Part) string {
	var names []string
	for _, d := range slices.Sorted(maps.Keys(p.Parameters)) {
		names = append(names, string(d))
	}
	return strings.Join(names, ", ")
}

func megabytes(bytes int) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// modelJSON returns what a program may want to know of a model.
func modelJSON(d sd.Description) any {
	parts := map[string]any{}
	for _, p := range d.Parts {
		n, bytes := p.Count()
		parts[p.Name] = map[string]any{"tensors": p.Tensors, "parameters": n, "bytes": bytes, "precision": slices.Sorted(maps.Keys(p.Parameters))}
	}
	out := map[string]any{"kind": d.Kind, "parts": parts, "side": d.Side}
	if s := d.Schedule; s != nil {
		out["prediction"] = s.Prediction
		out["schedule"] = map[string]any{"kind": s.Kind(), "beta_start": s.Beta0, "beta_end": s.Beta1, "steps": s.Steps}
	}
	return out
}
