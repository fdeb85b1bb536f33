package experiment

import (
	"context"
	"errors"
	"fmt"

	"github.com/doob-diffusion/doob/data"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Work simulates for the runs of a server, one after the other, until the context ends. From is where the files of a data set are, for problems that
// cannot be simulated without; "" means the usual place. No reward is evaluated, so that programs that score samples are not started.
func Work(ctx context.Context, at fleet.Options, backend, from string, tell func(format string, args ...any)) error {
	e, err := engine.Open(backend)
	if err != nil {
		return err
	}
	cache, err := data.Dir("fleet")
	if err != nil {
		return err
	}
	return fleet.Work(ctx, at, fleet.Worker{Numbers: numbersOf(e), Cache: cache, Tell: tell,
		Open: func(_ context.Context, about fleet.Announcement, files *fleet.Files) (fleet.Simulator, error) {
			return newRemote(about, files, e, from)
		}})
}

// remote is a run as a worker knows it.
type remote struct {
	simulator
	problem Problem
	engine  *engine.Engine
	shared  *Lab
	labs    map[uint64]*Lab // by seed
}

// newRemote makes the problem of a run of its configuration, and compares what its numbers depend on.
func newRemote(about fleet.Announcement, files *fleet.Files, e *engine.Engine, from string) (*simulator, error) {
	fail := func(err error) (*simulator, error) { return nil, fmt.Errorf("the run %s: %w", about.Run, err) }
	var sets []string
	if from != "" {
		sets = []string{fmt.Sprintf("from=%q", from)}
	}
	p, err := parseConfig([]byte(about.Config), "config.yaml of the run", sets)
	if err != nil {
		return fail(err)
	}
	if err := validate(p); err != nil {
		return fail(err)
	}
	p.common().Backend = e.Name
	source, err := p.Load()
	if err != nil && !errors.Is(err, data.ErrMissing) { // many problems can be simulated without
		return fail(err)
	}
	if err == nil && source.SHA256 != about.Data {
		return fail(fmt.Errorf("%w: the data here are others (SHA-256 %s) than the run's (%s): --from names their folder", fleet.ErrRefused, source.SHA256, about.Data))
	}
	settings, err := identity(p)
	if err != nil {
		return fail(err)
	}
	if settings != about.Settings {
		return fail(fmt.Errorf("%w: its settings mean something else here (hash %s, the run's is %s): want the same files as the run has, at the same paths", fleet.ErrRefused, settings, about.Settings))
	}
	r := &remote{problem: p, engine: e, labs: map[uint64]*Lab{}}
	r.simulator = simulator{files: files, lab: r.lab, close: func() error { return release(p, nil) }}
	return &r.simulator, nil
}

// lab returns that of a request, with the networks that it names.
func (r *remote) lab(ctx context.Context, o request) (*Lab, error) {
	if l := r.labs[o.Seed]; l != nil {
		l.tempered(o.Task, o.Factor)
		return l, nil
	}
	if r.shared == nil {
		l, err := r.make(ctx, o, false)
		if err != nil {
			return nil, err
		}
		if err := r.problem.Prepare(ctx, l); err != nil {
			return nil, err
		}
		r.shared = l
	}
	l, err := r.make(ctx, o, true)
	if err != nil {
		return nil, err
	}
	r.labs[o.Seed] = l
	l.tempered(o.Task, o.Factor)
	return l, nil
}

// make makes the lab that all seeds share, or that of a seed over it, with their networks.
func (r *remote) make(ctx context.Context, o request, own bool) (*Lab, error) {
	c := r.problem.common()
	l := &Lab{Engine: r.engine.Fork(), Key: noise.New(c.Seed), problem: r.problem, seed: c.Seed, book: newBook(r.problem), pool: &method.Pool{}}
	if own {
		l.Engine, l.seed = r.shared.Engine.Fork(), o.Seed
	}
	for _, n := range r.problem.Networks() {
		if n.EachSeed != own {
			continue
		}
		path := nn.Averaged("/" + n.Name)
		if _, err := n.Init(l.Engine.Scope(path), l.Key); err != nil {
			return nil, err
		}
		tensors, err := r.tensors(ctx, o.Networks[n.Name], true)
		if err == nil {
			err = nn.Restore(l.Engine, tensors, path)
		}
		if err != nil {
			return nil, fmt.Errorf("network %s: %w", n.Name, err)
		}
	}
	return l, nil
}
