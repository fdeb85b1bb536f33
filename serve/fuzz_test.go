package serve

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Whatever is asked for, the server answers, not with an error of its own, and tells nothing that is not to be given away. Seeds are requests that mean
// something; go test -fuzz changes them.
func FuzzRequests(f *testing.F) {
	dir := f.TempDir()
	for name, text := range map[string]string{"secret": "do not tell", "runs/a/private.txt": "do not tell", "runs/a/config.yaml": "experiment: toy\n", "runs/a/figures/training.png": "picture",
		"runs/a/events.jsonl": iteration("importance", 1, 1), "runs/none/notes.txt": "do not tell"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Join(dir, "secret"), filepath.Join(dir, "runs/a/figures/link.png")); err != nil {
		f.Skip("no symbolic links here")
	}
	servers := map[bool]*Server{}
	for _, token := range []string{"", "0123456789abcdef"} {
		s, err := New([]string{filepath.Join(dir, "runs")}, token)
		if err != nil {
			f.Fatal(err)
		}
		defer s.Close()
		servers[token != ""] = s
	}
	for _, target := range []string{"/", "/?run=runs/a", "/?run=runs/a&run=runs/a", "/events?once=1&run=runs/a", "/file?run=runs/a&name=figures/training.png", "/file?run=runs/../runs/a&name=../secret",
		"/file?run=runs&name=a/private.txt", "/file?run=runs/a&name=figures/link.png", "/metrics", "/healthz", "/login", "/script.js", "/%2e%2e/secret"} {
		f.Add("GET", target, "localhost", "", "")
		f.Add("POST", target, "127.0.0.1:8080", "token=0123456789abcdef", "Bearer 0123456789abcdef")
	}
	f.Fuzz(func(t *testing.T, method, target, host, body, authorization string) {
		at, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		if at.Path == "/events" { // or it would not end
			q := at.Query()
			q.Set("once", "1")
			at.RawQuery = q.Encode()
		}
		for guarded, s := range servers {
			r := httptest.NewRequest("GET", "/", strings.NewReader(body))
			r.Method, r.URL, r.Host = method, at, host
			r.Header = http.Header{"Authorization": {authorization}, "Content-Type": {"application/x-www-form-urlencoded"}, "Range": {body}}
			w, start := httptest.NewRecorder(), time.Now()
			s.Handler().ServeHTTP(w, r)
			text := w.Body.String()
			if w.Code >= 500 || strings.Contains(text, "do not tell") || time.Since(start) > 10*time.Second {
				t.Fatalf("%s %s: code %d after %v: %s", method, target, w.Code, time.Since(start), text)
			}
			if guarded && authorization != "Bearer 0123456789abcdef" && (strings.Contains(text, "picture") || strings.Contains(text, "experiment: toy")) {
				t.Fatalf("%s %s without the token: %s", method, target, text)
			}
		}
	})
}
