package serve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/vision"
)

// Reasons why nothing is put into the queue, besides errRequest and errUnfinished.
var (
	errSource = errors.New("there is no such run or model")
	errQueue  = errors.New("the queue is full")
)

// parse completes a request in JSON by what its source says, and refuses what cannot be drawn.
func (t *studio) parse(text []byte) (Request, error) {
	var asked Request
	if err := strictly(text, &asked); err != nil {
		return asked, err
	}
	kind := asked.Kind()
	if kind == "" && (asked.Sample != nil || asked.Generate != nil || asked.Restore != nil) {
		return asked, fmt.Errorf("%w: want one of sample, generate and restore", errRequest)
	}
	s, found, err := t.collection.source(asked.From)
	if !found {
		return asked, fmt.Errorf("%w: %q", errSource, asked.From)
	}
	if err != nil {
		return asked, err
	}
	o, err := s.offer(kind)
	if err != nil {
		return asked, err
	}
	r := o.Defaults
	if err := strictly(text, &r); err != nil {
		return r, err
	}
	if r.Kind() != o.Kind { // null for the object of the kind
		return r, fmt.Errorf("%w: want an object for %s", errRequest, o.Kind)
	}
	return r, r.check(o)
}

// submit puts a request into the queue.
func (t *studio) submit(r Request) (job, error) {
	j := newJob(r)
	dir := t.dir(j)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return job{}, err
	}
	err := t.upload(r, dir)
	if err == nil {
		err = t.put(j)
	}
	if err != nil {
		return job{}, errors.Join(err, os.RemoveAll(dir))
	}
	out, _ := t.job(j.ID)
	return out, nil
}

// put makes a job the last of the queue.
func (t *studio) put(j *job) error {
	if j.Request.Restore != nil { // the picture is in a file
		r := *j.Request.Restore
		r.Picture, j.Request.Restore = nil, &r
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	waiting := 0
	for _, other := range t.jobs {
		if other.State == queued {
			waiting++
		}
	}
	if waiting >= mostQueued || t.closed {
		return fmt.Errorf("%w: %d requests wait; ask again when some are drawn", errQueue, waiting)
	}
	t.jobs = append(t.jobs, j)
	if err := t.record(); err != nil {
		t.jobs = t.jobs[:len(t.jobs)-1]
		return err
	}
	t.rouse()
	return nil
}

// rouse has the worker look for a job.
func (t *studio) rouse() {
	select {
	case t.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// drawn is the folder, in the server's own, of what jobs have made.
const drawn = "drawn"

func (t *studio) dir(j *job) string { return filepath.Join(t.Dir, drawn, j.ID) }

// uploaded is the name of the picture that shall be restored.
const uploaded = "picture"

// upload writes the picture of a request, and refuses one that is none or too large, before it waits.
func (t *studio) upload(r Request, dir string) error {
	if r.Restore == nil {
		return nil
	}
	file := filepath.Join(dir, uploaded)
	if err := os.WriteFile(file, r.Restore.Picture, 0o600); err != nil {
		return err
	}
	height, width, err := vision.Declared(file)
	if err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	if height*width > mostPixels {
		return fmt.Errorf("%w: the picture has %d×%d pixels, want at most %d in all; doob restore takes larger ones", errRequest, width, height, mostPixels)
	}
	return nil
}

// cancel ends a job that waits or is drawn, and forgets one that has ended.
func (t *studio) cancel(id string) bool {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	j := t.find(id)
	switch {
	case j == nil:
		return false
	case j.State == drawing:
		j.cancel() // the worker does the rest
	case j.State == queued:
		j.State = cancelled
		os.Remove(filepath.Join(t.dir(j), uploaded)) // if there is one
		t.trim()
	default:
		t.forget(j)
	}
	t.record() // a loss that is told again does no harm
	return true
}
