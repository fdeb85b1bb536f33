package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/doob-diffusion/doob/engine"
)

// Inference says how samples are drawn from runs and models.
type Inference struct {
	Dir     string  // the server's own folder, made if need be: the journal of requests, and pictures until the next start
	Memory  float64 // bytes that models may take together; 0 means what this machine has
	Backend string  // see [engine.Open]
}

// studio draws what was asked for, one job after the other.
type studio struct {
	Inference
	collection *collection
	models     models
	files      *os.Root      // of Dir
	uploads    chan struct{} // requests with a body that are being read
	patience   time.Duration // to wait for one

	mutex  sync.Mutex
	jobs   []*job // in the order in which they came
	wake   chan struct{}
	closed bool

	ctx  context.Context
	end  context.CancelFunc
	gone chan struct{} // closed when the worker has ended
}

// Bounds of inference.
const (
	mostQueued  = 16        // jobs that wait
	mostEnded   = 32        // jobs that are remembered, with their pictures
	mostKept    = 256 << 20 // bytes of those pictures
	mostUploads = 4         // requests that are read at the same time
	mostUpload  = 12 << 20  // bytes of one: a picture of 8 MB is a third larger in base64
	toUpload    = time.Minute
	toDraw      = time.Hour
)

// Infer has samples drawn, too, until Close. Without it a server only shows what there is. What an earlier server at the same folder did not get to is told
// as lost.
func (s *Server) Infer(i Inference) error {
	if _, err := engine.Open(i.Backend); err != nil {
		return err
	}
	if i.Memory < 0 {
		return fmt.Errorf("serve: memory of %g bytes for models: want a positive number, or 0 for what this machine has", i.Memory)
	}
	if err := errors.Join(os.MkdirAll(i.Dir, 0o700), os.RemoveAll(filepath.Join(i.Dir, drawn))); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	t := &studio{Inference: i, collection: s.collection, models: models{limit: i.Memory, backend: i.Backend}, uploads: make(chan struct{}, mostUploads), patience: toUpload,
		wake: make(chan struct{}, 1), gone: make(chan struct{})}
	var err error
	if t.jobs, err = recall(i.Dir); err != nil {
		return err
	}
	if t.files, err = os.OpenRoot(i.Dir); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	t.ctx, t.end = context.WithCancel(context.Background())
	go t.work()
	s.studio = t
	return nil
}

// close ends the job that is drawn. The journal stays if there is a loss to tell, else there is nothing left of the folder.
func (t *studio) close() error {
	t.mutex.Lock()
	t.closed = true
	loss := slices.ContainsFunc(t.jobs, func(j *job) bool { return j.Active() || j.State == lost })
	t.mutex.Unlock()
	t.end()
	<-t.gone
	err := errors.Join(t.models.drop(nil), t.files.Close(), os.RemoveAll(filepath.Join(t.Dir, drawn)))
	if !loss {
		os.Remove(filepath.Join(t.Dir, journal)) // if there is one
		os.Remove(t.Dir)                         // if it is empty
	}
	return err
}
