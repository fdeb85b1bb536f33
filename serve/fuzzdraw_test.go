package serve

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/experiment"
)

// fuzzed is a folder with a run that says it is complete, but has no networks, so that what is asked for fails soon, a model of which the same holds, and a secret.
func fuzzed(f *testing.F) (dir string) {
	dir = f.TempDir()
	p, err := experiment.New("toy", "", "../experiment/testdata/tiny.yaml", nil)
	if err != nil {
		f.Fatal(err)
	}
	ended, end := context.WithCancel(context.Background())
	end()
	if _, err := experiment.Run(ended, p, filepath.Join(dir, "runs", "a"), "cpu", func(experiment.Event) {}); !errors.Is(err, context.Canceled) {
		f.Fatal(err)
	}
	for name, text := range map[string]string{"secret": "do not tell", "runs/a/private.txt": "do not tell",
		"runs/a/report.json":       `{"experiment": "toy", "order": ["base", "importance"], "titles": {}, "methods": {"base": {}, "importance": {}}}`,
		"runs/sd/model_index.json": "{}", "runs/x.safetensors": "do not tell"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			f.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			f.Fatal(err)
		}
	}
	return dir
}

// Whatever is asked of the handlers that draw, the server answers, not with an error of its own; it tells nothing that is not to be given away, GET puts nothing
// into the queue, nobody does without the token, and the runs stay as they are.
func FuzzDraw(f *testing.F) {
	dir := fuzzed(f)
	before := fmt.Sprint(sizes(f, filepath.Join(dir, "runs")))
	const token = "0123456789abcdef"
	servers := map[bool]*Server{}
	for _, t := range []string{"", token} {
		s, err := New([]string{filepath.Join(dir, "runs")}, t)
		if err == nil {
			err = s.Infer(Inference{Dir: filepath.Join(dir, "own"+t)})
		}
		if err != nil {
			f.Fatal(err)
		}
		defer s.Close()
		servers[t != ""] = s
	}
	multipart := "--x\r\nContent-Disposition: form-data; name=\"from\"\r\n\r\nruns/a\r\n--x\r\nContent-Disposition: form-data; name=\"picture\"; filename=\"../a\"\r\n\r\nGIF8\r\n--x--\r\n"
	for _, seed := range []struct{ method, target, kind, body string }{
		{"GET", "/draw?from=runs/a&again=x", "", ""}, {"GET", "/draw", "", ""}, {"GET", "/api/jobs", "", ""}, {"GET", "/api/source?name=runs/a", "", ""}, {"GET", "/api/sources", "", ""},
		{"GET", "/api/openapi.json", "", ""}, {"GET", "/api/jobs/ID", "", ""}, {"DELETE", "/api/jobs/ID", "", ""}, {"GET", "/api/jobs/ID/files/samples.png", "", ""},
		{"GET", "/api/jobs/ID/files/..%2f..%2fqueue.json", "", ""}, {"GET", "/api/source?name=runs/../runs/a", "", ""},
		{"POST", "/api/jobs", "application/json", `{"from": "runs/a", "n": 3, "seed": 7, "steps": 5, "sample": {"method": "base", "task": "", "strength": 2, "format": "csv"}}`},
		{"POST", "/api/jobs", "application/json", `{"from": "runs/sd", "generate": {"prompt": "x", "lora": "runs/x.safetensors", "height": 64, "width": 64, "eta": 0.5}}`},
		{"POST", "/api/jobs", "application/json", `{"from": "runs/a", "restore": {"picture": "R0lGOA=="}}`},
		{"POST", "/draw", "application/x-www-form-urlencoded", "from=runs/a&kind=sample&n=4&seed=1&steps=3&method=importance&strength=1&format=png"},
		{"POST", "/draw", "application/x-www-form-urlencoded", "from=runs/sd&kind=generate&prompt=x&guidance=7.5&lora=runs%2Fx.safetensors"},
		{"POST", "/draw", "multipart/form-data; boundary=x", multipart}, {"POST", "/draw/cancel", "application/x-www-form-urlencoded", "id=ID&from=runs/a"},
	} {
		for _, authorization := range []string{"", "Bearer " + token} {
			f.Add(seed.method, seed.target, "localhost", seed.kind, seed.body, authorization)
		}
	}
	for _, s := range servers { // or what follows means nothing
		if w := posted(s, `{"from": "runs/a"}`, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }); w.Code != http.StatusAccepted {
			f.Fatalf("code %d: %s", w.Code, w.Body)
		}
	}
	n := 0
	f.Fuzz(func(t *testing.T, method, target, host, kind, text, authorization string) {
		for guarded, s := range servers {
			jobs := s.studio.list()
			if len(jobs) > 0 { // so that there are some of that name
				target, text = strings.ReplaceAll(target, "ID", jobs[0].ID), strings.ReplaceAll(text, "ID", jobs[0].ID)
			}
			at, err := url.ParseRequestURI(target)
			if err != nil || at.Path == "/events" { // which would not end
				return
			}
			r := httptest.NewRequest("GET", "/", strings.NewReader(text))
			r.Method, r.URL, r.Host = method, at, host
			r.Header = http.Header{"Authorization": {authorization}, "Content-Type": {kind}}
			w, start := httptest.NewRecorder(), time.Now()
			s.Handler().ServeHTTP(w, r)
			if said := w.Body.String(); w.Code >= 500 || strings.Contains(said, "do not tell") || strings.Contains(said, dir) || time.Since(start) > time.Minute {
				t.Fatalf("%s %s: code %d after %v: %s", method, target, w.Code, time.Since(start), said)
			}
			posted := w.Code == http.StatusAccepted || w.Code == http.StatusSeeOther && at.Path == "/draw"
			if posted && (method != "POST" || guarded && authorization != "Bearer "+token) {
				t.Fatalf("%s %s with %q has begun work", method, target, authorization)
			}
		}
		if n++; n%1000 == 1 {
			if after := fmt.Sprint(sizes(t, filepath.Join(dir, "runs"))); after != before {
				t.Fatalf("the runs have changed: %s", after)
			}
		}
	})
}

// sizes are those of all files, and when they were changed.
func sizes(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all[path] = fmt.Sprint(info.Size(), info.ModTime())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
