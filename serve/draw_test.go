package serve

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
)

// sent sends a form.
func sent(s *Server, target string, values url.Values, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	return ask(s, "POST", target, append([]func(*http.Request){func(r *http.Request) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", "http://localhost:8080")
		r.Body = body(values.Encode())
	}}, edits...)...)
}

// Forms do what the API does, without a script; looking begins nothing.
func TestForms(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	for target, words := range map[string][]string{
		"/":                             {`href="/draw"`, "models/sd"},
		"/?run=" + runs + "/a":          {"Draw samples"},
		"/draw":                         {runs + "/sharp", "models/sd", "Nothing yet"},
		"/draw?from=" + runs + "/a":     {`<option value="importance" selected>Importance (this method)</option>`, `name="n" min="1" max="256"`, "What it has learned"},
		"/draw?from=models/sd":          {"A picture from a text", `<option value="models/add.safetensors">`, `name="guidance"`},
		"/draw?from=" + runs + "/sharp": {"Restore a picture", `type="file"`, "Number of the measurement"},
	} {
		w := ask(s, "GET", target)
		for _, word := range words {
			if !strings.Contains(w.Body.String(), word) {
				t.Errorf("%s, code %d, lacks %q:\n%s", target, w.Code, word, w.Body)
			}
		}
		for _, forbidden := range []string{"<script>", "style=", "onclick"} {
			if strings.Contains(w.Body.String(), forbidden) {
				t.Errorf("%s has %s", target, forbidden)
			}
		}
	}
	if w := ask(s, "GET", "/draw?from=nothing"); w.Code != 404 || !strings.Contains(w.Body.String(), "no such run or model") {
		t.Errorf("a form of nothing: code %d", w.Code)
	}
	if n := len(s.studio.list()); n != 0 {
		t.Errorf("looking has begun %d jobs", n)
	}

	form := url.Values{"from": {runs + "/a"}, "kind": {"sample"}, "n": {"4"}, "seed": {"11"}, "steps": {"2"}, "strength": {""}, "method": {"importance"}, "format": {"png"}}
	w := sent(s, "/draw", form)
	to, err := url.Parse(w.Header().Get("Location"))
	if err != nil || w.Code != 303 || to.Path != "/draw" || to.Query().Get("from") != runs+"/a" {
		t.Fatalf("code %d, to %v, %v: %s", w.Code, to, err, w.Body)
	}
	done := until(t, s, to.Query().Get("again"), finished)
	if r := done.Request; r.N != 4 || r.Seed != 11 || r.Steps != 2 || r.Sample.Strength != 1 {
		t.Errorf("asked for %+v", r)
	}
	page := ask(s, "GET", to.RequestURI()).Body.String()
	for _, word := range []string{`value="11"`, `src="` + done.Files[0].URL + `"`, `alt="samples.png, ` + runs + `/a, importance, n 4, seed 11"`, "Dismiss", "&#34;seed&#34;: 11"} {
		if !strings.Contains(page, word) {
			t.Errorf("the page lacks %q:\n%s", word, page)
		}
	}

	for name, c := range map[string]struct {
		key, value, words string
	}{"what is no number": {"n", "many", "want a number"}, "what is out of range": {"n", "257", "want 1 to 256"}, "markup": {"method", "<script>", "&lt;script&gt;"}, "two kinds": {"restore", "x", "unknown field"}} {
		bad := url.Values{}
		for k, v := range form {
			bad[k] = v
		}
		bad.Set(c.key, c.value)
		if w := sent(s, "/draw", bad); w.Code != 400 || !strings.Contains(w.Body.String(), c.words) || !strings.Contains(w.Body.String(), `role="alert"`) {
			t.Errorf("%s: code %d, want 400 with %q: %s", name, w.Code, c.words, w.Body)
		}
	}
	if w := sent(s, "/draw", form, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }); w.Code != 403 {
		t.Errorf("the form of another page: code %d", w.Code)
	}
	if w := sent(s, "/draw/cancel", url.Values{"id": {done.ID}}, func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }); w.Code != 403 {
		t.Errorf("another page cancels: code %d", w.Code)
	}
	if w := sent(s, "/draw/cancel", url.Values{"id": {done.ID}, "from": {runs + "/a"}}); w.Code != 303 {
		t.Errorf("dismissed: code %d: %s", w.Code, w.Body)
	}
	if n := len(s.studio.list()); n != 0 {
		t.Errorf("%d jobs", n)
	}

	var b bytes.Buffer // with a picture
	m := multipart.NewWriter(&b)
	for k, v := range map[string]string{"from": runs + "/sharp", "kind": "restore", "n": "1", "measure": "on"} {
		m.WriteField(k, v)
	}
	part, err := m.CreateFormFile("picture", "../../x.png")
	if err == nil {
		_, err = io.WriteString(part, oracle.Read(t, golden.Path("pictures/1.png")))
	}
	if err = errors.Join(err, m.Close()); err != nil {
		t.Fatal(err)
	}
	w = sent(s, "/draw", nil, func(r *http.Request) {
		r.Header.Set("Content-Type", m.FormDataContentType())
		r.Body = io.NopCloser(&b)
	})
	if to, err = url.Parse(w.Header().Get("Location")); err != nil || w.Code != 303 {
		t.Fatalf("a picture: code %d: %s", w.Code, w.Body)
	}
	if j := until(t, s, to.Query().Get("again"), finished); len(j.Files) != 1 || j.Files[0].Name != "restored.png" || !j.Request.Restore.Measure {
		t.Errorf("restored: %+v", j)
	}
}

// With a token, nobody draws or sees what was drawn without it.
func TestTokenToDraw(t *testing.T) {
	runs, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	const token = "0123456789abcdef"
	own := filepath.Join(t.TempDir(), "own") // which is removed after the server has ended
	s := started(t, token, runs)
	if err := s.Infer(Inference{Dir: own}); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`{"from": "%s/a", "n": 2, "sample": {"format": "csv"}}`, filepath.Base(runs))
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	for _, given := range []string{"", "0123456789abcdeX"} {
		for _, c := range [][2]string{{"GET", "/draw"}, {"POST", "/draw"}, {"POST", "/draw/cancel"}, {"GET", "/api/jobs"}, {"GET", "/api/openapi.json"}, {"GET", "/api/source"}, {"DELETE", "/api/jobs/x"},
			{"GET", "/api/jobs/x/files/samples.csv"}} {
			if w := ask(s, c[0], c[1], bearer(given)); w.Code != 401 {
				t.Errorf("%s %s with the token %q: code %d", c[0], c[1], given, w.Code)
			}
		}
		if w := posted(s, text, bearer(given)); w.Code != 401 || len(s.studio.list()) != 0 {
			t.Errorf("with the token %q a request is put into the queue: code %d", given, w.Code)
		}
	}
	if w := posted(s, text, bearer(token)); w.Code != 202 {
		t.Errorf("with the token: code %d: %s", w.Code, w.Body)
	}
}

// Who sends slowly is let go, and those who send keep no others out for long.
func TestSlowBody(t *testing.T) {
	s := drawer(t)
	s.studio.patience = 50 * time.Millisecond
	server := httptest.NewServer(s.Handler())
	defer server.Close()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	c.SetReadDeadline(time.Now().Add(time.Minute))
	answer, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.1 400") || len(s.studio.uploads) != 0 {
		t.Errorf("a body that does not come: %q, %d are read", answer, len(s.studio.uploads))
	}
}

// Nothing but what jobs have made is given away of the server's own folder, and links lead nowhere.
func TestFilesOfJobs(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	j := until(t, s, accepted(t, s, `{"from": "%s/a", "n": 2, "sample": {"format": "csv"}}`, runs).ID, finished)
	put(t, filepath.Join(s.studio.dir(&j), "private.txt"), "do not tell")
	put(t, filepath.Join(s.studio.Dir, "secret.csv"), "do not tell")
	for _, name := range []string{"private.txt", "..%2f..%2fsecret.csv", "../../secret.csv", "%2e%2e/%2e%2e/queue.json", "samples.csv%00.png", "", "."} {
		if w := ask(s, "GET", "/api/jobs/"+j.ID+"/files/"+name); w.Code < 300 || strings.Contains(w.Body.String(), "do not tell") {
			t.Errorf("%q: code %d: %s", name, w.Code, w.Body)
		}
	}
	if err := os.Remove(filepath.Join(s.studio.dir(&j), "samples.csv")); err != nil {
		t.Fatal(err)
	}
	dir := s.collection.places[1].path
	put(t, filepath.Join(filepath.Dir(dir), "outside", index), "{}")
	for from, to := range map[string]string{filepath.Join(s.studio.Dir, "..", "secret"): filepath.Join(s.studio.dir(&j), "samples.csv"),
		filepath.Join(filepath.Dir(dir), "outside"): filepath.Join(dir, "linked"), filepath.Join(filepath.Dir(dir), "outside", index): filepath.Join(dir, "linked.safetensors")} {
		put(t, filepath.Join(s.studio.Dir, "..", "secret"), "do not tell")
		if err := os.Symlink(from, to); err != nil {
			t.Skip("no symbolic links here")
		}
	}
	if w := ask(s, "GET", j.Files[0].URL); w.Code < 400 || strings.Contains(w.Body.String(), "do not tell") {
		t.Errorf("a link: code %d: %s", w.Code, w.Body)
	}
	for _, target := range []string{"/api/source?name=models/sd", "/api/sources"} {
		if w := ask(s, "GET", target).Body.String(); strings.Contains(w, "linked") {
			t.Errorf("%s lists what links lead to outside: %s", target, w)
		}
	}
	for _, name := range []string{"models/linked", "models/../outside", "models/sd/..", "../outside", runs + "/../" + runs + "/a"} {
		if w := ask(s, "GET", "/api/source?name="+url.QueryEscape(name)); w.Code != 404 {
			t.Errorf("%s: code %d: %s", name, w.Code, w.Body)
		}
	}
}

// TestServed is the process of TestKilled: a server at a folder, which waits until it is killed.
func TestServed(t *testing.T) {
	dir := os.Getenv("DOOB_TEST_SERVE")
	if dir == "" {
		t.Skip("not a test of its own")
	}
	s, err := New([]string{os.Getenv("DOOB_TEST_RUNS")}, "")
	if err == nil {
		err = s.Infer(Inference{Dir: dir})
	}
	if err != nil {
		t.Fatal(err)
	}
	runs := filepath.Base(os.Getenv("DOOB_TEST_RUNS"))
	first := accepted(t, s, `{"from": "%s/a", "n": 256, "steps": 1000}`, runs)
	accepted(t, s, `{"from": "%s/b", "seed": 77}`, runs)
	until(t, s, first.ID, drawing)
	fmt.Println("ready")
	time.Sleep(time.Hour)
}

// What a server that is killed had not drawn is told as lost by the next one until it is dismissed, and the runs stay as they are.
func TestKilled(t *testing.T) {
	runs, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	before, own := tree(t, runs), filepath.Join(t.TempDir(), "own")
	cmd := exec.Command(os.Args[0], "-test.run=^TestServed$")
	cmd.Env = append(os.Environ(), "DOOB_TEST_SERVE="+own, "DOOB_TEST_RUNS="+runs)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var said [6]byte
	io.ReadFull(out, said[:])
	cmd.Process.Kill()
	cmd.Wait()
	if string(said[:]) != "ready\n" {
		t.Fatalf("the server says %q", said)
	}
	if after := tree(t, runs); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("the runs have changed")
	}
	again := func(want int) *Server {
		t.Helper()
		s := started(t, "", runs)
		if err := s.Infer(Inference{Dir: own}); err != nil {
			t.Fatal(err)
		}
		jobs := s.studio.list()
		if len(jobs) != want {
			t.Fatalf("%d jobs, want %d: %+v", len(jobs), want, jobs)
		}
		for _, j := range jobs {
			if j.State != lost {
				t.Errorf("%+v, want it lost", j)
			}
		}
		return s
	}
	s := again(2)
	if jobs := s.studio.list(); jobs[0].Request.Seed != 77 || jobs[1].Request.N != 256 {
		t.Errorf("lost are %+v", jobs)
	}
	if page := ask(s, "GET", "/draw").Body.String(); !strings.Contains(page, "The server has ended before 2 requests were drawn") {
		t.Errorf("the page does not tell:\n%s", page)
	}
	s = again(2) // which nobody has looked at
	if w := ask(s, "DELETE", "/api/jobs/"+s.studio.list()[0].ID); w.Code != 204 {
		t.Errorf("dismissed: code %d", w.Code)
	}
	s = again(1)
	long := accepted(t, s, `{"from": "%s/a", "n": 256, "steps": 1000}`, filepath.Base(runs))
	until(t, s, long.ID, drawing)
	if err := s.studio.close(); err != nil { // one that ends by itself
		t.Error(err)
	}
	s.studio = nil

	s = again(2)
	for _, j := range s.studio.list() {
		s.studio.cancel(j.ID)
	}
	if err := s.studio.close(); err != nil {
		t.Error(err)
	}
	s.studio = nil
	if _, err := os.Stat(own); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a loss to tell, the folder stays: %v", err)
	}
	put(t, filepath.Join(own, journal), "{")
	s = started(t, "", runs)
	oracle.WantError(t, s.Infer(Inference{Dir: own}), "journal of an earlier server", journal)
	oracle.WantError(t, s.Infer(Inference{Dir: own, Backend: "abacus"}), "abacus")
	oracle.WantError(t, s.Infer(Inference{Dir: own, Memory: -1}), "memory")
}
