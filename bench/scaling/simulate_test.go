package main

import (
	"fmt"
	"math"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
)

var (
	inf     = math.Inf(1)
	instant = network{Broker: inf, Link: inf, Tasks: 1}
	small   = work{Paths: 24, Path: 0.5, Train: 3, Weights: 1000, Record: 10, Task: 100, Iterations: 40}
)

// Where the network takes no time, an iteration takes what its parts take: one after the other in synchronous mode, however many workers share the first; the longer one
// with staleness; and of paths that are fewer than the workers, what one takes.
func TestInstantNetwork(t *testing.T) {
	for _, c := range []struct {
		workers, staleness int
		path               float64
		want               float64 // seconds of an iteration
	}{
		{1, 0, 0.5, 12 + 3}, {4, 0, 0.5, 3 + 3}, {12, 0, 0.5, 1 + 3}, {24, 0, 0.5, 0.5 + 3}, {1000, 0, 0.5, 0.5 + 3},
		{1, 1, 0.5, 12}, {2, 1, 0.5, 6}, {1, 8, 0.5, 12}, // the workers are the limit
		{8, 1, 0.5, 3}, {1000, 1, 0.5, 3}, {1000, 4, 0.5, 3}, // the trainer is
		{1000, 1, 8, (8 + 3) / 2.}, {1000, 4, 8, 3}, // two batches in flight are not enough, five are
	} {
		w := small
		w.Staleness, w.Path = c.staleness, c.path
		u := simulate(w, instant, c.workers)
		oracle.Near(t, fmt.Sprintf("%+v: seconds", c), 24/u.Rate, c.want, 1e-9)
	}
}

// The shares of time follow: in synchronous mode of one worker 12 and 3 seconds of 15.
func TestUsage(t *testing.T) {
	u := simulate(small, instant, 1)
	oracle.Near(t, "worker", u.Workers, 0.8, 1e-9)
	oracle.Near(t, "trainer", u.Trainer, 0.2, 1e-9)
	oracle.Near(t, "broker", u.Broker, 0, 0)
	oracle.Near(t, "link", u.Link, 0, 0)
	for limit, c := range map[string]struct{ workers, staleness int }{"waiting": {4, 0}, "workers": {1, 4}, "trainer": {30, 4}} {
		w := small
		w.Staleness, w.Iterations = c.staleness, 400
		if u := simulate(w, instant, c.workers); u.limit() != limit {
			t.Errorf("%+v: the limit is %s, want %s: %+v", c, u.limit(), limit, u)
		}
	}
}

// One worker and one task an iteration: every message of the round trip counts.
//
//	weights up:    1000/200 + L, 1000/100 + m    trainer to broker
//	task:          100/100 + m, 100/200 + L      broker to worker
//	weights:       L;  1000/100 + m, 1000/200 + L
//	record:        340/200 + L, 340/100 + m      340 = 100 + 24·10
//	               340/100 + m, 340/200 + L      broker to trainer
func TestRoundTrip(t *testing.T) {
	n := network{Latency: 0.25, Broker: 100, Link: 200, Message: 0.01, Tasks: 1}
	u := simulate(small, n, 1)
	want := 12 + 3 + 6*0.25 + 5*0.01 + (1000+1000+100+340+340)*(1/100.+1/200.)
	oracle.Near(t, "seconds of an iteration", 24/u.Rate, want, 1e-9)
}

// Where nothing else takes time, the broker sends the weights to one worker after the other.
func TestBroker(t *testing.T) {
	w := small
	w.Path, w.Train, w.Record, w.Task = 0, 0, 0, 0
	n := instant
	n.Broker = 100
	for _, workers := range []int{1, 6, 24} {
		u := simulate(w, n, workers)
		oracle.Near(t, fmt.Sprintf("%d workers", workers), 24/u.Rate, float64(1+workers)*1000/100, 1e-9) // and to the broker once
	}
	w.Staleness = 3 // the ways in and out work at the same time, and a worker that has a version may take a second task of it
	u := simulate(w, n, 24)
	if seconds := 24 / u.Rate; !(seconds <= 240 && seconds > 220) || u.limit() != "broker" {
		t.Errorf("stale: %g s an iteration, want somewhat less than 240; the limit is %s", seconds, u.limit())
	}
}

// Where nothing else takes time, the trainer takes one record after the other.
func TestTrainerLink(t *testing.T) {
	w := small
	w.Path, w.Train, w.Weights, w.Task, w.Staleness = 0, 0, 0, 0, 2
	n := instant
	n.Link = 100
	u := simulate(w, n, 24)
	oracle.Near(t, "seconds of an iteration", 24/u.Rate, 24*10/100., 1e-9)
	if u.limit() != "trainer's link" {
		t.Errorf("the limit is %s", u.limit())
	}
}

// Of unlike workers with one task each, synchronous mode waits for the slowest; with more tasks than workers the fast ones do more.
func TestSpread(t *testing.T) {
	n := instant
	n.Spread = 0.5
	w := small
	w.Train = 0
	oracle.Near(t, "one task each", 24/simulate(w, n, 4).Rate, 6*0.5*1.5, 1e-9)
	n.Tasks = 6 // single paths; paces are 0.5, 0.83, 1.17, 1.5 times 0.5 s
	if got := 24 / simulate(w, n, 4).Rate; !(got < 3.5 && got >= 12/(2+1.2+6/7.+2/3.)-1e-9) {
		t.Errorf("six tasks each: %g s, want between 2.54, for equal ends, and 3.5", got)
	}
	w.Staleness = 3 // nobody waits: all work at their own pace
	u := simulate(w, n, 4)
	oracle.Near(t, "stale", 24/u.Rate, 12/(2+1.2+6/7.+2/3.), 0.02)
}

// What a path adds to a message is its numbers, and nothing else: four bytes each, and three numbers of eight.
func TestSizes(t *testing.T) {
	w, err := work{}.sized(784, 24, nil)
	if err != nil {
		t.Fatal(err)
	}
	oracle.Near(t, "record", w.Record, 4*784+3*8, 0.05) // counts take more digits
	if !(w.Task > 24*8 && w.Task < 2000) {
		t.Errorf("a task has %g bytes beside its records", w.Task)
	}
	weights, err := adapter(4)
	if err != nil {
		t.Fatal(err)
	}
	parameters := 0
	for _, v := range weights {
		parameters += len(v.F32)
	}
	if parameters != 797_184 { // of rank 4 on all attention layers of Stable Diffusion 1.5, as peft counts them
		t.Errorf("the adapter has %d parameters, want 797184", parameters)
	}
}
