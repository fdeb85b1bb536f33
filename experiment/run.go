package experiment

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/config"
	"github.com/doob-diffusion/doob/internal/runfolder"
	"github.com/doob-diffusion/doob/internal/version"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/noise"
)

var (
	// ErrConfig says that a configuration has an unknown key, a value of the wrong type, or a value out of range.
	ErrConfig = config.ErrConfig
	// ErrFolder says that a run folder cannot be used: it is not empty, another process works in it, or it is no run folder.
	ErrFolder = runfolder.ErrFolder
)

var errTooLarge = errors.New("this does not fit")

type snapshot = runfolder.Snapshot

// run is an experiment in progress.
type run struct {
	problem Problem
	data    data.Source
	folder  *runfolder.Folder
	config  string // text of config.yaml
	book    *book
	board   *board
	observe func(Event)
	done    map[stage]string // hash of the settings that a result depends on
	start   time.Time
	crew    *crew // nil without workers

	rehearsed bool
}

// Run runs a problem in a folder, which must be new or empty. When the context ends it stops after the current step and returns the
// context's error: [Resume] goes on from there. report.json exists only if the run is complete.
func Run(ctx context.Context, p Problem, folder, backend string, observe func(Event), options ...Option) (*Report, error) {
	source, err := p.Load() // before anything is written
	if err != nil {
		return nil, err
	}
	if _, err := engine.Open(backend); err != nil {
		return nil, err
	}
	p.common().Backend = backend
	if err := p.common().locate(); err != nil {
		return nil, err
	}
	if err := refuse(p, source, folder); err != nil {
		return nil, err
	}
	written, err := text(p)
	if err != nil {
		return nil, err
	}
	f, err := runfolder.Create(folder, written)
	if err != nil {
		return nil, err
	}
	r := newRun(p, source, f, string(written), observe, options)
	r.observe(Event{Config: r.config, Data: source.SHA256})
	return r.finish(ctx)
}

func newRun(p Problem, source data.Source, f *runfolder.Folder, config string, observe func(Event), options []Option) *run {
	r := &run{problem: p, data: source, folder: f, config: config, book: newBook(p), board: newBoard(p, f.Path), done: map[stage]string{}, start: time.Now()}
	r.observe = func(ev Event) {
		ev.live, ev.later = live(p), ev.Seed != p.common().Seed
		f.Event(ev)
		r.book.add(ev)
		r.harmless(r.board.write(ev))
		observe(ev)
	}
	for _, o := range options {
		o(r)
	}
	return r
}

// harmless tells what went wrong with the files for TensorBoard, and leaves them as they are: the run does not need them.
func (r *run) harmless(err error) {
	if err != nil {
		r.board.off = true
		r.warn("no more event files for TensorBoard: %v", err)
	}
}

// live are the metrics that are shown while a run works.
func live(p Problem) (out []Metric) {
	for _, m := range p.Metrics() {
		if m.Live {
			out = append(out, m)
		}
	}
	return out
}

// finish does all stages that have no result yet, and writes the report.
func (r *run) finish(ctx context.Context) (rep *Report, err error) {
	defer func() { err = r.goesOn(release(r.problem, errors.Join(err, r.folder.Close()))) }()
	ctx, end := context.WithCancel(ctx) // and what the problem has opened with it, such as programs that score samples
	defer end()
	ctx, dismiss, err := r.hire(ctx)
	if err != nil {
		return nil, err
	}
	defer dismiss()
	defer func() { // why the context has ended, if it was not the caller
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
			err = cause
		}
	}()
	c := r.problem.common()
	shared, err := r.lab(ctx, nil, c.Seed)
	if err != nil {
		return nil, err
	}
	if err := r.problem.Prepare(ctx, shared); err != nil {
		return nil, err
	}
	references, err := r.problem.References(ctx, shared)
	if err != nil {
		return nil, err
	}
	var first *Lab
	for i := range c.Seeds {
		l, err := r.lab(ctx, shared, c.Seed+uint64(i))
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = l
		}
		if err := r.fit(ctx, l); err != nil {
			return nil, err
		}
		r.crew.meet(l)
		for _, task := range r.problem.Tasks() {
			if err := r.temper(ctx, l, task); err != nil {
				return nil, fmt.Errorf("the reward of %s, seed %d: %w", task, l.seed, err)
			}
			for _, name := range c.Methods {
				if err := r.method(ctx, l, task, name); err != nil {
					return nil, err
				}
				if err := r.folder.Err(); err != nil {
					return nil, err
				}
			}
		}
	}
	rep = r.book.report(c.Methods, c.Seeds, references)
	rep.Extra, rep.Seconds = map[string]any{}, time.Since(r.start).Seconds()
	maps.Copy(rep.Extra, r.problem.Describe(first))
	r.book.courses(rep.Extra)
	if err := r.page(ctx, first, rep); err != nil {
		return nil, err
	}
	r.harmless(r.board.figures())
	if err := cmp.Or(r.folder.Err(), r.folder.DropSnapshot()); err != nil {
		return nil, err
	}
	if err := rep.writeCSV(r.folder.File("report.csv")); err != nil {
		return nil, err
	}
	return rep, r.folder.WriteJSON("report.json", rep)
}

// lab returns the lab of a seed, with its networks, over that with those that all seeds share: a nil one makes the shared.
func (r *run) lab(ctx context.Context, shared *Lab, seed uint64) (*Lab, error) {
	l := &Lab{Key: noise.New(r.problem.common().Seed), problem: r.problem, seed: seed, folder: r.folder.Path, book: r.book, pool: &method.Pool{}}
	if shared != nil {
		l.Engine = shared.Engine.Fork()
	} else {
		var err error
		if l.Engine, err = engine.Open(r.backend()); err != nil {
			return nil, err
		}
	}
	for _, n := range r.problem.Networks() {
		if n.EachSeed == (shared != nil) {
			if err := r.obtain(ctx, l.Engine, n, seed); err != nil {
				return nil, fmt.Errorf("%s: %w", n.Name, err)
			}
		}
	}
	return l, nil
}

func (r *run) backend() string { return r.problem.common().Backend }

// ended reports whether a stage has a result that was made under these settings.
func (r *run) ended(at stage, settings string) bool { return r.done[at] == settings }

func (r *run) warn(format string, args ...any) {
	r.observe(Event{Warning: fmt.Sprintf(format, args...)})
}

// metadata describes a checkpoint: what it is of, and all settings.
func (r *run) metadata(what string, seed uint64, settings string) map[string]string {
	return map[string]string{"experiment": r.problem.common().Experiment, "network": what, "seed": fmt.Sprint(seed), "data": r.data.Name,
		"data_sha256": r.data.SHA256, "backend": r.backend(), "version": version.String(), "config": r.config, "settings": settings}
}

// settings returns the hash of all that the result of a method depends on.
func (r *run) settings(at stage) (string, error) {
	p, m, err := variant(r.problem, at.name)
	if err != nil {
		return "", err
	}
	c := p.common()
	parts := []any{trainingVersion, r.data.SHA256, numerics(r.backend()), at.seed, at.task}
	flat, err := flatten(p)
	if err != nil {
		return "", err
	}
	for ; m != nil; m = c.Method(m.About().Of) {
		digest, err := seedsDigest(m)
		if err != nil {
			return "", err
		}
		parts = append(parts, m)
		if digest != "" {
			parts = append(parts, digest)
		}
	}
	for _, kv := range flat {
		if head, _, _ := strings.Cut(kv.Key, "."); !isFree(kv.Key) && c.Method(head) == nil {
			parts = append(parts, kv.Key, kv.Text)
		}
	}
	text, err := json.Marshal(parts)
	return hash(text), err
}

// numerics is the part of a backend's name that results depend on: not the number of threads.
func numerics(backend string) string {
	name, options, _ := strings.Cut(backend, ":")
	var kept []string
	for o := range strings.SplitSeq(options, ",") {
		if o != "" && !strings.HasPrefix(o, "workers=") {
			kept = append(kept, o)
		}
	}
	return strings.TrimSuffix(name+":"+strings.Join(kept, ","), ":")
}
