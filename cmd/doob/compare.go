package main

import (
	"encoding/json"
	"fmt"

	"github.com/doob-diffusion/doob/experiment"
)

type compareCommand struct {
	Folders  []string `arg:"" name:"dir" help:"Run folders, at least two, of one experiment."`
	JSON     bool     `name:"json" xor:"format" help:"The comparison as JSON."`
	Markdown bool     `xor:"format" help:"The table in Markdown."`
	CSV      bool     `name:"csv" xor:"format" help:"The table as CSV."`
	Out      string   `short:"o" placeholder:"FILE" help:"Write a figure too (.png)."`
}

func (c *compareCommand) Run(t *terminal) error {
	comparison, err := experiment.Compare(c.Folders)
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := comparison.Figure(c.Out); err != nil {
			return err
		}
	}
	switch {
	case c.JSON:
		return json.NewEncoder(t.out).Encode(comparison)
	case c.Markdown:
		return comparison.Table().WriteMarkdown(t.out)
	case c.CSV:
		table := comparison.Table()
		method := len(table.Columns) - 1
		for ; method > 0 && table.Columns[method].Name != "method"; method-- {
		}
		for i := 1; i < len(table.Rows); i++ { // a row of CSV stands by itself
			if table.Rows[i][method] == "" {
				table.Rows[i][method] = table.Rows[i-1][method]
			}
		}
		return table.WriteCSV(t.out)
	}
	if err := t.table(comparison.Table()); err != nil || c.Out == "" {
		return err
	}
	_, err = fmt.Fprintf(t.out, "\nFigure: %s\n", c.Out)
	return err
}
