package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// work draws until the studio closes.
func (t *studio) work() {
	defer close(t.gone)
	for {
		ctx, j := t.next()
		switch {
		case j != nil:
			err := t.draw(ctx, j)
			j.cancel()
			t.finish(j, err)
		case t.ctx.Err() != nil:
			return
		default:
			select {
			case <-t.wake:
			case <-t.ctx.Done():
			}
		}
	}
}

// next takes the first job of the queue, nil if there is none. What is drawn ends with the context, which ends after a while.
func (t *studio) next() (context.Context, *job) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	for _, j := range t.jobs {
		if j.State == queued && !t.closed {
			var ctx context.Context
			ctx, j.cancel = context.WithTimeout(t.ctx, toDraw)
			j.State, j.began = drawing, time.Now()
			t.record() // it stands there as one that waits, which is lost the same
			return ctx, j
		}
	}
	return nil, nil
}

// tell changes what is shown of a job.
func (t *studio) tell(j *job, change func()) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	change()
}

func (t *studio) stage(j *job, stage string, done, total float64) {
	t.tell(j, func() {
		if j.Stage, j.Done = stage, 0; total > 0 {
			j.Done = done / total
		}
	})
}

func (t *studio) note(j *job, notes ...string) {
	t.tell(j, func() { j.Notes = append(j.Notes, notes...) })
}

// finish notes how a job has ended.
func (t *studio) finish(j *job, err error) {
	var files []product
	dir := t.dir(j)
	os.Remove(filepath.Join(dir, uploaded)) // if there is one
	if err == nil {
		files, err = products(j.ID, dir)
	}
	if err != nil {
		files = []product{}
		os.RemoveAll(dir) // what stays is removed at the next start
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	j.Seconds, j.Stage, j.Files = time.Since(j.began).Seconds(), "", files
	switch {
	case err == nil:
		j.State, j.Done = finished, 1
	case errors.Is(err, context.DeadlineExceeded):
		j.State, j.Error = failed, fmt.Sprintf("it took more than %v: want fewer samples, steps or pixels", toDraw)
	case errors.Is(err, context.Canceled):
		j.State = cancelled
	default:
		j.State, j.Error = failed, t.inner(err.Error())
	}
	t.trim()
	t.record() // a loss that is told in vain does no harm
}

// inner takes the places of folders on this machine out of a text.
func (t *studio) inner(text string) string {
	text = strings.ReplaceAll(text, filepath.Clean(t.Dir)+string(filepath.Separator), "")
	for _, p := range t.collection.places {
		text = strings.ReplaceAll(text, p.path, p.label)
	}
	return text
}

// products lists what is in the folder of a job.
func products(id, dir string) (files []product, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		files = append(files, product{e.Name(), "/api/jobs/" + id + "/files/" + e.Name(), info.Size()})
	}
	return files, err
}

// trim forgets the oldest of what has ended, where there is too much of it.
func (t *studio) trim() {
	n, size := 0, int64(0)
	for _, j := range slices.Backward(slices.Clone(t.jobs)) {
		if j.Active() {
			continue
		}
		n++
		for _, f := range j.Files {
			size += f.Bytes
		}
		if n > mostEnded || n > 1 && size > mostKept {
			t.forget(j)
		}
	}
}

func (t *studio) forget(j *job) {
	t.jobs = slices.DeleteFunc(t.jobs, func(other *job) bool { return other == j })
	os.RemoveAll(t.dir(j)) // what stays is removed at the next start
}
