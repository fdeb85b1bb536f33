package fleet

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

// Status is what a trainer says of its workers and tasks.
type Status struct {
	Run     string         `json:"run"`
	Seconds float64        `json:"seconds"` // since it has begun
	Jobs    []JobStatus    `json:"jobs"`
	Workers []WorkerStatus `json:"workers"`
	Refused []string       `json:"refused,omitempty"` // the last reasons why a worker or an answer was not taken
}

// JobStatus is how far a simulation is.
type JobStatus struct {
	Name  string `json:"name"`
	Done  int    `json:"done"` // tasks
	Total int    `json:"total"`
}

// WorkerStatus is what is known of a worker.
type WorkerStatus struct {
	Name    string  `json:"name"`
	Joined  float64 `json:"joined"` // seconds ago
	Seen    float64 `json:"seen"`   // seconds ago
	Tasks   int     `json:"tasks"`  // answered
	Paths   int     `json:"paths"`
	Speed   float64 `json:"paths_per_second"` // since it has joined
	Task    string  `json:"task,omitempty"`   // that it is at
	TaskAge float64 `json:"task_age,omitempty"`
}

// seen is what a trainer knows of a worker.
type seen struct {
	joined, last, since time.Time
	tasks, paths        int
	task                string
}

// gone is the time after which a worker that is not heard of is forgotten.
const gone = 10 * time.Minute

func (t *Trainer) see(worker string, note func(*seen)) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	s := t.workers[worker]
	if s == nil {
		s = &seen{joined: time.Now()}
		t.workers[worker] = s
	}
	s.last = time.Now()
	note(s)
}

// Status says how things stand.
func (t *Trainer) Status() Status {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	out := Status{Run: t.about.Run, Seconds: time.Since(t.start).Seconds(), Refused: slices.Clone(t.refused)}
	for name, j := range t.jobs {
		out.Jobs = append(out.Jobs, JobStatus{name, len(j.pieces), (j.N + j.Each - 1) / j.Each})
	}
	slices.SortFunc(out.Jobs, func(a, b JobStatus) int { return cmp.Compare(a.Name, b.Name) })
	for name, s := range t.workers {
		if time.Since(s.last) > gone {
			delete(t.workers, name)
			continue
		}
		w := WorkerStatus{Name: name, Joined: time.Since(s.joined).Seconds(), Seen: time.Since(s.last).Seconds(), Tasks: s.tasks, Paths: s.paths, Task: s.task}
		if w.Speed = float64(s.paths) / w.Joined; s.task != "" {
			w.TaskAge = time.Since(s.since).Seconds()
		}
		out.Workers = append(out.Workers, w)
	}
	slices.SortFunc(out.Workers, func(a, b WorkerStatus) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Ask asks the trainer of a server for its status.
func Ask(ctx context.Context, o Options) (Status, error) {
	c, err := connect(o, "status")
	if err != nil {
		return Status{}, err
	}
	defer c.Close()
	var s Status
	if err := c.ask(ctx, statusSubject, struct{}{}, &s); errors.Is(err, nats.ErrNoResponders) {
		return s, fmt.Errorf("fleet: the server at %s runs, but no trainer works with it", o.URL)
	} else if err != nil {
		return s, fmt.Errorf("fleet: status: %w", err)
	}
	return s, nil
}
