package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

const soon = 400 * time.Millisecond // after which a task that nobody is at is given to another

var mine = Numbers{Doob: "1", Go: "2", Platform: "3", Backend: "4"}

func listen(t *testing.T, o ServerOptions) *Server {
	t.Helper()
	if o.Folder == "" {
		o.Folder = t.TempDir()
	}
	if o.Address == "" {
		o.Address = ":0"
	}
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func open(t *testing.T, url string) *Trainer {
	t.Helper()
	trainer, err := Open(t.Context(), Options{URL: url}, Announcement{Run: "a run", Numbers: mine}, soon)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(trainer.Close)
	return trainer
}

// sampler has a control, and one dimension.
func sampler(t testing.TB) *diffusion.Sampler {
	return &diffusion.Sampler{Engine: oracle.Open(t), Steps: diffusion.DDPM{}.Steps(diffusion.VP{}, diffusion.Times(6, 2)), Shape: []int{1},
		Base: linear(0.9), Control: linear(0.2), Batch: 16}
}

// linear is a noise prediction as a multiple of x.
type linear float64

func (l linear) Noise(s diffusion.State) *graph.Node { return graph.MulScalar(s.X, float64(l)) }

// simulating does every order by a sampler.
type simulating struct {
	*diffusion.Sampler
	before func(from int) // every task; nil for nothing
}

func (s simulating) Simulate(ctx context.Context, order json.RawMessage, from, n int) (diffusion.Piece, int64, error) {
	if s.before != nil {
		s.before(from)
	}
	var key noise.Key
	if err := json.Unmarshal(order, &key); err != nil {
		return diffusion.Piece{}, 0, err
	}
	p, err := s.Piece(ctx, key, from, n, true)
	return p, int64(n), err
}

func (simulating) Close() error { return nil }

// work has a worker work until the test ends.
func work(t *testing.T, url string, before func(from int)) {
	t.Helper()
	ctx, end := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		err := Work(ctx, Options{URL: url}, Worker{Numbers: mine, Tell: t.Logf, Open: func(context.Context, Announcement, *Files) (Simulator, error) {
			return simulating{sampler(t), before}, nil
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a worker ends with %v", err)
		}
	})
	t.Cleanup(func() { end(); wait.Wait() })
}

// assign starts a job of 70 paths in tasks of 16, with a visitor. What it returns waits for it, and compares it with a simulation here.
func assign(t *testing.T, trainer *Trainer, seed uint64) (wait func()) {
	t.Helper()
	const n = 70
	key, s := noise.New(seed), sampler(t)
	record := func(seen *[]float32) diffusion.Visitor {
		return func(p *diffusion.Population) error { *seen = slices.Concat(*seen, p.X, p.EpsH); return nil }
	}
	var want, got []float32
	whole, err := s.Run(t.Context(), key, 0, n, record(&want))
	if err != nil {
		t.Fatal(err)
	}
	j := &Job{Name: fmt.Sprint("job ", seed), Order: key, Sampler: s, Key: key, N: n, Each: 16, Visit: record(&got)}
	if err := trainer.Start(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		ctx, end := context.WithTimeout(t.Context(), time.Minute)
		defer end()
		paths, calls, err := j.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(whole, paths); d != "" || !slices.Equal(want, got) {
			t.Errorf("paths are others than those simulated here (-here +there), or the visitor has seen something else:\n%s", d)
		}
		if calls != n {
			t.Errorf("%d network calls, want %d", calls, n)
		}
	}
}

// Jobs that are open at the same time are told apart, and may be waited for in any order.
func TestJobs(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	first, second, third := assign(t, trainer, 1), assign(t, trainer, 2), assign(t, trainer, 3)
	work(t, s.URL(), nil)
	work(t, s.URL(), nil)
	third()
	first()
	second()
	if status := trainer.Status(); len(status.Workers) != 2 || status.Workers[0].Tasks+status.Workers[1].Tasks != 15 || len(status.Jobs) != 0 {
		t.Errorf("status %+v, want 15 tasks of 2 workers", status)
	}
}

// pull takes so many tasks as a process would that dies: it never says a word about them again.
func pull(t *testing.T, url string, n int) (connection, []Task) {
	t.Helper()
	c, err := connect(Options{URL: url}, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	consumer, err := c.js.Consumer(t.Context(), tasksName, consumerName)
	if err != nil {
		t.Fatal(err)
	}
	batch, err := consumer.Fetch(n, jetstream.FetchMaxWait(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	var tasks []Task
	for m := range batch.Messages() {
		var task Task
		if err := json.Unmarshal(m.Data(), &task); err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	if len(tasks) != n {
		t.Fatalf("%d tasks, want %d", len(tasks), n)
	}
	return c, tasks
}

// reply answers a task with a piece, under an id of its own that the server takes for no copy.
func reply(t *testing.T, c connection, task Task, change func(*diffusion.Piece)) {
	t.Helper()
	piece, calls, err := simulating{sampler(t), nil}.Simulate(t.Context(), task.Order, task.From, task.N)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&piece)
	}
	data, err := encode(piece)
	if err != nil {
		t.Fatal(err)
	}
	task.Worker, task.Calls, task.Order = "test", calls, nil
	header, _ := json.Marshal(task)
	if _, err := c.js.PublishMsg(t.Context(), &nats.Msg{Subject: resultsSubject + task.Session, Data: data, Header: nats.Header{resultOf: {string(header)}}}); err != nil {
		t.Fatal(err)
	}
}

// Tasks of a worker that has died are done by others; so are those of one that sleeps for too long, which answers all the same, twice and in
// reverse; what it answers to a task of another job, or of no job, changes nothing.
func TestDeadLateTwice(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	first := assign(t, trainer, 1)
	pull(t, s.URL(), 2) // dies
	c, late := pull(t, s.URL(), 2)
	work(t, s.URL(), nil)
	first()
	second := assign(t, trainer, 2)
	slices.Reverse(late)
	for _, task := range append(late, late...) {
		reply(t, c, task, nil)
	}
	second()
}

// Answers in reverse, each twice, before anyone else is there.
func TestReordered(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	done := assign(t, trainer, 1)
	c, tasks := pull(t, s.URL(), 5)
	slices.Reverse(tasks)
	for _, task := range tasks {
		reply(t, c, task, nil)
		reply(t, c, task, nil)
	}
	done()
}

// What is no answer is dropped and told, and its task is placed again although it was acknowledged.
func TestWrongAnswers(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	done := assign(t, trainer, 1)
	c, err := connect(Options{URL: s.URL()}, "test")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	consumer, err := c.js.Consumer(t.Context(), tasksName, consumerName)
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*diffusion.Piece){
		func(p *diffusion.Piece) {
			p.Spent, p.States, p.Controls = p.Spent[:p.N], p.States[:p.N], p.Controls[:p.N]
		}, // of one step
		func(p *diffusion.Piece) { p.States, p.Controls = nil, nil },
		func(p *diffusion.Piece) { p.Given = make([]float32, p.N) },
		func(p *diffusion.Piece) {
			p.N--
			p.X, p.LogRatio, p.Energy, p.Spent = p.X[1:], p.LogRatio[1:], p.Energy[1:], p.Spent[6:]
			p.States, p.Controls = p.States[6:], p.Controls[6:]
		},
	} {
		m, err := consumer.Next(jetstream.FetchMaxWait(10 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var task Task
		if err := json.Unmarshal(m.Data(), &task); err != nil {
			t.Fatal(err)
		}
		reply(t, c, task, change)
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	work(t, s.URL(), nil)
	done()
	if told := strings.Join(trainer.Status().Refused, "\n"); strings.Count(told, "answer of test") != 4 || !strings.Contains(told, "conditioned on something else") {
		t.Errorf("told of the answers: %s", told)
	}
}

// A server that stops in the middle and comes back has lost nothing, and trainer and workers find it again.
func TestServerRestarts(t *testing.T) {
	folder := t.TempDir()
	s := listen(t, ServerOptions{Folder: folder})
	trainer := open(t, s.URL())
	tasks, once := 0, make(chan struct{})
	work(t, s.URL(), func(int) {
		if tasks++; tasks == 2 {
			close(once)
			time.Sleep(soon)
		}
	})
	done := assign(t, trainer, 1)
	<-once
	address := s.nats.Addr().String()
	s.Close()
	time.Sleep(soon)
	listen(t, ServerOptions{Folder: folder, Address: address})
	done()
	assign(t, trainer, 2)()
}

// A worker that one trainer has left, or that has died, works for the next.
func TestNextTrainer(t *testing.T) {
	s := listen(t, ServerOptions{})
	work(t, s.URL(), nil) // and waits
	for seed := range uint64(6) {
		trainer, err := Open(t.Context(), Options{URL: s.URL()}, Announcement{Run: "a run", Numbers: mine}, soon)
		if err != nil {
			t.Fatal(err)
		}
		assign(t, trainer, seed)()
		if seed%3 == 2 {
			trainer.Close()
		} else {
			trainer.nats.Close()
		}
	}
}
