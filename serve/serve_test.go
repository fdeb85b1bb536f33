package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/experiment"
	_ "github.com/doob-diffusion/doob/experiment/toy"
	"github.com/doob-diffusion/doob/internal/oracle"
)

func TestMain(m *testing.M) { os.Exit(oracle.Store(m)) }

// world is a folder with a secret beside a folder with runs: a and b that stopped, and what is none.
func world(t *testing.T) (runs string) {
	t.Helper()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "secret"), "do not tell")
	runs = filepath.Join(dir, "runs")
	for _, name := range []string{"a", "b"} {
		put(t, filepath.Join(runs, name, "config.yaml"), "experiment: toy\nseed: 1\nimportance: {paths: 8, name: "+name+"}\n")
		put(t, filepath.Join(runs, name, "events.jsonl"), iteration("importance", 1, 0.5)+iteration("importance", 2, 0.25))
		put(t, filepath.Join(runs, name, "checkpoint", "importance.safetensors"), "weights of "+name)
		put(t, filepath.Join(runs, name, "figures", "training.png"), "picture of "+name)
		put(t, filepath.Join(runs, name, "private.txt"), "do not tell")
		put(t, filepath.Join(runs, name, "report.html"), "<script>alert(1)</script>")
	}
	put(t, filepath.Join(runs, "none", "notes.txt"), "do not tell")
	put(t, filepath.Join(runs, ".hidden", "config.yaml"), "experiment: toy\n")
	return runs
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func iteration(stage string, step int, kl float64) string {
	return fmt.Sprintf(`{"seed":1,"stage":%q,"done":%d,"total":9,"iteration":{"iteration":%d,"iterations":9,"kl":%g,"log_z":null}}`+"\n", stage, step, step, kl)
}

func started(t *testing.T, token string, folders ...string) *Server {
	t.Helper()
	s, err := New(folders, token)
	if err != nil {
		t.Fatal(err)
	}
	s.Poll = 5 * time.Millisecond
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask returns the answer to a request to this machine, changed by edits.
func ask(s *Server, method, target string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Host = "localhost:8080"
	for _, edit := range edits {
		edit(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func TestPages(t *testing.T) {
	s := started(t, "", world(t))
	for _, c := range []struct {
		target string
		code   int
		has    []string
		not    []string
	}{
		{"/", 200, []string{"runs/a", "runs/b", "toy", "stopped"}, []string{"none", "runs/.hidden"}},
		{"/?run=runs/a", 200, []string{"has no results yet: it is stopped", "importance.safetensors", "training.png", "experiment: toy"}, []string{"private", "Differences"}},
		{"/?run=runs/a&run=runs/b", 200, []string{"importance.name", "<td class=\"value\">a</td>", "<td class=\"value\">b</td>", "3 other settings are the same"}, []string{"<code>seed"}},
		{"/?run=runs/c", 404, []string{`no run "runs/c"`}, nil},
		{"/?run=runs/none", 404, nil, nil},
		{"/?run=" + strings.Repeat("runs/a&run=", mostShown) + "runs/a", 400, []string{"at most 64"}, nil},
		{"/events", 400, nil, nil},
		{"/healthz", 200, []string{"ok"}, nil},
		{"/metrics", 200, []string{`doob_runs{state="stopped"} 2`, `doob_runs{state="running"} 0`, `doob_http_responses_total{code="404"} 2`}, nil},
		{"/nothing", 404, nil, nil},
		{"/script.js", 200, []string{"EventSource"}, nil},
		{fileURL("runs/a", "checkpoint/importance.safetensors"), 200, []string{"weights of a"}, nil},
		{fileURL("runs/b", "figures/training.png"), 200, []string{"picture of b"}, nil},
	} {
		w := ask(s, "GET", c.target)
		if w.Code != c.code {
			t.Errorf("%s: code %d, want %d: %s", c.target, w.Code, c.code, w.Body)
		}
		for _, text := range c.has {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("%s lacks %q:\n%s", c.target, text, w.Body)
			}
		}
		for _, text := range c.not {
			if strings.Contains(w.Body.String(), text) {
				t.Errorf("%s has %q", c.target, text)
			}
		}
	}
}

// A run that is complete has its tables; two have them side by side.
func TestResults(t *testing.T) {
	dir := t.TempDir()
	for _, seed := range []string{"1", "2"} {
		p, err := experiment.New("toy", "", "../experiment/testdata/tiny.yaml", []string{"methods=[base, importance]", "samples=20", "seed=" + seed,
			"prior.means=[[0, 0, 0], [1, 0, 0], [0, 1, 1]]", "reward={weights: [1], means: [[1, 0, 0]]}"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := experiment.Run(t.Context(), p, filepath.Join(dir, "runs", seed), "cpu", func(experiment.Event) {}); err != nil {
			t.Fatal(err)
		}
	}
	s := started(t, "", filepath.Join(dir, "runs"))
	one, two := ask(s, "GET", "/?run=runs/1").Body.String(), ask(s, "GET", "/?run=runs/1&run=runs/2").Body.String()
	for _, text := range []string{"complete", "Results", "Certificates", "Importance (this method)", "verdict", "report.html", "training.png"} {
		if !strings.Contains(one, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	for _, text := range []string{"<td>runs/1</td>", "<td>runs/2</td>", "<td><code>seed</code></td>", "Certificates, runs/2"} {
		if !strings.Contains(two, text) {
			t.Errorf("the page of two lacks %q:\n%s", text, two)
		}
	}
	all := read(t, ask(s, "GET", "/events?run=runs/1&once=1").Body.String())
	if len(all) != 1 || all[0].State != experiment.Complete || len(all[0].Series) == 0 {
		t.Fatalf("events: %+v", all)
	}
	last := all[0].Series[len(all[0].Series)-1]
	if last.Name != "importance" || last.Kind != "iteration" || len(last.Steps) != 3 || last.Steps[2] != 3 {
		t.Errorf("the course is %+v, want three iterations of importance", last)
	}
	if w := ask(s, "GET", fileURL("runs/1", "checkpoint/importance.safetensors")); w.Code != 200 || w.Body.String() != oracle.Read(t, filepath.Join(dir, "runs", "1", "checkpoint", "importance.safetensors")) {
		t.Errorf("the checkpoint comes with code %d, %d bytes", w.Code, w.Body.Len())
	}
}

// read returns what server-sent events say.
func read(t *testing.T, text string) (all []news) {
	t.Helper()
	for line := range strings.Lines(text) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var n news
			if err := json.Unmarshal([]byte(data), &n); err != nil {
				t.Fatal(err)
			}
			all = append(all, n)
		}
	}
	return all
}

// Events are told as they come: those of another process, half written ones when they are whole, and anew after the run went back.
func TestStream(t *testing.T) {
	runs := world(t)
	server := httptest.NewServer(started(t, "", runs).Handler())
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, "GET", server.URL+"/events?run=runs/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, 1<<20)
	next := func() news {
		for lines.Scan() {
			if all := read(t, lines.Text()+"\n"); len(all) > 0 {
				return all[0]
			}
		}
		t.Fatalf("the stream has ended: %v", lines.Err())
		return news{}
	}
	file := filepath.Join(runs, "a", "events.jsonl")
	appended := func(text string) {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	want := func(what string, n news, again bool, steps []int, kl numbers) {
		t.Helper()
		if n.Again != again || len(n.Series) != 1 || fmt.Sprint(n.Series[0].Steps) != fmt.Sprint(steps) {
			t.Fatalf("%s: %+v, want steps %v, again %v", what, n, steps, again)
		}
		for _, c := range n.Series[0].Values {
			if c.Name == "kl" && fmt.Sprint(c.Values) != fmt.Sprint(kl) {
				t.Errorf("%s: KL %v, want %v", what, c.Values, kl)
			}
		}
	}
	n := next()
	want("at first", n, false, []int{1, 2}, numbers{0.5, 0.25})
	if n.State != experiment.Stopped || n.Now != "importance" || n.Done != 2 || n.Total != 9 {
		t.Errorf("at first: %+v", n)
	}
	whole := iteration("importance", 3, 0.125)
	appended(whole[:20])
	time.Sleep(30 * time.Millisecond)
	appended(whole[20:])
	want("then", next(), false, []int{3}, numbers{0.125})
	put(t, filepath.Join(runs, "a", "LOCK"), fmt.Sprint(os.Getpid()))
	if n := next(); n.State != experiment.Running || len(n.Series) != 0 {
		t.Errorf("with a process at work: %+v", n)
	}
	// A run that is resumed goes back to a snapshot, and on to other numbers, to a file that is longer before anybody has looked.
	other := iteration("importance", 1, 0.5) + iteration("importance", 2, 1) + iteration("importance", 3, 2) + iteration("importance", 4, 3)
	put(t, file+".new", other)
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	want("after it went back", next(), true, []int{1, 2, 3, 4}, numbers{0.5, 1, 2, 3})
	appended(iteration("importance", 2, 7)) // iterations that are begun anew
	want("anew", next(), true, []int{1, 2}, numbers{0.5, 7})
	appended(`{"seed":1,"stage":"importance","done":2,"total":9,"picture":"samples/importance_iteration_002.png"}` + "\n")
	if n := next(); len(n.Previews) != 1 || n.Previews[0] != (preview{"importance", 2, "/file?name=samples%2Fimportance_iteration_002.png&run=runs%2Fa"}) {
		t.Errorf("of a picture it says %+v", n)
	}
	appended("{not JSON}\n")
	if n := next(); !strings.Contains(n.Error, "events.jsonl") {
		t.Errorf("of a line that is no JSON it says %+v", n)
	}
}

// Nothing but the files that runs give away can be read, by whatever path or link, and there is nothing that could be changed.
func TestNothingElse(t *testing.T) {
	runs := world(t)
	secret := filepath.Join(filepath.Dir(runs), "secret")
	link := func(from, to string) {
		if err := os.Symlink(from, to); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	link(secret, filepath.Join(runs, "a", "figures", "link.png"))
	link(secret, filepath.Join(runs, "a", "report.json"))
	link(filepath.Dir(runs), filepath.Join(runs, "up"))
	link(filepath.Dir(runs), filepath.Join(runs, "a", "samples"))
	put(t, filepath.Join(filepath.Dir(runs), "config.yaml"), "do not tell")
	put(t, filepath.Join(filepath.Dir(runs), "escaped.png"), "do not tell")
	if err := os.MkdirAll(filepath.Join(runs, "linked"), 0o777); err != nil {
		t.Fatal(err)
	}
	link(filepath.Join(filepath.Dir(runs), "config.yaml"), filepath.Join(runs, "linked", "config.yaml"))
	for _, name := range []string{"config.yaml", "events.jsonl"} {
		put(t, filepath.Join(runs, "c", name), "")
	}
	if err := os.Remove(filepath.Join(runs, "c", "events.jsonl")); err != nil {
		t.Fatal(err)
	}
	link(secret, filepath.Join(runs, "c", "events.jsonl"))
	s := started(t, "", runs)
	names := []string{"../secret", "../../secret", "private.txt", "LOCK", secret, "figures/../private.txt", "./config.yaml", "/config.yaml", "figures//training.png", "figures",
		".", "", "figures/link.png", "report.json", "samples/escaped.png", "checkpoint\\importance.safetensors", "..\\secret", "config.yaml\x00.png", "%2e%2e/secret"}
	for _, run := range []string{"runs/a", "runs/up", "runs/..", "runs/.", "runs/", "runs", "../runs/a", "runs/../runs/a", "runs/a/", "runs/a/figures", "runs/.hidden", "runs/none", "runs/linked", "runs/c", "/", ""} {
		for _, name := range names {
			w := ask(s, "GET", fileURL(run, name))
			if w.Code < 400 {
				t.Errorf("run %q, name %q: code %d: %s", run, name, w.Code, w.Body)
			}
		}
		for _, target := range []string{"/?run=", "/events?once=1&run="} {
			w := ask(s, "GET", target+url.QueryEscape(run))
			if strings.Contains(w.Body.String(), "do not tell") {
				t.Errorf("%s%s tells what is outside: %s", target, run, w.Body)
			}
		}
	}
	for _, target := range []string{"/../secret", "/runs/a/config.yaml", "/%2e%2e/secret", "//secret", "/style.css/../page.html", "/page.html"} {
		if w := ask(s, "GET", target); w.Code < 300 {
			t.Errorf("%s: code %d", target, w.Code)
		}
	}
	before := listed(t, runs)
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "CONNECT", "TRACE"} {
		for _, target := range []string{"/", "/?run=runs/a", fileURL("runs/a", "config.yaml"), "/events?run=runs/a", "/metrics"} {
			if w := ask(s, method, target); w.Code != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: code %d, want 405", method, target, w.Code)
			}
		}
	}
	if after := listed(t, runs); after != before {
		t.Errorf("the folder has changed from\n%sto\n%s", before, after)
	}
}

func listed(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	if err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHeaders(t *testing.T) {
	s := started(t, "", world(t))
	for _, target := range []string{"/", "/?run=runs/a", "/nothing", "/events?run=runs/a&once=1", fileURL("runs/a", "config.yaml"), fileURL("runs/a", "report.html")} {
		h := ask(s, "GET", target).Header()
		for name, part := range map[string]string{"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if !strings.Contains(h.Get(name), part) {
				t.Errorf("%s: %s is %q, want %q", target, name, h.Get(name), part)
			}
		}
		if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe-eval") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", target, policy)
		}
	}
	if h := ask(s, "GET", fileURL("runs/a", "report.html")).Header(); !strings.HasPrefix(h.Get("Content-Security-Policy"), "sandbox;") {
		t.Errorf("a report may do what it likes: %q", h.Get("Content-Security-Policy"))
	}
	if h := ask(s, "GET", fileURL("runs/a", "checkpoint/importance.safetensors")).Header(); h.Get("Content-Disposition") != "attachment; filename=a-checkpoint-importance.safetensors" {
		t.Errorf("a checkpoint comes as %q", h.Get("Content-Disposition"))
	}
	// A foreign name that leads here is not answered.
	for host, code := range map[string]int{"localhost": 200, "127.0.0.1:99": 200, "[::1]:8080": 200, "evil.example": 421, "localhost.evil.example:8080": 421, "": 421} {
		if w := ask(s, "GET", "/", func(r *http.Request) { r.Host = host }); w.Code != code {
			t.Errorf("host %q: code %d, want %d", host, w.Code, code)
		}
	}
}

func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	runs := world(t)
	for _, short := range []string{"x", token[:minToken-1]} {
		if _, err := New([]string{runs}, short); !errors.Is(err, ErrToken) {
			t.Errorf("token %q: error %v", short, err)
		}
	}
	open := started(t, "", runs)
	for _, address := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:8080"} {
		if l, err := open.Listen(address); !errors.Is(err, ErrToken) {
			t.Errorf("%s without a token: %v, error %v", address, l, err)
		}
	}
	if l, err := open.Listen("localhost:0"); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	s := started(t, token, runs)
	if l, err := s.Listen("0.0.0.0:0"); err != nil {
		t.Error(err)
	} else {
		l.Close()
	}
	bearer := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", v) }
	}
	jar := func(v string) func(*http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: cookie, Value: v}) }
	}
	form := func(v, origin string) func(*http.Request) {
		return func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(url.Values{"token": {v}}.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Origin", origin)
		}
	}
	for _, target := range []string{"/?run=runs/a", "/events?run=runs/a&once=1", fileURL("runs/a", "config.yaml"), "/metrics"} {
		for given, edit := range map[string]func(*http.Request){"nothing": func(*http.Request) {}, "wrong": bearer("Bearer 0123456789abcdeX"), "short": bearer("Bearer 0123456789abcde"),
			"long": bearer("Bearer " + token + "0"), "empty": bearer("Bearer "), "basic": bearer("Basic " + token), "cookie": jar("x"), "token as cookie": jar(token), "empty cookie": jar("")} {
			w := ask(s, "GET", target, edit)
			if w.Code != 401 && (w.Code != 303 || target != "/?run=runs/a") || strings.Contains(w.Body.String(), "runs/a\"") {
				t.Errorf("%s with %s: code %d", target, given, w.Code)
			}
		}
		if w := ask(s, "GET", target, bearer("Bearer "+token)); w.Code != 200 {
			t.Errorf("%s with the token: code %d", target, w.Code)
		}
	}
	if w := ask(s, "GET", "/healthz"); w.Code != 200 {
		t.Errorf("healthz: %d", w.Code)
	}
	if w := ask(s, "POST", "/login", form("wrong", "http://localhost:8080")); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("a wrong token: code %d", w.Code)
	}
	if w := ask(s, "POST", "/login", form(token, "http://evil.example")); w.Code != 403 || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("the form of another page: code %d", w.Code)
	}
	if w := ask(s, "POST", "/login", form(strings.Repeat("x", mostBody+1), "http://localhost:8080")); w.Code != 400 {
		t.Errorf("a large form: code %d", w.Code)
	}
	w := ask(s, "POST", "/login", form(token, "http://localhost:8080"))
	given := w.Result().Cookies()
	if w.Code != 303 || len(given) != 1 || !given[0].HttpOnly || given[0].SameSite != http.SameSiteStrictMode || strings.Contains(given[0].Value, token) {
		t.Fatalf("the token: code %d, cookies %v", w.Code, given)
	}
	if w := ask(s, "GET", "/", func(r *http.Request) { r.AddCookie(given[0]) }); w.Code != 200 || !strings.Contains(w.Body.String(), "runs/a") {
		t.Errorf("with the cookie: code %d", w.Code)
	}
}

// More readers than there is place for are told so, and those who are there go on; when they have gone there is place again.
func TestBounds(t *testing.T) {
	server := httptest.NewServer(started(t, "", world(t)).Handler())
	defer server.Close()
	var bodies []io.Closer
	get := func() int {
		answer, err := http.Get(server.URL + "/events?run=runs/a")
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, answer.Body)
		return answer.StatusCode
	}
	for i := range mostStreams {
		if code := get(); code != 200 {
			t.Fatalf("reader %d: code %d", i, code)
		}
	}
	if code := get(); code != 429 {
		t.Errorf("one too many: code %d", code)
	}
	for _, b := range bodies {
		b.Close()
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if get() == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("there is no place again")
		}
	}
	bodies[len(bodies)-1].Close()
	var group sync.WaitGroup
	for range 200 {
		group.Go(func() {
			answer, err := http.Get(server.URL + "/?run=runs/a&run=runs/b")
			if err != nil {
				t.Error(err)
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != 200 && answer.StatusCode != 429 {
				t.Errorf("code %d", answer.StatusCode)
			}
		})
	}
	group.Wait()
}

// Ended by its context, the server lets readers of events go.
func TestServe(t *testing.T) {
	s := started(t, "", world(t))
	at, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Serve(ctx, at) }()
	answer, err := http.Get("http://" + at.Addr().String() + "/events?run=runs/a")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it does not end")
	}
}
