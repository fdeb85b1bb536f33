package experiment

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/method"
)

// Evaluate draws new samples from what a run has learned, as its methods do, and measures them as the run does: of d.Method, or of all that
// have ended. They are as many as the run has measured for d.N = 0; with the seed of the run they are the run's own. Nothing is written.
// After each set of samples, observe gets an event.
func Evaluate(ctx context.Context, d Draw, observe func(Event)) (rep *Report, err error) {
	if d.N < 0 || d.N == 1 {
		return nil, fmt.Errorf("eval: %d samples: want at least 2, or 0 for as many as the run has measured", d.N)
	}
	complete := exists(filepath.Join(d.Folder, "report.json"))
	if files, err := filepath.Glob(checkpointFile(d.Folder, "*")); err != nil || len(files) == 0 && !complete && exists(filepath.Join(d.Folder, "config.yaml")) {
		return nil, fmt.Errorf("%w %s: the run is not finished and has left no checkpoint to evaluate: doob run --resume %s", ErrFolder, d.Folder, d.Folder)
	}
	ctx, end := context.WithCancel(ctx) // and what the problem has opened with it
	defer end()
	l, err := openLab(ctx, d.Folder, d.From, d.Backend, true)
	if err != nil {
		return nil, err
	}
	p, c := l.problem, l.problem.common()
	defer func() { err = release(p, err) }()
	if d.N > 0 {
		c.Samples = d.N
	}
	if err := refuse(p, data.Source{}, ""); err != nil {
		return nil, err
	}
	references, err := p.References(ctx, l)
	if err != nil {
		return nil, err
	}
	names := slices.Concat([]string{"base"}, slices.DeleteFunc(slices.Clone(c.Methods), func(n string) bool { return n == "base" }))
	if d.Method != "" {
		names = strings.Split(d.Method, ",")
	}
	tasks, found, partial := p.Tasks(), map[string]int{}, []string{}
	results := newBook(p)
	maps.Copy(results.certificates, l.book.certificates) // what the run knows of log Z
	for i, task := range tasks {
		for j, name := range names {
			observe(Event{Seed: d.Seed, Stage: "evaluate", Done: i*len(names) + j, Total: len(tasks) * len(names)})
			if name != "base" && !l.has(task, name) {
				continue
			}
			found[name]++
			r, certificate, err := l.evaluate(ctx, d.Seed, task, name)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", name, task, err)
			}
			at := stage{c.Seed, task, name}
			if results.results[at] = r; certificate != nil && (name != "base" || c.wants(name)) { // by what the run knows, as the run has judged
				results.certificates[at] = *certificate
			}
		}
	}
	observe(Event{Seed: d.Seed, Stage: "evaluate", Done: len(tasks) * len(names), Total: len(tasks) * len(names)})
	names = slices.DeleteFunc(names, func(name string) bool {
		if n := found[name]; n > 0 && n < len(tasks) {
			partial = append(partial, name)
		}
		return found[name] == 0
	})
	rep = results.report(names, 1, references)
	rep.Seed, rep.Backend, rep.Extra = d.Seed, l.Engine.Name, map[string]any{"folder": d.Folder, "samples": c.Samples, "complete": complete}
	note := fmt.Sprintf("%d new samples of each method", c.Samples)
	if len(rep.Tasks) > 0 {
		note += " and task"
	}
	rep.notes = []string{fmt.Sprintf("%s, seed %d. Checkpoints are those of the run's first seed.", note, d.Seed)}
	if !complete {
		rep.notes = append(rep.notes, fmt.Sprintf("The run is not finished: doob run --resume %s", d.Folder))
		if len(partial) > 0 {
			rep.notes = append(rep.notes, fmt.Sprintf("Not on every task yet, see --tasks: %s.", strings.Join(partial, ", ")))
		}
	}
	return rep, nil
}

// evaluate measures new samples of a method. What they cost is not said: it is not what the run has spent.
func (l *Lab) evaluate(ctx context.Context, seed uint64, task, name string) (Result, *finetune.Certificate, error) {
	p, t, m, err := l.target(ctx, task, name)
	if err != nil {
		return nil, nil, err
	}
	t.Keys = p.Keys(seed, task, name)
	h, err := l.control(ctx, t, task, name, m)
	if err != nil {
		return nil, nil, err
	}
	if method.Learns(m) {
		if t.Evidence, err = evidence(l.checkpoint(name, task)); err != nil {
			return nil, nil, err
		}
	}
	s, err := m.Sample(ctx, t, h)
	if err != nil {
		return nil, nil, err
	}
	out, err := measured(ctx, l.problem, l, task, s)
	for _, m := range l.problem.Metrics() {
		if m.Work {
			delete(out, m.Name)
		}
	}
	return out, s.Certificate, err
}

// evidence is what the training of an h knew of log Z; nothing if it is of an earlier version.
func evidence(file string) (pool finetune.Pool, err error) {
	r, err := checkpoint.Open(file)
	if err != nil {
		return pool, err
	}
	defer r.Close()
	var state []float64
	for _, word := range strings.Fields(strings.Trim(r.Metadata()["evidence"], "[]")) {
		v, err := strconv.ParseFloat(word, 64)
		if err != nil {
			return pool, fmt.Errorf("%s: evidence: %w", file, err)
		}
		state = append(state, v)
	}
	if len(state) != len(pool.State()) {
		return pool, nil
	}
	return finetune.PoolOf(state), nil
}
