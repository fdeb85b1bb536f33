package serve

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// asked returns the runs that a request names. If one is none, that was answered.
func (s *Server) asked(w http.ResponseWriter, r *http.Request) (runs []run, ok bool) {
	names := r.URL.Query()["run"]
	if len(names) > mostShown {
		http.Error(w, fmt.Sprintf("%d runs, want at most %d at the same time", len(names), mostShown), http.StatusBadRequest)
		return nil, false
	}
	for _, name := range names {
		one, found := s.collection.find(name)
		if !found {
			http.Error(w, fmt.Sprintf("there is no run %q here", name), http.StatusNotFound)
			return nil, false
		}
		runs = append(runs, one)
	}
	return runs, true
}

// stream sends the courses of runs as server-sent events: first what there is, then what comes. With once=1 it ends there.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	runs, ok := s.asked(w, r)
	if !ok {
		return
	}
	if len(runs) == 0 {
		http.Error(w, "want /events?run=NAME", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	control, told, last := http.NewResponseController(w), make([]seen, len(runs)), make([]string, len(runs))
	control.SetReadDeadline(time.Time{}) // that of the request, which has come, would end it
	send := func(text string) bool {
		control.SetWriteDeadline(time.Now().Add(toAsk)) // who does not read is dropped; a recorder of tests has no deadlines
		_, err := w.Write([]byte(text))
		return err == nil && control.Flush() == nil
	}
	defer s.collection.readAhead(r.Context(), runs)()
	tick := time.NewTicker(s.Poll)
	defer tick.Stop()
	quiet := time.Now()
	for {
		for i, one := range runs { // each as soon as it is read
			n := s.collection.course(one).since(one, &told[i])
			state := n
			state.Again, state.Series, state.Previews = false, nil, nil
			now := fmt.Sprint(state)
			if now == last[i] && !n.Again && len(n.Series)+len(n.Previews) == 0 {
				continue
			}
			text, err := json.Marshal(n)
			if err != nil || !send(fmt.Sprintf("data: %s\n\n", text)) {
				return
			}
			last[i], quiet = now, time.Now()
		}
		if r.URL.Query().Get("once") != "" {
			return
		}
		if time.Since(quiet) > 15*time.Second { // so that a reader that has gone is noticed
			if !send(": still here\n\n") {
				return
			}
			quiet = time.Now()
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}
