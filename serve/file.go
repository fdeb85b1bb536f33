package serve

import (
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

// file gives away a file of a run: one that the run lists, under the name that it has there. What could run in a browser does not.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	runs, ok := s.asked(w, r)
	if !ok {
		return
	}
	name := r.URL.Query().Get("name")
	if len(runs) != 1 || name == "" {
		http.Error(w, "want /file?run=NAME&name=FILE", http.StatusBadRequest)
		return
	}
	for _, f := range runs[0].Files() {
		if f.Name == name {
			s.give(w, r, runs[0], f)
			return
		}
	}
	http.Error(w, fmt.Sprintf("run %q has no file %q to give away", runs[0].name, name), http.StatusNotFound)
}

func (s *Server) give(w http.ResponseWriter, r *http.Request, of run, f experiment.File) {
	h, inside := w.Header(), "inline"
	switch path.Ext(f.Name) {
	case ".png":
		h.Set("Content-Type", "image/png")
		h.Set("Cache-Control", "no-cache")
	case ".html":
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'")
	case ".yaml", ".json", ".jsonl":
		h.Set("Content-Type", "text/plain; charset=utf-8")
	default:
		h.Set("Content-Type", "application/octet-stream")
		inside = "attachment"
	}
	as := path.Base(of.name) + "-" + strings.ReplaceAll(f.Name, "/", "-")
	h.Set("Content-Disposition", mime.FormatMediaType(inside, map[string]string{"filename": as}))
	http.NewResponseController(w).SetWriteDeadline(time.Now().Add(toDownload)) // weights are large; a recorder of tests has no deadlines
	http.ServeFileFS(w, r, of.folder, f.Name)
}

func fileURL(run, name string) string {
	return "/file?" + url.Values{"run": {run}, "name": {name}}.Encode()
}
