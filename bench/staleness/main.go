// Command staleness measures on the toy what it costs to learn from paths of an older h, which is what samplers have that never wait for the trainer: with weights
// under the h that has driven them, and with those of peers, which ignore or clip what has become of h since.
//
//	go run ./bench/staleness docs/results/staleness
//
// It writes table.json and staleness.png there, and prints the table.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"

	"gonum.org/v1/gonum/stat"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/metric"
	"github.com/doob-diffusion/doob/report"
)

func main() {
	seeds := flag.Int("seeds", 10, "runs of each row")
	truths := flag.Int("truth", 400_000, "paths of h* that the truth is taken from")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench/staleness [-seeds N] [-truth N] FOLDER")
		os.Exit(2)
	}
	if err := write(context.Background(), flag.Arg(0), *seeds, *truths); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// row is what the runs of one staleness and weighing come to: means over seeds, with standard errors.
type row struct {
	Staleness int     `json:"staleness"`
	Weights   string  `json:"weights"`
	Bias      float64 `json:"log_z_bias"` // of the pooled log Ẑ to the log Z of the chain
	BiasSE    float64 `json:"log_z_bias_se"`
	SD        float64 `json:"log_z_sd"` // over seeds
	SDSE      float64 `json:"log_z_sd_se"`
	Last      float64 `json:"log_z_bias_of_last_batch"`
	LastSE    float64 `json:"log_z_bias_of_last_batch_se"`
	TV        float64 `json:"mode_tv"`
	TVSE      float64 `json:"mode_tv_se"`
	ESS       float64 `json:"ess_fraction"`
	ESSSE     float64 `json:"ess_fraction_se"`
}

type job struct {
	staleness int
	weights   weighing
}

// jobs are the rows; without staleness all weights are the same.
func jobs() []job {
	out := []job{{0, own}}
	for _, s := range []int{1, 2, 4, 8} {
		for _, w := range []weighing{own, clipped, ignored} {
			out = append(out, job{s, w})
		}
	}
	return out
}

func write(ctx context.Context, folder string, seeds, truths int) error {
	t, err := newToy()
	if err != nil {
		return err
	}
	e, err := engine.Open("cpu:workers=1")
	if err != nil {
		return err
	}
	truth, err := t.truth(ctx, e, truths)
	if err != nil {
		return err
	}
	fmt.Printf("log Z of the chain %.4f ± %.4f, of the process %.4f\n", truth.LogZ, truth.LogZSE, t.logZ)
	var rows []row
	for _, j := range jobs() {
		outcomes, errs := make([]outcome, seeds), make([]error, seeds)
		var wait sync.WaitGroup
		free := make(chan struct{}, 2) // runs at the same time
		for i := range seeds {
			free <- struct{}{}
			wait.Go(func() {
				defer func() { <-free }()
				outcomes[i], errs[i] = t.run(ctx, e.Fork(), whole, j.staleness, j.weights, uint64(i+1), truth.shares)
			})
		}
		wait.Wait()
		for i, err := range errs {
			if err != nil {
				return fmt.Errorf("staleness %d, %s, seed %d: %w", j.staleness, j.weights.name, i+1, err)
			}
		}
		rows = append(rows, summary(j, outcomes, truth))
		r := rows[len(rows)-1]
		fmt.Printf("%d %-8s log Z %+.4f ± %.4f, sd %.4f, last %+.4f ± %.4f  TV %.4f ± %.4f  ESS %.3f ± %.3f\n", r.Staleness, r.Weights, r.Bias, r.BiasSE, r.SD, r.Last, r.LastSE, r.TV, r.TVSE, r.ESS, r.ESSSE)
	}
	text, err := json.MarshalIndent(map[string]any{"command": "go run ./bench/staleness docs/results/staleness", "seeds": seeds, "truth": truth, "rows": rows}, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(folder, "table.json"), append(text, '\n')); err != nil {
		return err
	}
	return draw(filepath.Join(folder, "staleness.png"), rows)
}

func summary(j job, outcomes []outcome, truth truth) row {
	var z, last, tv, ess []float64
	for _, o := range outcomes {
		z, last, tv, ess = append(z, o.LogZ-truth.LogZ), append(last, o.Last-truth.LogZ), append(tv, o.TV), append(ess, o.ESS)
	}
	r := row{Staleness: j.staleness, Weights: j.weights.name, SD: stat.StdDev(z, nil)}
	r.Bias, r.BiasSE = metric.MeanSE(z)
	r.SDSE = r.SD / math.Sqrt(2*float64(len(z)-1)) // of normal values
	r.Last, r.LastSE = metric.MeanSE(last)
	r.TV, r.TVSE = metric.MeanSE(tv)
	r.ESS, r.ESSSE = metric.MeanSE(ess)
	return r
}

// draw shows bias, spread and modes over the staleness; at 0 all weights are the same.
func draw(path string, rows []row) error {
	charts := []report.Chart{
		{Title: "log Ẑ of the run: bias", HLines: []report.HLine{{Y: 0, Label: "log Z of the chain"}}}, {Title: "log Ẑ of the run: standard deviation", LogY: true},
		{Title: "log Ẑ of the last batch: bias", HLines: []report.HLine{{Y: 0, Label: "log Z of the chain"}}}, {Title: "Mode TV of samples"}}
	for i := range charts {
		charts[i].XLabel = "staleness, iterations"
		for _, w := range []weighing{own, clipped, ignored} {
			s := report.Series{Name: "weights: " + w.name}
			for _, r := range rows {
				if r.Weights == w.name || r.Staleness == 0 {
					s.X = append(s.X, float64(r.Staleness))
					s.Y = append(s.Y, []float64{r.Bias, r.SD, r.Last, r.TV}[i])
					s.Err = append(s.Err, []float64{r.BiasSE, r.SDSE, r.LastSE, r.TVSE}[i])
				}
			}
			charts[i].Series = append(charts[i].Series, s)
		}
	}
	return report.Charts(path, 2, charts)
}
