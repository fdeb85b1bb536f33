package experiment

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/internal/version"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/steer"
)

// Opened is a run folder whose networks are in memory, to be sampled again and again by one goroutine at a time. The folder is neither held nor changed.
type Opened struct {
	lab *Lab
	end context.CancelFunc
}

// OpenRun reads what a run has learned. What the problem opens beside it, such as a program that scores samples, ends with the context or by Close.
// From and backend are as in [Draw].
func OpenRun(ctx context.Context, folder, from, backend string) (*Opened, error) {
	ctx, end := context.WithCancel(ctx)
	l, err := openLab(ctx, folder, from, backend, true)
	if err != nil {
		end()
		return nil, err
	}
	return &Opened{l, end}, nil
}

// Close lets go of the networks.
func (o *Opened) Close() error {
	err := release(o.lab.problem, nil)
	o.end()
	o.lab.Engine.Params.Finalize()
	return err
}

// Sample is the function [Sample] of the run that was opened: d.Folder, d.From and d.Backend are those of it.
func (o *Opened) Sample(ctx context.Context, d Draw) (used string, err error) {
	if err := d.check(); err != nil {
		return "", err
	}
	l := o.lab
	d.Folder = l.folder
	p := l.problem
	task, condition := d.Task, -1
	if tasks := p.Tasks(); !slices.Contains(tasks, task) {
		if task != "" && tasks[0] != "" {
			return "", fmt.Errorf("sample: %s has no task %s", d.Folder, config.Unknown(d.Task, tasks))
		}
		if task != "" {
			if condition, err = strconv.Atoi(task); err != nil || condition < 0 {
				condition = math.MaxInt // there is none of that name
			}
		}
		task = tasks[0]
	}
	if d.Method, err = l.choose(d, task); err != nil {
		return "", err
	}
	q, t, m, err := l.target(ctx, task, d.Method)
	if err != nil {
		return "", err
	}
	if err := stepped(q.common(), t, d.Steps); err != nil {
		return "", err
	}
	if t.Given == nil && condition >= 0 {
		return "", fmt.Errorf("sample: %s has no task %q: it has a single one", d.Folder, d.Task)
	}
	if t.Given != nil {
		if condition = max(0, condition); condition >= t.Conditions {
			return "", fmt.Errorf("sample: %s has no condition %q: want a number from 0 to %d", d.Folder, d.Task, t.Conditions-1)
		}
		given := t.Given
		t.Conditions, t.Given = 1, func(int, int) *diffusion.Condition { return given(condition, math.MaxInt) }
	}
	t.Keys.Root, t.Keys.Particles, t.Pool = noise.New(d.Seed), noise.New(d.Seed).Sub("particles"), &method.Pool{}
	t.Samples = d.N
	work := t.Work()
	work.Samples /= d.Accept
	what := fmt.Sprintf("sampling %d", d.N)
	if d.Accept < 1 {
		what += fmt.Sprintf(" of %.3g paths", work.Samples)
	}
	if err := fits(machine.Resident()+m.Cost(work).Memory(work), what); err != nil {
		return "", err
	}
	h, err := l.control(ctx, t, task, d.Method, m)
	if err != nil {
		return "", err
	}
	if d.Amplify != 1 {
		if h == nil {
			return "", fmt.Errorf("sample: %s has no h to amplify", d.Method)
		}
		h = steer.Amplified{Control: h, Scale: d.Amplify}
	}
	defer d.watch(t, m, work)()
	var s *method.Samples
	if d.Accept < 1 {
		s, err = t.Accepted(ctx, h, d.Accept)
	} else {
		s, err = m.Sample(ctx, t, h)
	}
	if err != nil {
		return "", err
	}
	for i, v := range s.X {
		if v-v != 0 {
			return "", fmt.Errorf("sample: number %d of sample %d of %s is infinite or NaN: its networks are damaged, or have diverged", i%engine.Size(t.Shape)+1, i/engine.Size(t.Shape)+1, d.Method)
		}
	}
	if filepath.Ext(d.Out) == ".csv" {
		return d.Method, report.CSV(d.Out, s.X, engine.Size(t.Shape))
	}
	if err := p.Picture(d.Out, s.X, d.N, min(8, d.N)); err != nil {
		return "", err
	}
	return d.Method, report.Annotate(d.Out, d.notes(task, condition, len(t.Steps(0))))
}

// stepped makes n the number of steps of a target that is sampled, unless it is 0.
func stepped(c *Common, t *method.Target, n int) error {
	if n == 0 {
		return nil
	}
	if levels := c.Process.Levels; levels != nil {
		if _, err := c.Process.Numbered(n).Table(levels); err != nil {
			return fmt.Errorf("sample: %w", err)
		}
	}
	of := t.Steps
	t.Steps = func(own int) []diffusion.Step {
		if own == 0 {
			own = n
		}
		return of(own)
	}
	return nil
}

// watch tells of network calls until what it returns is called.
func (d Draw) watch(t *method.Target, m method.Method, w method.Work) (end func()) {
	if d.Observe == nil {
		return func() {}
	}
	total := m.Cost(w).Calls(w)
	if method.Learns(m) { // which counts what learning takes too
		total = method.Cost{Paths: w.Samples, Networks: 1 + w.Self}.Calls(w)
	}
	before, ended, gone := t.Engine.NetworkCalls(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				d.Observe(min(float64(t.Engine.NetworkCalls()-before), total), total)
			}
		}
	}()
	return func() { close(ended); <-gone }
}

// notes are what it takes to draw the samples again.
func (d Draw) notes(task string, condition, steps int) []report.Note {
	if condition >= 0 {
		task = strconv.Itoa(condition)
	}
	settings := fmt.Sprintf("method %s, samples %d, steps %d, amplify %g, accept %g", d.Method, d.N, steps, d.Amplify, d.Accept)
	notes := []report.Note{{Key: "run", Text: filepath.Base(filepath.Clean(d.Folder))}, {Key: "seed", Text: fmt.Sprint(d.Seed)}, {Key: "settings", Text: settings},
		{Key: "Software", Text: "doob " + version.String()}}
	if task != "" {
		notes = append(notes, report.Note{Key: "task", Text: task})
	}
	return notes
}
