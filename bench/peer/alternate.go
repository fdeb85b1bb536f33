//go:build linux

package main

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// rules say how contestants are timed.
type rules struct {
	Batch   time.Duration `json:"batch"`      // length of a batch; at least one iteration
	Clean   int           `json:"clean"`      // clean batches wanted of each contestant
	Others  float64       `json:"others"`     // share of the machine above which other processes spoil a batch
	Limit   time.Duration `json:"limit"`      // for all batches of one work, after it is built
	CPUs    int           `json:"processors"` // of the machine
	Verbose bool          `json:"-"`
}

// contestant is one way to do a work: ours, or a variant in PyTorch.
type contestant struct {
	Name string
	Peer bool
	run  func(seconds float64) (answer, error)

	times []float64 // seconds per iteration, one per clean batch
	dirty int       // batches that were discarded
	fault string    // why it does not take part
	out   bool      // a peer much slower than another one
}

// timing is the outcome for one contestant.
type timing struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds,omitempty"` // per iteration, the median of the clean batches; 0 without any
	Clean   int     `json:"clean"`
	Dirty   int     `json:"dirty"`
	Fault   string  `json:"fault,omitempty"`
}

func (c *contestant) timing() timing {
	t := timing{Name: c.Name, Clean: len(c.times), Dirty: c.dirty, Fault: c.fault}
	if t.Clean > 0 {
		t.Seconds = median(c.times)
	}
	return t
}

func (c *contestant) active() bool { return c.fault == "" && !c.out }

// settle is the pause after a batch: the threads of both sides go on looking for work for a while before they sleep.
const settle = 5 * time.Millisecond

// alternate runs batches of all contestants in turns until each has enough clean ones or the time is up. A peer that is
// 1.3 times slower than another, by the best of at least two clean batches of each, is left out from then on: only the
// fastest peer will be quoted.
func alternate(contestants []*contestant, r rules) error {
	for _, c := range contestants {
		for _, seconds := range []float64{0, r.Batch.Seconds()} { // build, then warm up
			a, err := c.run(seconds)
			if err != nil {
				return err
			}
			if c.fault = a.Error; c.fault != "" {
				break
			}
		}
	}
	for start := time.Now(); time.Since(start) < r.Limit; {
		done := true
		for _, c := range contestants {
			if !c.active() {
				continue
			}
			a, err := c.run(r.Batch.Seconds())
			if err != nil {
				return err
			}
			if c.fault = a.Error; c.fault != "" {
				continue
			}
			time.Sleep(settle)
			if others := a.Busy - a.CPU; others > r.Others*a.Wall*float64(r.CPUs) {
				c.dirty++
			} else {
				c.times = append(c.times, a.Wall/float64(a.Iterations))
			}
			done = done && len(c.times) >= r.Clean
		}
		if done {
			return nil
		}
		prune(contestants)
	}
	return nil
}

func prune(contestants []*contestant) {
	const slower, enough = 1.3, 2
	fastest := math.Inf(1)
	for _, c := range contestants {
		if c.Peer && len(c.times) >= enough {
			fastest = min(fastest, slices.Min(c.times))
		}
	}
	for _, c := range contestants {
		if c.Peer && len(c.times) >= enough && slices.Min(c.times) > slower*fastest {
			c.out = true
		}
	}
}

// fastest returns the least of the timings that have any clean batch; false if none has.
func fastest(timings []timing) (timing, bool) {
	var best timing
	for _, t := range timings {
		if t.Clean > 0 && t.Fault == "" && (best.Clean == 0 || t.Seconds < best.Seconds) {
			best = t
		}
	}
	return best, best.Clean > 0
}

func median(values []float64) float64 {
	if len(values) == 0 {
		panic(fmt.Errorf("bench: median of nothing"))
	}
	v := slices.Sorted(slices.Values(values))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
