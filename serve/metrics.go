package serve

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
)

// metrics tells Prometheus, in its text format.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	states := map[string]int{experiment.Complete: 0, experiment.Running: 0, experiment.Stopped: 0}
	var done, total strings.Builder // lines of one name stand together
	for _, r := range s.collection.runs() {
		state := r.State()
		if states[state]++; state == experiment.Running {
			now := s.collection.course(r).since(r, &seen{})
			of := fmt.Sprintf("{run=%s,stage=%s}", label(r.name), label(now.Now))
			fmt.Fprintf(&done, "doob_stage_done%s %d\n", of, now.Done)
			fmt.Fprintf(&total, "doob_stage_total%s %d\n", of, now.Total)
		}
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	fmt.Fprintln(w, "# HELP doob_runs Runs by state.\n# TYPE doob_runs gauge")
	for _, state := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(w, "doob_runs{state=%s} %d\n", label(state), states[state])
	}
	fmt.Fprintln(w, "# HELP doob_stage_done Steps or iterations that are done of what a run is doing.\n# TYPE doob_stage_done gauge")
	fmt.Fprint(w, done.String())
	fmt.Fprintln(w, "# HELP doob_stage_total Of so many.\n# TYPE doob_stage_total gauge")
	fmt.Fprint(w, total.String())
	fmt.Fprintln(w, "# HELP doob_http_responses_total Answers by their codes.\n# TYPE doob_http_responses_total counter")
	s.counts.mutex.Lock()
	for _, code := range slices.Sorted(maps.Keys(s.counts.codes)) {
		fmt.Fprintf(w, "doob_http_responses_total{code=\"%d\"} %d\n", code, s.counts.codes[code])
	}
	s.counts.mutex.Unlock()
	fmt.Fprintf(w, "# HELP doob_event_readers Readers of events at this moment.\n# TYPE doob_event_readers gauge\ndoob_event_readers %d\n", len(s.streams))
	if s.studio != nil {
		jobs := map[string]int{queued: 0, drawing: 0, finished: 0, failed: 0, cancelled: 0, lost: 0}
		for _, j := range s.studio.list() {
			jobs[j.State]++
		}
		fmt.Fprintln(w, "# HELP doob_jobs Requests to draw that are remembered, by state.\n# TYPE doob_jobs gauge")
		for _, state := range slices.Sorted(maps.Keys(jobs)) {
			fmt.Fprintf(w, "doob_jobs{state=%s} %d\n", label(state), jobs[state])
		}
		fmt.Fprintf(w, "# HELP doob_model_bytes Memory of the runs that are loaded.\n# TYPE doob_model_bytes gauge\ndoob_model_bytes %.0f\n", s.studio.models.taken())
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Fprintf(w, "# HELP doob_heap_bytes Memory of the server that is in use.\n# TYPE doob_heap_bytes gauge\ndoob_heap_bytes %d\n", m.HeapAlloc)
}

// label quotes the value of a label.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}
