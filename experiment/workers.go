package experiment

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/htransform"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/nn"
	"github.com/doob-diffusion/doob/noise"
)

// Option changes how a run is done, and not what comes of it.
type Option func(*run)

// WithWorkers has simulations done by the workers of a server too, to the same bytes whoever comes and goes: see [Work]. This process is one of
// them.
func WithWorkers(at fleet.Options) Option { return func(r *run) { r.crew = &crew{at: at} } }

// crew are the workers of a run, as the trainer sees them.
type crew struct {
	at      fleet.Options
	trainer *fleet.Trainer

	mutex sync.Mutex
	labs  map[uint64]*Lab   // by seed
	sums  map[string]string // of the files that the server has, by their paths here
	kept  []string          // weights that the server has, the newest last
	open  int               // simulations that are waited for
}

// request says which simulation a task is of. Steps, networks and weights are files, by their SHA-256.
type request struct {
	Seed     uint64            `json:"seed"`
	Task     string            `json:"task,omitempty"`
	Method   string            `json:"method"`
	Factor   float64           `json:"factor"` // of the reward, see [Temper]
	Chain    method.Chain      `json:"chain"`
	Key      noise.Key         `json:"key"`
	States   bool              `json:"states,omitempty"`
	Steps    string            `json:"steps"`              // as JSON
	Networks map[string]string `json:"networks,omitempty"` // by name
	Weights  string            `json:"weights,omitempty"`  // of h; "" for the base model
}

// hire makes the server that of the run, and begins to work beside the others. The context that it returns ends with an error of that.
func (r *run) hire(ctx context.Context) (_ context.Context, dismiss func(), err error) {
	c := r.crew
	if c == nil {
		return ctx, func() {}, nil
	}
	e, err := engine.Open(r.backend())
	if err != nil {
		return nil, nil, err
	}
	about := fleet.Announcement{Run: filepath.Base(r.folder.Path), Config: r.config, Data: r.data.SHA256, Numbers: numbersOf(e)}
	if about.Settings, err = identity(r.problem); err != nil {
		return nil, nil, err
	}
	c.labs, c.sums = map[uint64]*Lab{}, map[string]string{}
	if c.trainer, err = fleet.Open(ctx, c.at, about, 0); err != nil {
		return nil, nil, err
	}
	ctx, end := context.WithCancelCause(ctx)
	var own sync.WaitGroup
	own.Go(func() {
		end(fleet.Work(ctx, c.at, fleet.Worker{Name: "trainer", Numbers: about.Numbers, Open: func(_ context.Context, _ fleet.Announcement, files *fleet.Files) (fleet.Simulator, error) {
			return &simulator{files: files, lab: c.lab, close: func() error { return nil }}, nil
		}}))
	})
	own.Go(func() { r.tell(ctx, c.trainer) })
	return ctx, func() { end(nil); own.Wait(); c.trainer.Close() }, nil
}

// workersFile has, while a run works, what its trainer says of workers, and tellEvery is how often.
const (
	workersFile = "workers.json"
	tellEvery   = 2 * time.Second
)

// tell keeps workersFile up to date for those who look. The run does not need it: what goes wrong is not told.
func (r *run) tell(ctx context.Context, t *fleet.Trainer) {
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	defer os.Remove(r.folder.File(workersFile))
	for {
		_ = r.folder.WriteJSON(workersFile, t.Status())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// meet makes a lab known to the crew. There may be none.
func (c *crew) meet(l *Lab) {
	if c != nil {
		c.mutex.Lock()
		defer c.mutex.Unlock()
		c.labs[l.seed] = l
	}
}

// lab is that of a request, in this process.
func (c *crew) lab(_ context.Context, o request) (*Lab, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if l := c.labs[o.Seed]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("the run has no seed %d", o.Seed)
}

// spread returns what starts a chain's simulation by the crew; nil where h is not what the method itself learns, so that others could not make it.
func (c *crew) spread(w *work, m method.Method, s *diffusion.Sampler, chain method.Chain) method.Start {
	if s.Control != nil && !method.Learns(m) {
		return nil
	}
	return func(ctx context.Context, key noise.Key, from, n int, visit diffusion.Visitor) (func(context.Context) (diffusion.Paths, error), error) {
		o := request{Seed: w.at.seed, Task: w.at.task, Method: w.at.name, Factor: w.lab.Factor(w.at.task), Chain: chain, Key: key, States: visit != nil, Networks: map[string]string{}}
		err := c.supply(ctx, w.lab, s, &o)
		if err == nil && s.Control != nil {
			o.Weights, err = c.weights(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		text, err := key.MarshalText()
		if err != nil {
			return nil, err
		}
		job := &fleet.Job{Name: strings.Join(strings.Fields(fmt.Sprintf("%s %s seed %d %s", w.at.name, w.at.task, w.at.seed, text)), " "),
			Order: o, Sampler: s, Key: key, From: from, N: n, Each: s.Batch, Visit: visit}
		c.open++
		return func(ctx context.Context) (diffusion.Paths, error) {
			c.open--
			paths, calls, err := job.Wait(ctx)
			s.Engine.Recount(s.Engine.Paths()+int64(n), s.Engine.NetworkCalls()+calls)
			return paths, err
		}, c.trainer.Start(ctx, job)
	}
}

// supply places what a request needs: steps of the sampler and networks.
func (c *crew) supply(ctx context.Context, l *Lab, s *diffusion.Sampler, o *request) error {
	steps, err := json.Marshal(s.Steps)
	if err != nil {
		return fmt.Errorf("steps of the sampler: %w", err)
	}
	if o.Steps, err = c.trainer.Put(ctx, steps); err != nil {
		return err
	}
	all := l.problem.common()
	for _, n := range l.problem.Networks() {
		seed := all.Seed
		if n.EachSeed {
			seed = l.seed
		}
		if o.Networks[n.Name], err = c.file(ctx, checkpointFile(l.folder, all.fileName(n.Name, "", seed))); err != nil {
			return err
		}
	}
	return nil
}

// file places a file, which does not change while the run works, and returns its SHA-256.
func (c *crew) file(ctx context.Context, path string) (string, error) {
	if sum := c.sums[path]; sum != "" {
		return sum, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	c.sums[path], err = c.trainer.Put(ctx, data)
	return c.sums[path], err
}

// keptWeights are versions of h that stay on the server for those who are late, besides those of simulations that are waited for.
const keptWeights = 4

// weights places the parameters of a sampler's h, by their names without the average that they may be of.
func (c *crew) weights(ctx context.Context, s *diffusion.Sampler) (string, error) {
	path := htransform.Path
	if learned, ok := s.Control.(htransform.Learned); ok && strings.HasPrefix(learned.Parameters()[0].Path(), nn.Averaged(path)) {
		path = nn.Averaged(path)
	}
	tensors, err := nn.State(s.Engine, path)
	if err != nil {
		return "", err
	}
	named := map[string]checkpoint.Tensor{}
	for name, t := range tensors {
		named[strings.TrimPrefix("/"+name, path)] = t
	}
	var b bytes.Buffer
	if err := checkpoint.Write(&b, checkpoint.File{Tensors: named}); err != nil {
		return "", err
	}
	sum, err := c.trainer.Put(ctx, b.Bytes())
	if err != nil {
		return "", err
	}
	c.kept = slices.DeleteFunc(c.kept, func(old string) bool { return old == sum }) // methods may begin with the same h
	if c.kept = append(c.kept, sum); len(c.kept) > keptWeights+c.open {
		err = c.trainer.Drop(ctx, c.kept[0])
		c.kept = c.kept[1:]
	}
	return sum, err
}

// numbersOf says what the last bits depend on, with a backend.
func numbersOf(e *engine.Engine) fleet.Numbers {
	return fleet.Local(numerics(e.Name) + " (" + e.Numerics() + ")")
}

// identity is the hash of all settings that results depend on.
func identity(p Problem) (string, error) {
	flat, err := flatten(p)
	if err != nil {
		return "", err
	}
	parts := []any{trainingVersion, numerics(p.common().Backend)}
	for _, kv := range flat {
		if !isFree(kv.Key) {
			parts = append(parts, kv.Key, kv.Text)
		}
	}
	text, err := json.Marshal(parts)
	return hash(text), err
}
