package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/doob-diffusion/doob/diffusion"
	"github.com/doob-diffusion/doob/noise"
)

// Job is a simulation that workers shall do. Several may be open at the same time.
type Job struct {
	Name    string             // one of its own in the session
	Order   any                // for those who simulate, as JSON
	Sampler *diffusion.Sampler // what it is of; it is not run
	Key     noise.Key
	From, N int               // paths
	Each    int               // in a task
	Visit   diffusion.Visitor // see [diffusion.Sampler.Join]

	trainer *Trainer
	order   json.RawMessage
	pieces  map[int]diffusion.Piece // by their first path
	calls   int64
	done    chan struct{} // closed with the last piece
}

// Start places the tasks of a job. Its fields must not change from then on.
func (t *Trainer) Start(ctx context.Context, j *Job) error {
	fail := func(err error) error { return fmt.Errorf("fleet: %s: %w", j.Name, err) }
	order, err := json.Marshal(j.Order)
	if err != nil {
		return fail(err)
	}
	most := int(t.nats.MaxPayload()) - mostTask // and with the header
	if one := bytesOf(j.Sampler, j.Visit != nil); one > most {
		return fail(fmt.Errorf("a path takes %d bytes, of which a message of the server has room for %d: want a larger max_payload (at most 64 MB) in its configuration", one, most))
	} else if j.Each = max(1, min(j.Each, most/one, mostPaths)); len(order) > mostTask/2 {
		return fail(fmt.Errorf("an order of %d bytes, want at most %d", len(order), mostTask/2))
	}
	j.trainer, j.order, j.pieces, j.done = t, order, map[int]diffusion.Piece{}, make(chan struct{})
	t.mutex.Lock()
	t.jobs[j.Name] = j
	t.mutex.Unlock()
	return j.publish(ctx, 0)
}

// publish places the tasks that have no piece yet.
func (j *Job) publish(ctx context.Context, attempt int) error {
	for from := j.From; from < j.From+j.N; from += j.Each {
		if j.has(from) {
			continue
		}
		task := Task{Session: j.trainer.session, Job: j.Name, Attempt: attempt, From: from, N: min(j.Each, j.From+j.N-from), Order: j.order}
		text, err := json.Marshal(task)
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: tasksSubject + task.Session, Data: text}
		if err := persist(ctx, "place task "+task.id(), forMessage, func(ctx context.Context) error {
			_, err := j.trainer.nats.js.PublishMsg(ctx, m, jetstream.WithMsgID(task.id()))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

func (j *Job) has(from int) bool {
	j.trainer.mutex.Lock()
	defer j.trainer.mutex.Unlock()
	_, ok := j.pieces[from]
	return ok
}

// Wait returns the paths and the network calls that they have taken, once all are there. Tasks that are lost on the way are placed again.
func (j *Job) Wait(ctx context.Context) (diffusion.Paths, int64, error) {
	t := j.trainer
	defer func() {
		t.mutex.Lock()
		delete(t.jobs, j.Name)
		t.mutex.Unlock()
	}()
	look := time.NewTicker(t.patient)
	defer look.Stop()
	idle, attempt := 0, 0
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return diffusion.Paths{}, 0, context.Cause(ctx)
		case <-j.done:
			waiting = false
		case <-look.C:
			free, err := t.idle(ctx)
			if err != nil {
				return diffusion.Paths{}, 0, fmt.Errorf("fleet: %s: the server has lost the tasks of this run, doob run --resume goes on: %w", j.Name, err)
			}
			if idle++; !free {
				idle = 0
			}
			if idle < 2 { // what was answered may be on its way
				continue
			}
			idle, attempt = 0, attempt+1
			if err := j.publish(ctx, attempt); err != nil {
				return diffusion.Paths{}, 0, err
			}
		}
	}
	var pieces []diffusion.Piece
	for _, p := range j.pieces {
		pieces = append(pieces, p)
	}
	paths, err := j.Sampler.Join(j.Key, j.From, j.N, pieces, j.Visit)
	return paths, j.calls, err
}

// idle reports whether the server knows of no task that waits or is worked at. That it has no such stream is an error, that it is away is none.
func (t *Trainer) idle(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, forMessage)
	defer cancel()
	info, err := t.tasks.Info(ctx)
	if err != nil {
		if lost(err) {
			return false, err
		}
		return false, nil
	}
	return info.NumPending == 0 && info.NumAckPending == 0, nil
}

// place takes an answer. What cannot be placed is dropped: its task is placed again.
func (t *Trainer) place(m jetstream.Msg) {
	if err := t.take(m); err != nil {
		t.refuse(err.Error())
	}
	m.Ack() // it is harmless to get it again
}

func (t *Trainer) take(m jetstream.Msg) error {
	task, err := readTask([]byte(m.Headers().Get(resultOf)), t.session)
	if err != nil {
		return err
	}
	t.mutex.Lock()
	j := t.jobs[task.Job]
	t.mutex.Unlock()
	if j == nil { // it has ended: another was faster
		return nil
	}
	fail := func(err error) error {
		return fmt.Errorf("fleet: answer of %s to task %s: %w", task.Worker, task.id(), err)
	}
	if (task.From-j.From)%j.Each != 0 || task.From < j.From || task.N != min(j.Each, j.From+j.N-task.From) {
		return fail(fmt.Errorf("%d paths from %d are no task of it", task.N, task.From))
	}
	piece, err := decode(m.Data(), task.From)
	if err == nil && piece.N != task.N {
		err = fmt.Errorf("%d paths, want %d", piece.N, task.N)
	}
	if err == nil {
		err = j.Sampler.CheckPiece(j.Key, piece, j.Visit != nil)
	}
	if err != nil {
		return fail(err)
	}
	t.see(task.Worker, func(s *seen) { s.tasks, s.paths = s.tasks+1, s.paths+task.N })
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if _, twice := j.pieces[task.From]; twice {
		return nil
	}
	j.pieces[task.From], j.calls = piece, j.calls+task.Calls
	if len(j.pieces) == (j.N+j.Each-1)/j.Each {
		close(j.done)
	}
	return nil
}
