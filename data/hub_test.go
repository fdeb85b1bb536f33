package data

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/doob-diffusion/doob/internal/oracle"
)

const testCommit = "0123456789abcdef0123456789abcdef01234567"

// server is a hub with one repository, OWNER/NAME. Large files, *.safetensors and *.bin, it sends on to another host, as the real one does.
type server struct {
	files   map[string][]byte
	asked   []string // file, and the range if there is one
	answer  func(w http.ResponseWriter, r *http.Request) bool
	leaked  bool // whether the other host was sent a token
	private string

	hub Hub
}

func newServer(t *testing.T, names ...string) *server {
	t.Helper()
	s := &server{files: map[string][]byte{}}
	for i, name := range names {
		s.files[name] = bytesOf(i)
	}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.leaked = s.leaked || r.Header.Get("Authorization") != ""
		s.serve(w, r, r.URL.Query().Get("file"))
	}))
	t.Cleanup(other.Close)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.private != "" && r.Header.Get("Authorization") != "Bearer "+s.private {
			http.Error(w, `{"error":"Invalid username or password."}`, http.StatusUnauthorized)
			return
		}
		if r.URL.EscapedPath() == "/api/models/OWNER/NAME/revision/refs%2Fpr%2F1" || r.URL.Path == "/api/models/OWNER/NAME/revision/main" {
			w.Write(s.list())
			return
		}
		name, ok := strings.CutPrefix(r.URL.Path, "/OWNER/NAME/resolve/"+testCommit+"/")
		switch {
		case !ok:
			http.NotFound(w, r)
		case large(name):
			http.Redirect(w, r, other.URL+"/store?file="+name, http.StatusFound)
		default:
			s.serve(w, r, name)
		}
	}))
	t.Cleanup(front.Close)
	s.hub = Hub{Endpoint: front.URL, Cache: filepath.Join(t.TempDir(), "hub")}
	return s
}

func large(name string) bool {
	return strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".bin")
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, name string) {
	s.asked = append(s.asked, strings.TrimSpace(name+" "+r.Header.Get("Range")))
	content, ok := s.files[name]
	switch {
	case s.answer != nil && !s.answer(w, r):
	case !ok:
		http.NotFound(w, r)
	default:
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
}

func gitSum(b []byte) string {
	h := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(b)), b...))
	return hex.EncodeToString(h[:])
}

func (s *server) list() []byte {
	var files []any
	for _, name := range slices.Sorted(maps.Keys(s.files)) {
		b := s.files[name]
		f := map[string]any{"rfilename": name, "size": len(b), "blobId": gitSum(b)}
		if large(name) {
			f["blobId"] = gitSum([]byte("a pointer"))
			f["lfs"] = map[string]any{"sha256": sum(b), "size": len(b), "pointerSize": 130}
		}
		files = append(files, f)
	}
	out, _ := json.Marshal(map[string]any{"sha": testCommit, "siblings": files, "private": false})
	return out
}

func (s *server) get(ctx context.Context, want Want) (string, error) {
	return s.hub.Get(ctx, Repository{"OWNER/NAME", "main"}, want, func(Progress) {})
}

var published15 = []string{"model_index.json", "README.md", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors", "unet/config.json", "unet/diffusion_pytorch_model.bin",
	"unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors", "vae/config.json",
	"vae/diffusion_pytorch_model.safetensors", "text_encoder/config.json", "text_encoder/model.safetensors", "text_encoder/pytorch_model.bin", "tokenizer/vocab.json",
	"tokenizer/merges.txt", "scheduler/scheduler_config.json", "safety_checker/config.json", "safety_checker/model.safetensors", "feature_extractor/preprocessor_config.json"}

// A model comes into the layout that Python's library has, without what is not read, and the second time from there.
func TestHub(t *testing.T) {
	s := newServer(t, published15...)
	s.private, s.hub.Token = "secret", "secret"
	dir, err := s.get(t.Context(), Want{})
	if err != nil {
		t.Fatal(err)
	}
	repository := filepath.Join(s.hub.Cache, "models--OWNER--NAME")
	if want := filepath.Join(repository, "snapshots", testCommit); dir != want {
		t.Errorf("folder %s, want %s", dir, want)
	}
	want := []string{"model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/merges.txt", "tokenizer/vocab.json",
		"unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors"}
	if d := cmp.Diff(want, s.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	for _, name := range want {
		blob := gitSum(s.files[name])
		if large(name) {
			blob = sum(s.files[name])
		}
		link, err := os.Readlink(filepath.Join(dir, name))
		if up := strings.Repeat("../", strings.Count(name, "/")+2); err != nil || link != up+"blobs/"+blob {
			t.Errorf("%s leads to %s (%v)", name, link, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(b, s.files[name]) {
			t.Errorf("%s has %d bytes (%v)", name, len(b), err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(repository, "refs", "main")); err != nil || string(b) != testCommit {
		t.Errorf("main is %q (%v)", b, err)
	}
	if s.leaked {
		t.Error("another host was sent the token")
	}
	s.asked = nil
	if again, err := s.get(t.Context(), Want{Variant: "fp16"}); err != nil || again != dir {
		t.Error(again, err)
	}
	if d := cmp.Diff([]string{"unet/diffusion_pytorch_model.fp16.safetensors"}, s.asked); d != "" {
		t.Errorf("asked for the variant (-want +got):\n%s", d)
	}
	if _, err := s.hub.Get(t.Context(), Repository{"OWNER/NAME", "refs/pr/1"}, Want{Files: []string{"README.md"}}, func(Progress) {}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(repository, "refs", "refs", "pr", "1")); err != nil {
		t.Error(err)
	}
}

func TestHubChoice(t *testing.T) {
	for name, c := range map[string]struct {
		has  []string
		want Want
		get  string
		err  string
	}{
		"CLIP":           {[]string{"config.json", "model.safetensors", "pytorch_model.bin", "flax_model.msgpack", "vocab.json", "merges.txt", "other.safetensors", "onnx/config.json"}, Want{}, "config.json merges.txt model.safetensors vocab.json", ""},
		"shards":         {[]string{"config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.fp16.safetensors"}, Want{}, "config.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors model.safetensors.index.json", ""},
		"only half":      {[]string{"config.json", "model.fp16.safetensors"}, Want{}, "config.json model.fp16.safetensors", ""},
		"half in shards": {[]string{"model.safetensors", "model.safetensors.index.fp16.json", "model.fp16-00001-of-00001.safetensors"}, Want{Variant: "fp16"}, "model.fp16-00001-of-00001.safetensors model.safetensors.index.fp16.json", ""},
		"ImageReward":    {[]string{"ImageReward.pt", "med_config.json", "README.md", "x.pt"}, Want{}, "ImageReward.pt med_config.json", ""},
		"adapter":        {[]string{"pytorch_lora_weights.safetensors", "x.png"}, Want{}, "pytorch_lora_weights.safetensors", ""},
		"vocabulary":     {[]string{"vocab.txt", "config.json", "model.safetensors"}, Want{Files: []string{"vocab.txt"}}, "vocab.txt", ""},
		"patterns":       {[]string{"a/1.json", "a/2.json", "b/1.json"}, Want{Files: []string{"a/*.json"}}, "a/1.json a/2.json", ""},
		"no such file":   {[]string{"vocab.txt"}, Want{Files: []string{"vocab.*", "vocabulary"}}, "", `no file "vocabulary"`},
		"nothing":        {[]string{"x.png"}, Want{}, "", "none of its 1 files"},
		"old":            {[]string{"config.json", "pytorch_model.bin"}, Want{}, "", "weights as pytorch_model.bin only"},
		"old parts":      {[]string{"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.bin"}, Want{}, "", "weights as unet/diffusion_pytorch_model.bin only in folder unet, wanted are safetensors"},
		"no part":        {[]string{"model_index.json", "unet/diffusion_pytorch_model.safetensors"}, Want{}, "", "no weights in folder vae"},
	} {
		var all []hubFile
		for _, name := range c.has {
			all = append(all, hubFile{Name: name})
		}
		chosen, err := c.want.choose(all)
		if c.err != "" {
			if !errors.Is(err, ErrHub) || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: err = %v, want %q", name, err, c.err)
			}
			continue
		}
		var got []string
		for _, f := range chosen {
			got = append(got, f.Name)
		}
		if strings.Join(got, " ") != c.get || err != nil {
			t.Errorf("%s: %q (%v), want %s", name, got, err, c.get)
		}
	}
}

// What an interrupted call has fetched of a file is not fetched again.
func TestHubInterrupted(t *testing.T) {
	s := newServer(t, "config.json", "model.safetensors")
	ctx, cancel := context.WithCancel(t.Context())
	s.answer = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/store" {
			return true
		}
		w.Header().Set("Content-Length", "5000")
		w.Write(s.files["model.safetensors"][:2000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return false
	}
	_, err := s.hub.Get(ctx, Repository{"OWNER/NAME", "main"}, Want{}, func(p Progress) {
		if p.File == "model.safetensors" && p.Done == 2000 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v, want Canceled", err)
	}
	s.answer, s.asked = nil, nil
	dir, err := s.get(t.Context(), Want{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"model.safetensors bytes=2000-"}, s.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "model.safetensors")); err != nil || !bytes.Equal(b, s.files["model.safetensors"]) {
		t.Errorf("%d bytes (%v)", len(b), err)
	}
}

// Bytes that are not those that the hub has told of are no file.
func TestHubWrongSum(t *testing.T) {
	for _, name := range []string{"model.safetensors", "config.json"} {
		s := newServer(t, "config.json", "model.safetensors")
		s.answer = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, name) && r.URL.Query().Get("file") != name {
				return true
			}
			w.Write(bytesOf(9))
			return false
		}
		_, err := s.get(t.Context(), Want{})
		if !errors.Is(err, ErrChecksum) {
			t.Errorf("err = %v, want ErrChecksum", err)
		}
		oracle.WantError(t, err, "hf:OWNER/NAME@main", name)
		left, _ := filepath.Glob(filepath.Join(s.hub.Cache, "*", "snapshots", "*", name))
		parts, _ := filepath.Glob(filepath.Join(s.hub.Cache, "*", "blobs", "*.incomplete"))
		if len(left)+len(parts) > 0 {
			t.Errorf("%q and %q stay", left, parts)
		}
	}
}

func TestHubAnswers(t *testing.T) {
	s := newServer(t, "config.json")
	for _, c := range []struct {
		repository, private, token string
		want                       []string
	}{
		{"OWNER/OTHER", "", "", []string{"404 Not Found", "no such repository or revision", "/OWNER/OTHER"}},
		{"OWNER/NAME", "secret", "", []string{"401 Unauthorized", "HF_TOKEN", "accept a licence", "/OWNER/NAME"}},
		{"OWNER/NAME", "secret", "wrong", []string{"401 Unauthorized", "the token does not give access"}},
	} {
		s.private, s.hub.Token = c.private, c.token
		_, err := s.hub.Get(t.Context(), Repository{c.repository, "main"}, Want{}, func(Progress) {})
		if !errors.Is(err, ErrHub) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("err = %v, want ErrHub without the token", err)
		}
		oracle.WantError(t, err, c.want...)
	}
	// A licence may stand before the files alone.
	s.private, s.hub.Token = "", "secret"
	s.answer = func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "Access to model is restricted", http.StatusForbidden)
		return false
	}
	_, err := s.get(t.Context(), Want{})
	oracle.WantError(t, err, "403 Forbidden", "config.json", "accept a licence")
	// A name that leads out of the folder is none.
	s.answer, s.files = nil, map[string][]byte{"../x.json": nil}
	_, err = s.hub.Get(t.Context(), Repository{"OWNER/NAME", "main"}, Want{Files: []string{"../x.json"}}, func(Progress) {})
	oracle.WantError(t, err, "../x.json", "inside of the repository")
	s.hub.Endpoint = "http://127.0.0.1:1"
	_, err = s.get(t.Context(), Want{})
	oracle.WantError(t, err, "127.0.0.1:1")
}

func TestParseRepository(t *testing.T) {
	for s, want := range map[string]Repository{"a/b": {"a/b", "main"}, "gpt2": {"gpt2", "main"}, "a/b-1.5@fp16": {"a/b-1.5", "fp16"}, "a/b@refs/pr/3": {"a/b", "refs/pr/3"}} {
		if got, err := ParseRepository(s); got != want || err != nil {
			t.Errorf("%s: %v (%v), want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "a/b/c", "a b", "../b", "a/..", "a/b@", "a/b@../x", "a/b@/x", "a--b/c"} {
		if got, err := ParseRepository(s); !errors.Is(err, ErrHub) {
			t.Errorf("%s: %v (%v), want ErrHub", s, got, err)
		}
	}
}

// The places are those of Python's library.
func TestHubHere(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HUB_CACHE", "HF_HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("XDG_CACHE_HOME", home)
	want := Hub{Endpoint: "https://huggingface.co", Cache: filepath.Join(home, "huggingface", "hub")}
	check := func() {
		t.Helper()
		if got, err := HubHere(); got != want || err != nil {
			t.Errorf("%v (%v), want %v", got, err, want)
		}
	}
	check()
	t.Setenv("HF_HOME", home)
	want.Cache = filepath.Join(home, "hub")
	if err := os.WriteFile(filepath.Join(home, "token"), []byte("kept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want.Token = "kept"
	check()
	t.Setenv("HF_HUB_CACHE", "/elsewhere")
	t.Setenv("HF_TOKEN", "given")
	t.Setenv("HF_ENDPOINT", "http://mirror/")
	want = Hub{Endpoint: "http://mirror", Cache: "/elsewhere", Token: "given"}
	check()
}

// What is fetched here, Python's library finds without asking its hub. DOOB_PYTHON names a Python that has huggingface_hub.
func TestHubInPython(t *testing.T) {
	python := os.Getenv("DOOB_PYTHON")
	if python == "" {
		t.Skip("DOOB_PYTHON names no Python with huggingface_hub: that it finds our files is not tested")
	}
	s := newServer(t, published15...)
	dir, err := s.get(t.Context(), Want{})
	if err != nil {
		t.Fatal(err)
	}
	const script = `import sys, huggingface_hub as h
print(h.hf_hub_download("OWNER/NAME", "unet/diffusion_pytorch_model.safetensors", cache_dir=sys.argv[1], local_files_only=True))
print(h.hf_hub_download("OWNER/NAME", "model_index.json", cache_dir=sys.argv[1], local_files_only=True))`
	out, err := exec.CommandContext(t.Context(), python, "-c", script, s.hub.Cache).CombinedOutput()
	want := filepath.Join(dir, "unet/diffusion_pytorch_model.safetensors") + "\n" + filepath.Join(dir, "model_index.json") + "\n"
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s, want\n%s", err, out, want)
	}
}
