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
	var messages []*nats.Msg
	for from := j.From; from < j.From+j.N; from += j.Each {
		if j.has(from) {
			continue
		}
		task := Task{Session: j.trainer.session, Job: j.Name, Attempt: attempt, From: from, N: min(j.Each, j.From+j.N-from), Order: j.order}
		text, err := json.Marshal(task)
		if err != nil {
			return err
		}
		messages = append(messages, &nats.Msg{Subject: tasksSubject + task.Session, Data: text, Header: nats.Header{jetstream.MsgIDHeader: {task.id()}}})
	}
	return j.trainer.nats.publish(ctx, messages)
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
	idle, attempt, heard := 0, 0, time.Now()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return diffusion.Paths{}, 0, context.Cause(ctx)
		case <-j.done:
			waiting = false
		case <-look.C:
			free, err := t.idle(ctx)
			switch {
			case err == nil:
				heard = time.Now()
			case lost(err):
				return diffusion.Paths{}, 0, fmt.Errorf("fleet: %s: the server has lost the tasks of this run, doob run --resume goes on: %w", j.Name, err)
			case time.Since(heard) > patience:
				return diffusion.Paths{}, 0, fmt.Errorf("fleet: %s: %w: %w", j.Name, errAway, err)
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

// idle reports whether the server knows of no task that waits or is worked at.
func (t *Trainer) idle(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, forMessage)
	defer cancel()
	info, err := t.tasks.Info(ctx)
	return err == nil && info.NumPending == 0 && info.NumAckPending == 0, err
}
