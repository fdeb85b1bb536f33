package serve

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/png"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/experiment/textimage"
	"github.com/doob-diffusion/doob/internal/golden"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/report"
)

// trained makes the runs that tests draw from, once: two toys and a super-resolution of Gaussian data.
var trained = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp(os.Getenv("DOOB_DATA"), "runs") // which is removed after the tests
	if err != nil {
		return "", err
	}
	for name, c := range map[string]struct {
		kind, file string
		sets       []string
	}{
		"a":     {"toy", "tiny.yaml", []string{"methods=[base, importance]", "samples=20"}},
		"b":     {"toy", "tiny.yaml", []string{"methods=[base, importance]", "samples=20", "seed=2"}},
		"sharp": {"superres", "tiny_superres.yaml", []string{"methods=[importance]", "data=gaussian", "gaussian={side: 4, length: 1, sd: 0.5}", "h={tuned: false, patch: 1, multipliers: [1]}"}},
	} {
		p, err := experiment.New(c.kind, "", "../experiment/testdata/"+c.file, c.sets)
		if err != nil {
			return "", err
		}
		if _, err := experiment.Run(context.Background(), p, filepath.Join(dir, name), engine.Default, func(experiment.Event) {}); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// drawer is a server of those runs, of a tiny Stable Diffusion and an adapter, that draws.
func drawer(t *testing.T, change ...func(*Inference)) *Server {
	t.Helper()
	runs, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	models := filepath.Join(t.TempDir(), "models")
	if err := os.CopyFS(filepath.Join(models, "sd"), os.DirFS(golden.Path("pipeline"))); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(models, "add.safetensors"), oracle.Read(t, golden.Path("lora/kohya/lora.safetensors")))
	s := started(t, "", runs, models)
	i := Inference{Dir: filepath.Join(t.TempDir(), "own")}
	for _, c := range change {
		c(&i)
	}
	if err := s.Infer(i); err != nil {
		t.Fatal(err)
	}
	return s
}

// runsOf is what the folder of the runs is called.
func runsOf(t *testing.T) string {
	t.Helper()
	dir, err := trained()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(dir)
}

func body(text string) io.ReadCloser { return io.NopCloser(strings.NewReader(text)) }

// posted asks for a drawing in JSON.
func posted(s *Server, text string, edits ...func(*http.Request)) *httptest.ResponseRecorder {
	return ask(s, "POST", "/api/jobs", append([]func(*http.Request){func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Body = body(text)
	}}, edits...)...)
}

// accepted returns the job of a request that is put into the queue.
func accepted(t *testing.T, s *Server, format string, args ...any) job {
	t.Helper()
	w := posted(s, fmt.Sprintf(format, args...))
	var j job
	if err := json.Unmarshal(w.Body.Bytes(), &j); w.Code != http.StatusAccepted || err != nil || w.Header().Get("Location") != "/api/jobs/"+j.ID {
		t.Fatalf("%s: code %d, %v: %s", fmt.Sprintf(format, args...), w.Code, err, w.Body)
	}
	return j
}

// state returns a job as it is now.
func state(t *testing.T, s *Server, id string) (j job) {
	t.Helper()
	w := ask(s, "GET", "/api/jobs/"+id)
	if err := json.Unmarshal(w.Body.Bytes(), &j); w.Code != 200 || err != nil {
		t.Fatalf("job %s: code %d, %v: %s", id, w.Code, err, w.Body)
	}
	return j
}

// until waits for a job to be in a state.
func until(t *testing.T, s *Server, id, want string) job {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		j := state(t, s, id)
		if j.State == want {
			return j
		}
		if time.Now().After(deadline) || !j.Active() {
			t.Fatalf("job %+v, want it %s", j, want)
		}
	}
}

// file returns one that a job has made.
func file(t *testing.T, s *Server, p product) []byte {
	t.Helper()
	w := ask(s, "GET", p.URL)
	if w.Code != 200 || int64(w.Body.Len()) != p.Bytes {
		t.Fatalf("%s: code %d, %d bytes, want %d", p.URL, w.Code, w.Body.Len(), p.Bytes)
	}
	return w.Body.Bytes()
}

// notes of a picture by their keywords.
func notes(t *testing.T, picture []byte) map[string]string {
	t.Helper()
	if _, err := png.Decode(bytes.NewReader(picture)); err != nil {
		t.Fatal(err)
	}
	all, err := report.Notes(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, n := range all {
		out[n.Key] = n.Text
	}
	return out
}

// tree returns all files of a folder.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[path] = oracle.Read(t, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What is drawn is what the library draws with the same settings, which the picture tells; the runs stay as they are.
func TestDraw(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	dir, _ := trained()
	before := tree(t, dir)

	j := accepted(t, s, `{"from": "%s/a", "n": 9, "seed": 5, "steps": 3, "sample": {"strength": 0.5}}`, runs)
	done := until(t, s, j.ID, finished)
	if len(done.Files) != 1 || done.Seconds <= 0 || done.Done != 1 {
		t.Fatalf("%+v", done)
	}
	n := notes(t, file(t, s, done.Files[0]))
	if n["run"] != "a" || n["seed"] != "5" || n["settings"] != "method importance, samples 9, steps 3, amplify 0.5, accept 1" || !strings.HasPrefix(n["Software"], "doob ") {
		t.Errorf("the picture says %q", n)
	}
	j = accepted(t, s, `{"from": "%s/b", "n": 3, "sample": {"method": "base", "format": "csv"}}`, runs)
	got := file(t, s, until(t, s, j.ID, finished).Files[0])
	want := filepath.Join(t.TempDir(), "x.csv")
	if _, err := experiment.Sample(t.Context(), experiment.Draw{Folder: filepath.Join(dir, "b"), Method: "base", N: 3, Seed: 1, Out: want}); err != nil {
		t.Fatal(err)
	}
	if string(got) != oracle.Read(t, want) {
		t.Errorf("numbers %s, want %s", got, oracle.Read(t, want))
	}

	j = accepted(t, s, `{"from": "models/sd", "n": 2, "steps": 4, "generate": {"prompt": "Käse", "guidance": 3, "lora": "models/add.safetensors", "strength": 2}}`)
	done = until(t, s, j.ID, finished)
	if len(done.Files) != 2 || len(done.Notes) == 0 || !strings.Contains(done.Notes[0], "planned: about") {
		t.Fatalf("%+v", done)
	}
	out := filepath.Join(t.TempDir(), "%02d.png")
	if _, err := textimage.Generate(t.Context(), textimage.Generation{Model: golden.Path("pipeline"), Prompt: "Käse", N: 2, Steps: 4, Guidance: 3, Seed: 1, Out: out,
		Adapters: []textimage.Adapter{{Path: golden.Path("lora/kohya/lora.safetensors"), Scale: 2}}}); err != nil {
		t.Fatal(err)
	}
	picture := file(t, s, done.Files[1])
	a, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	b, err := png.Decode(strings.NewReader(oracle.Read(t, fmt.Sprintf(out, 2))))
	if err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("the second picture is another one than that of the library: %v", err)
	}
	if n := notes(t, picture); n["prompt"] != "Käse" || n["picture"] != "2" || !strings.Contains(n["settings"], "lora add.safetensors:2") {
		t.Errorf("the picture says %q", n)
	}

	j = accepted(t, s, `{"from": "%s/sharp", "n": 2, "restore": {"picture": %s, "measure": true}}`, runs, grey(t, 9, 7))
	done = until(t, s, j.ID, finished)
	n = notes(t, file(t, s, done.Files[0]))
	if n["run"] != "sharp" || n["settings"] != "samples 2, steps 4, measured true" || len(done.Files) != 1 || !strings.Contains(strings.Join(done.Notes, " "), "PSNR") {
		t.Errorf("restored: %q, %+v", n, done)
	}
	if done.Request.Restore.Picture != nil {
		t.Error("the request still has its picture")
	}
	if after := tree(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Error("drawing has changed the runs")
	}
}

// grey is a PNG of one grey level, in JSON.
func grey(t *testing.T, height, width int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "grey.png")
	if err := report.Picture(path, make([]float32, height*width), height, width, 1); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal([]byte(oracle.Read(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What cannot be drawn is refused before it waits, with the reason.
func TestRefused(t *testing.T) {
	s, runs := drawer(t), runsOf(t)
	unfinished := world(t)
	more, err := newCollection([]string{unfinished})
	if err != nil {
		t.Fatal(err)
	}
	s.collection.places = append(s.collection.places, more.places...)
	large := func(r *http.Request) { r.Body = body(`{"from": "` + strings.Repeat("x", mostUpload)) }
	for text, want := range map[string]struct {
		code  int
		words string
	}{
		`{"from": "nothing"}`:                             {404, `no such run or model: \"nothing\"`},
		`{"from": "runs/a"}`:                              {409, "runs/a is stopped"},
		`{"from": "runs/none"}`:                           {404, ""},
		`{"from": "RUNS/a", "restore": {}}`:               {400, "cannot restore, want sample"},
		`{"from": "RUNS/a", "generate": {}}`:              {400, "cannot generate"},
		`{"from": "RUNS/a", "sample": null, "n": 0}`:      {400, ""},
		`{"from": "RUNS/a", "sample": {}, "restore": {}}`: {400, "want one of"},
		`{"from": "RUNS/a", "sample": {"method": "dps"}}`: {400, `want \"importance\", \"base\"`},
		`{"from": "RUNS/a", "sample": {"task": "3"}}`:     {400, "a single one"},
		`{"from": "RUNS/a", "sample": {"format": "exe"}}`: {400, "png or csv"},
		`{"from": "RUNS/a", "n": 1e9}`:                    {400, ""},
		`{"from": "RUNS/a", "n": 257, "steps": 1001}`:     {400, "steps is 1001"},
		`{"from": "RUNS/a", "colour": 1}`:                 {400, "colour"},
		`{"from": "RUNS/a"} {}`:                           {400, "nothing behind it"},
		`[]`:                                              {400, ""},
		``:                                                {400, ""},
		`{"from": "models/sd"}`:                           {400, "prompt is empty"},
		`{"from": "models/sd", "generate": {"prompt": "x", "lora": "../../etc/passwd"}}`: {400, "add.safetensors"},
		`{"from": "models/sd", "generate": {"prompt": "x", "height": 8}}`:                {400, "want both"},
		`{"from": "RUNS/sharp", "restore": {}}`:                                          {400, "picture is missing"},
		`{"from": "RUNS/sharp", "restore": {"picture": "YWJj"}}`:                         {400, "picture"},
		`{"from": "RUNS/sharp", "restore": {"picture": ` + grey(t, 1100, 1000) + `}}`:    {400, "at most 1048576"},
	} {
		w := posted(s, strings.ReplaceAll(text, "RUNS", runs))
		if w.Code != want.code || !strings.Contains(w.Body.String(), want.words) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%.200s: code %d, %s; want %d with %q", text, w.Code, w.Body, want.code, want.words)
		}
	}
	good := fmt.Sprintf(`{"from": "%s/a"}`, runs)
	for name, c := range map[string]struct {
		edit func(*http.Request)
		code int
	}{
		"a large body":      {large, 413},
		"another type":      {func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, 415},
		"another server":    {func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		"a foreign request": {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, 403},
		"a foreign name":    {func(r *http.Request) { r.Host = "evil.example" }, 421},
	} {
		if w := posted(s, good, c.edit); w.Code != c.code || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: code %d: %s, want %d", name, w.Code, w.Body, c.code)
		}
	}
	if n := len(s.studio.list()); n != 0 {
		t.Errorf("%d jobs", n)
	}
	if entries, err := os.ReadDir(filepath.Join(s.studio.Dir, drawn)); err == nil && len(entries) > 0 {
		t.Errorf("refused requests have left %v", entries)
	}
	closed := started(t, "", unfinished) // without Infer
	for _, target := range []string{"/draw", "/api/jobs", "/api/sources"} {
		if w := ask(closed, "GET", target); w.Code != 404 || !strings.Contains(w.Body.String(), "only shows") {
			t.Errorf("%s of a server that only shows: code %d", target, w.Code)
		}
	}
}

// A model of pictures without texts cannot be told what to draw, and is not offered; any other is, even if what it is cannot be understood.
func TestModels(t *testing.T) {
	models := filepath.Join(t.TempDir(), "models")
	for name, index := range map[string]string{"text": `{"_class_name": "StableDiffusionPipeline"}`, "pictures": `{"_class_name": "DDPMPipeline"}`, "odd": `{"_class_name": 3`} {
		put(t, filepath.Join(models, name, "model_index.json"), index)
	}
	if got, want := fmt.Sprint(started(t, "", models).collection.models()), "[models/odd models/text]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
