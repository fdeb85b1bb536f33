package serve

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

// route is a method and path with what answers it.
type route struct {
	method, path string
	answer       http.HandlerFunc
}

// api are the routes that openapi.json describes.
func (s *Server) api() []route {
	return []route{
		{"GET", "/api/openapi.json", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, assets, "openapi.json") }},
		{"GET", "/api/sources", s.drawing(s.sources)},
		{"GET", "/api/source", s.drawing(s.oneSource)},
		{"GET", "/api/jobs", s.drawing(func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, map[string]any{"jobs": s.studio.list()})
		})},
		{"POST", "/api/jobs", s.drawing(s.post)},
		{"GET", "/api/jobs/{id}", s.drawing(s.oneJob)},
		{"DELETE", "/api/jobs/{id}", s.drawing(s.remove)},
		{"GET", "/api/jobs/{id}/files/{name}", s.drawing(s.product)},
	}
}

// drawing answers if this server draws.
func (s *Server) drawing(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.studio == nil {
			refuse(w, r, http.StatusNotFound, "this server only shows runs, it draws nothing")
			return
		}
		next(w, r)
	}
}

// received reads a body within the bounds: some at a time, each within a while. If it cannot be had, that was answered.
func (s *Server) received(w http.ResponseWriter, r *http.Request, read func() error) bool {
	select {
	case s.studio.uploads <- struct{}{}:
		defer func() { <-s.studio.uploads }()
	default:
		w.Header().Set("Retry-After", "1")
		refuse(w, r, http.StatusTooManyRequests, "too many requests are sent at the same time, ask again")
		return false
	}
	control, until := http.NewResponseController(w), time.Now().Add(s.studio.patience)
	control.SetReadDeadline(until) // a recorder of tests has no deadlines
	control.SetWriteDeadline(until.Add(toAnswer))
	if err := read(); err != nil {
		code, why := http.StatusBadRequest, fmt.Sprintf("the request cannot be read: %v", err)
		if codeOf(err) == http.StatusRequestEntityTooLarge {
			code, why = http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is too large, want at most %s: a picture of %s", bytesText(mostUpload), bytesText(mostPicture))
		}
		refuse(w, r, code, why)
		return false
	}
	return true
}

// post puts a request into the queue.
func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/json" {
		refuse(w, r, http.StatusUnsupportedMediaType, fmt.Sprintf("the Content-Type is %q, want application/json", r.Header.Get("Content-Type")))
		return
	}
	var text []byte
	if !s.received(w, r, func() (err error) { text, err = io.ReadAll(r.Body); return err }) {
		return
	}
	j, err := s.enqueue(text)
	if err != nil {
		s.declined(w, r, err)
		return
	}
	w.Header().Set("Location", "/api/jobs/"+j.ID)
	answer(w, http.StatusAccepted, j)
}

func (s *Server) enqueue(text []byte) (job, error) {
	r, err := s.studio.parse(text)
	if err != nil {
		return job{}, err
	}
	return s.studio.submit(r)
}

// declined says why a request was not put into the queue.
func (s *Server) declined(w http.ResponseWriter, r *http.Request, err error) {
	code := codeOf(err)
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "10")
	}
	refuse(w, r, code, s.studio.inner(err.Error()))
}

// drawable is a run or model that can be drawn from.
type drawable struct {
	Name  string `json:"name"`
	About string `json:"about"` // the experiment, or Stable Diffusion
}

func (s *Server) drawables() []drawable {
	all := []drawable{}
	for _, name := range s.collection.models() {
		all = append(all, drawable{name, "Stable Diffusion"})
	}
	for _, r := range s.list() {
		if r.State == experiment.Complete {
			all = append(all, drawable{r.Name, r.Experiment})
		}
	}
	return all
}

func (s *Server) sources(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"sources": s.drawables()})
}

func (s *Server) oneSource(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Query().Get("name")
	of, found, err := s.collection.source(name)
	if !found {
		err = fmt.Errorf("%w: %q", errSource, name)
	}
	if err != nil {
		s.declined(w, r, err)
		return
	}
	answer(w, http.StatusOK, of)
}

func (s *Server) oneJob(w http.ResponseWriter, r *http.Request) {
	j, ok := s.studio.job(r.PathValue("id"))
	if !ok {
		refuse(w, r, http.StatusNotFound, noJob)
		return
	}
	answer(w, http.StatusOK, j)
}

const noJob = "there is no such job: it was dismissed, or is older than those that are remembered"

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	if !s.studio.cancel(r.PathValue("id")) {
		refuse(w, r, http.StatusNotFound, noJob)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// product gives away a file that a job has made.
func (s *Server) product(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	j, ok := s.studio.job(r.PathValue("id"))
	if !ok || !slices.ContainsFunc(j.Files, func(p product) bool { return p.Name == name }) {
		refuse(w, r, http.StatusNotFound, "there is no such file")
		return
	}
	kind := "image/png"
	if strings.HasSuffix(name, ".csv") {
		kind = "text/csv; charset=utf-8"
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "private, max-age=3600, immutable")
	h.Set("Content-Disposition", mime.FormatMediaType("inline", map[string]string{"filename": "doob-" + j.ID + "-" + name}))
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(toDownload))
	http.ServeFileFS(w, r, s.studio.files.FS(), drawn+"/"+j.ID+"/"+name)
}
