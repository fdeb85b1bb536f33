package serve

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// States of jobs.
const (
	queued    = "queued"
	drawing   = "drawing"
	finished  = "done"
	failed    = "failed"
	cancelled = "cancelled"
	lost      = "lost" // the server ended before
)

// job is a request on its way. All of it but what is told while it is drawn stays as it is; the mutex of the studio guards that.
type job struct {
	ID      string    `json:"id"`
	Request Request   `json:"request"`
	State   string    `json:"state"`
	Stage   string    `json:"stage"`    // what is done at the moment
	Done    float64   `json:"progress"` // share of that, 0 to 1
	Place   int       `json:"place"`    // in the queue, from 1; 0 for those that do not wait
	Notes   []string  `json:"notes"`    // what else there is to know, such as why a model was unloaded
	Error   string    `json:"error"`    // of a job that failed
	Files   []product `json:"files"`
	Created time.Time `json:"created"`
	Seconds float64   `json:"seconds"` // that drawing took, or has taken so far

	began  time.Time
	cancel context.CancelFunc // of what is drawn
}

// product is a file that a job has made.
type product struct {
	Name  string `json:"name"`
	URL   string `json:"url"`
	Bytes int64  `json:"bytes"`
}

func newJob(r Request) *job {
	var id [8]byte
	rand.Read(id[:]) // it does not fail
	return &job{ID: hex.EncodeToString(id[:]), Request: r, State: queued, Notes: []string{}, Files: []product{}, Created: time.Now().UTC().Truncate(time.Second)}
}

// Active reports whether a job waits or is drawn.
func (j job) Active() bool { return j.State == queued || j.State == drawing }

// Title names a job for screen readers.
func (j job) Title() string { return j.Request.From + ", " + j.What() }

// What says what is drawn.
func (j job) What() string {
	r, what := j.Request, j.Request.Kind()
	switch {
	case r.Sample != nil && r.Sample.Task != "":
		what = r.Sample.Method + ", " + r.Sample.Task
	case r.Sample != nil:
		what = r.Sample.Method
	case r.Generate != nil:
		what = "“" + r.Generate.Prompt + "”"
	}
	return fmt.Sprintf("%s, n %d, seed %d", what, r.N, r.Seed)
}

// shownProduct is a file of a job on the page.
type shownProduct struct {
	product
	Picture bool
	Of      string
}

// Products are the files of a job for the page.
func (j job) Products() (all []shownProduct) {
	for _, f := range j.Files {
		all = append(all, shownProduct{f, strings.HasSuffix(f.Name, ".png"), j.Title()})
	}
	return all
}

// told is a copy to show, with its place among all.
func (j *job) told(all []*job) job {
	out := *j
	out.Notes, out.Files = slices.Clone(j.Notes), slices.Clone(j.Files)
	switch j.State {
	case queued:
		for _, other := range all {
			if other.State == queued {
				out.Place++
			}
			if other == j {
				break
			}
		}
	case drawing:
		out.Seconds = time.Since(j.began).Seconds()
	}
	return out
}

// list returns all jobs, the latest first.
func (t *studio) list() []job {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	out := []job{}
	for _, j := range slices.Backward(t.jobs) {
		out = append(out, j.told(t.jobs))
	}
	return out
}

// job returns one.
func (t *studio) job(id string) (job, bool) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if j := t.find(id); j != nil {
		return j.told(t.jobs), true
	}
	return job{}, false
}

func (t *studio) find(id string) *job {
	for _, j := range t.jobs {
		if j.ID == id {
			return j
		}
	}
	return nil
}
