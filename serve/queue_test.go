package serve

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A job that waits or is drawn can be cancelled, and one that has ended forgotten; the queue is bounded, and so is what is remembered.
func TestQueue(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	s.studio.models.mutex.Lock() // so that the first job is held where it reads its model
	release := sync.OnceFunc(s.studio.models.mutex.Unlock)
	t.Cleanup(release)
	long := fmt.Sprintf(`{"from": "%s/a", "n": 256, "steps": 1000}`, runs)
	first := accepted(t, s, "%s", long)
	until(t, s, first.ID, drawing)
	var waiting []job
	for i := range mostQueued {
		j := accepted(t, s, "%s", long)
		if j.Place != i+1 {
			t.Errorf("job %d has the place %d", i, j.Place)
		}
		waiting = append(waiting, j)
	}
	w := posted(s, long)
	if w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "16 requests wait") {
		t.Errorf("one too many: code %d: %s", w.Code, w.Body)
	}
	remove := func(id string, code int) {
		t.Helper()
		if w := ask(s, "DELETE", "/api/jobs/"+id); w.Code != code {
			t.Errorf("remove %s: code %d, want %d: %s", id, w.Code, code, w.Body)
		}
	}
	remove(waiting[1].ID, 204)
	if j := state(t, s, waiting[1].ID); j.State != cancelled {
		t.Errorf("%+v", j)
	}
	if j := state(t, s, waiting[2].ID); j.Place != 2 {
		t.Errorf("after one before it was cancelled, a job has the place %d", j.Place)
	}
	for _, j := range slices.Backward(waiting) { // none of them is begun
		if j.ID != waiting[1].ID {
			remove(j.ID, 204)
		}
	}
	remove(first.ID, 204)
	release()
	if j := until(t, s, first.ID, cancelled); len(j.Files) != 0 || j.Error != "" {
		t.Errorf("%+v", j)
	}
	if _, err := os.Stat(s.studio.dir(&first)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was cancelled has left its folder: %v", err)
	}
	remove(first.ID, 204)
	remove(first.ID, 404)
	if w := ask(s, "GET", "/api/jobs/"+first.ID); w.Code != 404 {
		t.Errorf("a job that was forgotten: code %d", w.Code)
	}
	if entries, err := os.ReadDir(filepath.Join(s.studio.Dir, drawn)); err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == first.ID }) {
		t.Errorf("its folder is still there: %v, %v", entries, err)
	}
	for range mostEnded + 5 {
		j := accepted(t, s, `{"from": "%s/a", "n": 1, "steps": 1, "sample": {"method": "base", "format": "csv"}}`, runs)
		until(t, s, j.ID, finished)
	}
	if n := len(s.studio.list()); n != mostEnded {
		t.Errorf("%d jobs are remembered, want %d", n, mostEnded)
	}
	if entries, err := os.ReadDir(filepath.Join(s.studio.Dir, drawn)); err != nil || len(entries) > mostEnded {
		t.Errorf("there are %d folders, %v", len(entries), err)
	}
}

// Two runs that do not fit are loaded in turn, which the job tells; one that fits nowhere is refused with the numbers.
func TestMemory(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	draw := func(run string) job {
		t.Helper()
		return until(t, s, accepted(t, s, `{"from": "%s/%s", "n": 2, "sample": {"format": "csv"}}`, runs, run).ID, finished)
	}
	told := func(j job) bool { return strings.Contains(strings.Join(j.Notes, " "), "unloaded") }
	if j := draw("a"); told(j) || len(s.studio.models.held) != 1 {
		t.Fatalf("%+v", j)
	}
	if draw("a"); len(s.studio.models.held) != 1 {
		t.Error("a run is loaded twice")
	}
	s.studio.models.held[0].bytes, s.studio.models.limit = 50e6, 50e6+10e3 // a run has some 40 kB
	b := draw("b")
	held := s.studio.models.held
	if len(held) != 1 || held[0].name != runs+"/b" || !strings.Contains(strings.Join(b.Notes, " "), runs+"/a (") || !strings.Contains(strings.Join(b.Notes, " "), "there is no room for "+runs+"/b") {
		t.Errorf("after a second run that does not fit: %v, notes %q", held, b.Notes)
	}
	s.studio.models.limit = 100e6
	draw("a")
	if draw("b"); len(s.studio.models.held) != 2 || s.studio.models.held[1].name != runs+"/b" {
		t.Errorf("of two that fit, %v are held", s.studio.models.held)
	}
	s.studio.models.limit = 1000
	j := accepted(t, s, `{"from": "%s/sharp", "restore": {"picture": %s}}`, runs, grey(t, 4, 4))
	j = until(t, s, j.ID, failed)
	if !strings.Contains(j.Error, "not enough memory for models") || !strings.Contains(j.Error, "--memory) is 1 kB") {
		t.Errorf("a model that is too large: %+v", j)
	}
	if w := ask(s, "GET", "/metrics").Body.String(); !strings.Contains(w, `doob_jobs{state="failed"} 1`) || !strings.Contains(w, "doob_model_bytes ") {
		t.Errorf("metrics: %s", w)
	}
}
