package fleet

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

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
