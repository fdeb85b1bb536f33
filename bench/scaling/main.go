// Command scaling simulates, in this process and from event to event, fine-tuning with up to 1,000 workers behind one broker, and says where trainer or broker become
// the limit, in synchronous mode and with paths of an older h:
//
//	go run ./bench/scaling docs/results/scaling
//
// The sizes of messages are measured, of files as package checkpoint writes them; the times of paths, gradient steps and network are parameters. It writes table.json and
// scaling.png there, and prints the tables of docs/scaling.md.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/report"
)

func main() {
	flag.Float64Var(&rack.Message, "message", rack.Message, "seconds that the broker takes for a message, as bench/fleet measures them")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: go run ./bench/scaling [-message SECONDS] FOLDER")
		os.Exit(2)
	}
	if err := write(flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// rack is a network within one building: 10 Gbit/s at the broker and 1 Gbit/s at every other machine, and a broker that has every message on its disk.
var rack = network{Latency: 500e-6, Broker: 1.25e9, Link: 1.25e8, Message: 100e-6, Spread: 0.1, Tasks: 4}

var (
	workers   = []int{1, 3, 10, 30, 100, 300, 1000}
	staleness = []int{0, 1, 4}
)

// row is one simulation.
type row struct {
	Work    string  `json:"work"`
	Grown   bool    `json:"grown"` // an iteration has as many paths as workers have time for, see [grown]; if not, those of the preset
	Paths   int     `json:"paths"` // of an iteration
	Workers int     `json:"workers"`
	Stale   int     `json:"staleness"`
	Speedup float64 `json:"speedup"` // paths per second over those of one worker that is never idle
	Limit   string  `json:"limit"`
	usage
}

// grown returns a work with so many paths an iteration that every worker has a quarter more to do than fits into the trainer's gradient steps.
func (w work) grown(workers int) work {
	w.Paths = workers * int(math.Ceil(1.25*w.Train/w.Path))
	return w
}

func sweep(w work, n network) (rows []row) {
	w.Iterations = 24
	for _, grown := range []bool{false, true} {
		for _, count := range workers {
			for _, s := range staleness {
				of := w
				if grown {
					of = w.grown(count)
				}
				of.Staleness = s
				u := simulate(of, n, count)
				rows = append(rows, row{w.Name, grown, of.Paths, count, s, rounded(u.Rate * w.Path), u.limit(),
					usage{rounded(u.Rate), rounded(u.Workers), rounded(u.Trainer), rounded(u.Broker), rounded(u.Link)}})
			}
		}
	}
	return rows
}

func write(folder string) error {
	works, err := works()
	if err != nil {
		return err
	}
	var rows []row
	fmt.Println("| problem | paths | weights of h | record of a path | and of a task | a path | gradient steps |\n|---|---:|---:|---:|---:|---:|---:|")
	for _, w := range works {
		rows = append(rows, sweep(w, rack)...)
		fmt.Printf("| %s | %d | %.4g kB | %.4g kB | %.2g kB | %g s | %g s |\n", w.Name, w.Paths, w.Weights/1e3, w.Record/1e3, w.Task/1e3, w.Path, w.Train)
	}
	table(rows)
	text, err := lines(map[string]any{"command": "go run ./bench/scaling docs/results/scaling", "network": rack, "works": works}, rows)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	if err := atomicfile.Write(filepath.Join(folder, "table.json"), text); err != nil {
		return err
	}
	return draw(filepath.Join(folder, "scaling.png"), rows)
}

// lines writes an object with rows in it, one a line.
func lines(head map[string]any, rows []row) ([]byte, error) {
	text, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	text = append(text[:len(text)-1], ",\"rows\":["...)
	for i, r := range rows {
		line, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	return append(text, "\n]}\n"...), nil
}

// rounded has four digits.
func rounded(v float64) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 4, 64), 64)
	return out
}

// table prints the speed-up of some numbers of workers, and what limits it.
func table(rows []row) {
	fmt.Println("\n| problem | workers | paths | synchronous | staleness 1 | staleness 4 |\n|---|---:|---:|---:|---:|---:|")
	for i := 0; i < len(rows); i += len(staleness) {
		r := rows[i]
		if r.Workers != 1 && r.Workers != 10 && r.Workers != 100 && r.Workers != 1000 {
			continue
		}
		fmt.Printf("| %s | %d | %d |", r.Work, r.Workers, r.Paths)
		for _, r := range rows[i : i+len(staleness)] {
			fmt.Printf(" %s, %s |", digits(r.Speedup), r.Limit)
		}
		fmt.Println()
	}
}

// digits writes three digits, or those before the point.
func digits(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// draw shows the speed-up over the number of workers: above with the paths of the presets, below with as many as the workers have time for.
func draw(path string, rows []row) error {
	var above, below []report.Chart
	for i := 0; i < len(rows); {
		r, end := rows[i], i
		title := r.Work
		if r.Grown {
			title += ", more paths"
		}
		c := report.Chart{Title: title, XLabel: "workers, powers of ten", LogY: true, Series: []report.Series{{Name: "ideal"}, {Name: "synchronous"}, {Name: "staleness 1"}}}
		for ; end < len(rows) && rows[end].Work == r.Work && rows[end].Grown == r.Grown; end++ {
			at, s := math.Log10(float64(rows[end].Workers)), (end-i)%len(staleness)
			if s == 0 {
				c.Series[0].X, c.Series[0].Y = append(c.Series[0].X, at), append(c.Series[0].Y, float64(rows[end].Workers))
			}
			if s+1 < len(c.Series) { // of more, the lines lie upon each other
				c.Series[s+1].X, c.Series[s+1].Y = append(c.Series[s+1].X, at), append(c.Series[s+1].Y, rows[end].Speedup)
			}
		}
		if i = end; r.Grown {
			below = append(below, c)
		} else {
			above = append(above, c)
		}
	}
	return report.Charts(path, len(above), append(above, below...))
}
