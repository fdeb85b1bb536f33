package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/noise"
)

// model is one that takes its time and computes nothing.
type model struct {
	Name  string        `json:"name"`
	Step  time.Duration `json:"step_nanoseconds"` // of a batch
	Steps int           `json:"steps"`            // of a path
	Batch int           `json:"batch"`            // paths of a task
	Dim   int           `json:"dim"`              // numbers of a path
	Tasks int           `json:"tasks"`            // of an iteration, for every worker
}

// row is a measurement.
type row struct {
	Model   string  `json:"model"`
	Workers int     `json:"workers"`
	Ahead   int     `json:"staleness"`
	Tasks   int     `json:"tasks"`
	Seconds float64 `json:"seconds"`
	Busy    float64 `json:"busy_seconds"` // of all workers, in the model
	Share   float64 `json:"share"`        // of the workers' time: their throughput over the sum of what they do by themselves
	Lost    float64 `json:"lost_seconds"` // of a worker's time for a task
}

// measure has workers do some iterations, each beginning when the one so many before it has come back, as with a staleness. There are no gradient steps.
func (m model) measure(ctx context.Context, t *fleet.Trainer, workers, ahead int) (row, error) {
	r := row{Model: m.Name, Workers: workers, Ahead: ahead, Tasks: iterations * m.Tasks * workers}
	s := &diffusion.Sampler{Steps: make([]diffusion.Step, m.Steps), Shape: []int{m.Dim}, Batch: m.Batch}
	var flying []*fleet.Job
	start, busy := time.Now(), int64(0)
	for k := range iterations {
		j := &fleet.Job{Name: fmt.Sprintf("%s, %d workers, staleness %d, iteration %d", m.Name, workers, ahead, k), Order: m, Sampler: s, Key: noise.New(uint64(k)),
			N: m.Tasks * workers * m.Batch, Each: m.Batch}
		if err := t.Start(ctx, j); err != nil {
			return r, err
		}
		flying = append(flying, j)
		for len(flying) > ahead || k == iterations-1 && len(flying) > 0 { // the last ones are all waited for
			_, spent, err := flying[0].Wait(ctx)
			if err != nil {
				return r, err
			}
			busy, flying = busy+spent, flying[1:]
		}
	}
	r.Seconds, r.Busy = time.Since(start).Seconds(), float64(busy)/1e9
	r.Share = r.Busy / (float64(workers) * r.Seconds)
	r.Lost = (float64(workers)*r.Seconds - r.Busy) / float64(r.Tasks)
	return r, nil
}

// sleeper is a worker's part.
type sleeper struct{}

// work sleeps for a trainer, until it is killed.
func work(ctx context.Context, url string) error {
	return fleet.Work(ctx, fleet.Options{URL: url}, fleet.Worker{Open: func(context.Context, fleet.Announcement, *fleet.Files) (fleet.Simulator, error) {
		return sleeper{}, nil
	}})
}

// Simulate implements [fleet.Simulator]. In place of network calls it counts nanoseconds: a busy machine sleeps longer than it should, which is no cost of the protocol.
func (sleeper) Simulate(_ context.Context, order json.RawMessage, from, n int) (diffusion.Piece, int64, error) {
	var m model
	if err := json.Unmarshal(order, &m); err != nil {
		return diffusion.Piece{}, 0, err
	}
	start := time.Now()
	for range m.Steps {
		time.Sleep(m.Step)
	}
	p := diffusion.Piece{From: from, Spent: make([]float64, m.Steps*n)}
	p.Paths = diffusion.Paths{N: n, Dim: m.Dim, X: make([]float32, n*m.Dim), LogRatio: make([]float64, n), Energy: make([]float64, n)}
	return p, time.Since(start).Nanoseconds(), nil
}

// Close implements [fleet.Simulator].
func (sleeper) Close() error { return nil }
