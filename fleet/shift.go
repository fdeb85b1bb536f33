package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// shift is a worker's time with one session.
type shift struct {
	Worker
	nats    connection
	session string
	patient time.Duration

	mutex sync.Mutex
	task  string // that it is at
	since time.Time
	fault string // to be told
}

func (s *shift) run(ctx context.Context, about Announcement) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer func() { // the session's end is what matters, whatever came of it
		if cause := context.Cause(ctx); errors.Is(cause, errEnded) {
			err = cause
		}
	}()
	store, err := s.nats.js.ObjectStore(ctx, filesName)
	if err != nil {
		return cmp.Or(s.vanished(ctx, err), errEnded) // and ask anew
	}
	simulator, err := s.Open(ctx, about, &Files{store: store, cache: s.Cache})
	if err != nil {
		s.tell(ctx, err)
		return err
	}
	defer func() { err = errors.Join(err, simulator.Close()) }()
	consumer, err := s.nats.js.Consumer(ctx, tasksName, consumerName)
	if err != nil {
		return cmp.Or(s.vanished(ctx, err), errEnded)
	}
	go s.beats(ctx, end)
	for faults := 0; ; {
		m, err := next(ctx, consumer)
		switch {
		case ctx.Err() != nil:
			if m != nil {
				m.Nak()
			}
			return ctx.Err()
		case err != nil:
			if !oneOf(err, nats.ErrTimeout, context.DeadlineExceeded, jetstream.ErrNoMessages) { // else there was no task
				if err := s.vanished(ctx, err); err != nil {
					return err
				}
			}
			continue
		}
		switch err := s.do(ctx, simulator, m); {
		case ctx.Err() != nil:
			m.Nak()
			return ctx.Err()
		case errors.Is(err, errEnded): // the task is of the next trainer, whose streams have the same names
			m.Nak()
			return err
		case err != nil:
			m.NakWithDelay(time.Second)
			s.tell(ctx, err)
			if faults++; faults == mostFaults {
				return fmt.Errorf("fleet: %d tasks have failed, the last: %w", faults, err)
			}
		default:
			faults = 0
		}
	}
}

// next waits a few seconds for a task.
func next(ctx context.Context, consumer jetstream.Consumer) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return consumer.Next(jetstream.FetchContext(ctx), jetstream.FetchHeartbeat(2*time.Second))
}

// vanished waits a little after an error of the server, and returns errEnded if the session is over. Another trainer, or none, may be there.
func (s *shift) vanished(ctx context.Context, err error) error {
	if lost(err) {
		return errEnded
	}
	if s.nats.IsClosed() { // the error alone may be of one that will come back
		return err
	}
	return sleep(ctx, 200*time.Millisecond)
}

// beats tells the trainer that the worker is there, and ends the shift when another one answers.
func (s *shift) beats(ctx context.Context, end context.CancelCauseFunc) {
	for sleep(ctx, time.Second) == nil {
		var answer welcome
		if err := s.nats.ask(ctx, beatSubject, s.now(), &answer); err == nil && answer.Session != s.session {
			end(errEnded)
		}
	}
}

func (s *shift) now() beat {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	b := beat{Worker: s.Name, Session: s.session, Task: s.task, Fault: s.fault}
	if s.task != "" {
		b.For = time.Since(s.since).Seconds()
	}
	s.fault = ""
	return b
}

func (s *shift) at(task string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.task, s.since = task, time.Now()
}

// tell says what went wrong, here and to the trainer.
func (s *shift) tell(ctx context.Context, err error) {
	s.Tell("%v", err)
	s.mutex.Lock()
	s.fault = err.Error()
	s.mutex.Unlock()
	var answer welcome
	s.nats.ask(ctx, beatSubject, s.now(), &answer) // for who looks at the status
}

// do simulates a task and answers. The task is acknowledged after the answer is on the server's disk, so that it is done again if this process
// dies before.
func (s *shift) do(ctx context.Context, simulator Simulator, m jetstream.Msg) error {
	task, err := readTask(m.Data(), s.session)
	if err != nil {
		return err
	}
	s.at(fmt.Sprintf("%s, paths %d to %d", task.Job, task.From, task.From+task.N))
	defer s.at("")
	stop := s.hold(m)
	defer stop()
	piece, calls, err := simulator.Simulate(ctx, task.Order, task.From, task.N)
	if err != nil {
		return err
	}
	data, err := encode(piece)
	if err != nil {
		return err
	}
	id := task.id()
	task.Order, task.Worker, task.Calls = nil, s.Name, calls
	header, err := json.Marshal(task)
	if err != nil {
		return err
	}
	answer := &nats.Msg{Subject: resultsSubject + s.session, Data: data, Header: nats.Header{resultOf: {string(header)}}}
	if err := persist(ctx, "answer "+id, forMessage, func(ctx context.Context) error {
		_, err := s.nats.js.PublishMsg(ctx, answer, jetstream.WithMsgID(id))
		return err
	}); err != nil {
		return err
	}
	stop()
	m.Ack() // if it is lost, the task is done again
	return nil
}

// hold says again and again that a task is worked at.
func (s *shift) hold(m jetstream.Msg) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(s.patient / 3):
				m.InProgress()
			}
		}
	}()
	return sync.OnceFunc(func() { close(done) })
}
