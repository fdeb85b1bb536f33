package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/report"
)

// statusCommand shows the workers of a run.
type statusCommand struct {
	URL  string `arg:"" name:"url" optional:"" default:"nats://127.0.0.1:4222" help:"Server of the run. Default: nats://127.0.0.1:4222."`
	JSON bool   `name:"json" help:"The same as JSON."`
	reach
}

// Run runs the command.
func (c *statusCommand) Run(ctx context.Context, t *terminal) error {
	at, err := c.at(c.URL)
	if err != nil {
		return err
	}
	s, err := fleet.Ask(ctx, at)
	if err != nil {
		return err
	}
	if c.JSON {
		return json.NewEncoder(t.out).Encode(s)
	}
	fmt.Fprintf(t.out, "%s, for %s\n", s.Run, ago(s.Seconds))
	if len(s.Jobs) == 0 {
		fmt.Fprintln(t.out, "Nothing is simulated at the moment that workers could help with.")
	}
	for _, j := range s.Jobs {
		fmt.Fprintf(t.out, "%s: %d of %d tasks are done\n", j.Name, j.Done, j.Total)
	}
	fmt.Fprintln(t.out)
	return t.table(workersTable(s))
}

func workersTable(s fleet.Status) report.Table {
	table := report.Table{Notes: s.Refused, Columns: []report.Column{{Name: "worker"}, {Name: "here for", Right: true}, {Name: "seen, s ago", Right: true}, {Name: "tasks", Right: true},
		{Name: "paths", Right: true}, {Name: "paths/s", Right: true}, {Name: "at it for", Right: true}, {Name: "task"}}}
	for _, w := range s.Workers {
		at := "—"
		if w.Task != "" {
			at = ago(w.TaskAge)
		}
		table.Rows = append(table.Rows, []string{w.Name, ago(w.Joined), fmt.Sprintf("%.0f", w.Seen), fmt.Sprint(w.Tasks), fmt.Sprint(w.Paths), fmt.Sprintf("%.3g", w.Speed), at, w.Task})
	}
	return table
}

func ago(seconds float64) string {
	return (time.Duration(seconds*float64(time.Second)) / time.Second * time.Second).String()
}
