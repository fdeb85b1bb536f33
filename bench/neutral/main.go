// Command neutral computes on a grid, in one dimension and without sampling or training, what it is worth to take h relative to the base
// model's own fit, and draws it:
//
//	go run ./bench/neutral docs/results/neutral
//
// It writes table.json and neutral.png there. With -json it prints the rows and writes nothing.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/report"
)

func main() {
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench/neutral FOLDER")
		os.Exit(2)
	}
	if err := write(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var (
	table = []setting{{24, 0, false}, {24, 0.3, false}, {50, 0, false}, {50, 0.1, false}, {50, 0.3, false}, {200, 0.3, false}, {24, 0.3, true}}
	steps = []int{12, 24, 50, 100, 200}
)

// spacing of a grid on which the narrowest law of so many steps is resolved: the noise of the last.
func spacing(steps int) float64 { return min(0.0125, 0.3/float64(steps)) }

func write(folder string) error {
	var rows []row
	for _, s := range table {
		rows = append(rows, compute(s, spacing(s.Steps)))
	}
	text, err := json.MarshalIndent(map[string]any{"command": "go run ./bench/neutral docs/results/neutral", "rows": rows}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(folder, "table.json"), append(text, '\n')); err != nil {
		return err
	}
	for _, r := range rows {
		fmt.Printf("%3d steps, fault %.1f, r = 0: %-5v  fit %.3f %.3f  fit − self %.3f %.3f  optimum %.3f %.3f\n", r.Steps, r.Fault, r.Zero, r.Fit.KL, r.Fit.TV,
			r.Neutral.KL, r.Neutral.TV, r.Optimum.KL, r.Optimum.TV)
	}
	return draw(filepath.Join(folder, "neutral.png"))
}

// draw shows path KL and total variation over the number of steps, for an exact base score and a wrong one.
func draw(path string) error {
	var charts []report.Chart
	for _, fault := range []float64{0, 0.3} {
		kl := report.Chart{Title: fmt.Sprintf("KL of paths, error %g", fault), XLabel: "steps"}
		tv := report.Chart{Title: fmt.Sprintf("TV of endpoints, error %g", fault), XLabel: "steps"}
		names := []string{"fit", "fit − self", "optimum"}
		for i, name := range names {
			kl.Series, tv.Series = append(kl.Series, report.Series{Name: name}), append(tv.Series, report.Series{Name: names[i]})
		}
		for _, n := range steps {
			r := compute(setting{Steps: n, Fault: fault}, spacing(n))
			for i, o := range []outcome{r.Fit, r.Neutral, r.Optimum} {
				kl.Series[i].X, kl.Series[i].Y = append(kl.Series[i].X, float64(n)), append(kl.Series[i].Y, o.KL)
				tv.Series[i].X, tv.Series[i].Y = append(tv.Series[i].X, float64(n)), append(tv.Series[i].Y, o.TV)
			}
		}
		charts = append(charts, kl, tv)
	}
	for i := range charts {
		charts[i].LogY = true
	}
	return report.Charts(path, 2, charts)
}
