package external

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// serve is a server that scores by the sum, but for what fails returns true of. It returns its settings, and how often it was asked.
func serve(t *testing.T, fails func(asked int, w http.ResponseWriter, r *http.Request) bool) (Settings, *atomic.Int64) {
	t.Helper()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := int(asked.Add(1))
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost {
			t.Errorf("%s, %v", r.Method, err)
		}
		if fails != nil && fails(n, w, r) {
			return
		}
		file := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(file, body, 0o666); err != nil {
			t.Error(err)
		}
		f, err := checkpoint.Load(file)
		if err != nil {
			t.Error(err)
			return
		}
		x := f.Tensors["x"]
		fmt.Fprintf(w, `{"rewards":[%s]}`, strings.Join(sums(x.F32, x.Shape[0], len(f.Metadata["prompt"])), ","))
	}))
	t.Cleanup(s.Close)
	return Settings{HTTP: s.URL + "/score", Batch: 2, Timeout: 20 * time.Second}, &asked
}

// hijack breaks the connection after a part of an answer.
func hijack(w http.ResponseWriter, part string) {
	c, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	fmt.Fprint(c, part)
	c.Close()
}

// A server scores samples in batches, and what may pass is tried again, to the same rewards.
func TestServer(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter){
		"works":       nil,
		"unavailable": func(w http.ResponseWriter) { http.Error(w, "later", http.StatusServiceUnavailable) },
		"too many":    func(w http.ResponseWriter) { http.Error(w, "later", http.StatusTooManyRequests) },
		"broken":      func(w http.ResponseWriter) { hijack(w, "") },
		"cut":         func(w http.ResponseWriter) { hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{\"rewards\"") },
		"late":        nil,
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := serve(t, func(n int, w http.ResponseWriter, r *http.Request) bool {
				if name == "works" || n != 2 && n != 3 {
					return false
				}
				if fail == nil {
					<-r.Context().Done() // until the client has gone
				} else {
					fail(w)
				}
				return true
			})
			if name == "late" {
				s.Timeout = time.Second
			}
			r := open(t, s)
			scored(t, r, 0)
			scored(t, r.With(map[string]string{"prompt": "ab"}), 2)
			if want := map[bool]int64{true: 4, false: 6}[name == "works"]; asked.Load() != want {
				t.Errorf("asked %d times, want %d", asked.Load(), want)
			}
		})
	}
}

// What does not help to try again is not tried again; what did not help is an error of its own kind.
func TestServerFails(t *testing.T) {
	say := func(text string) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { fmt.Fprint(w, text) }
	}
	status := func(code int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { http.Error(w, "no such thing", code) }
	}
	for name, c := range map[string]struct {
		fail  func(w http.ResponseWriter)
		asked int64
		is    error
		words []string
	}{
		"dead":        {func(w http.ResponseWriter) { hijack(w, "") }, 3, ErrConnection, []string{"tried 3 times"}},
		"unavailable": {status(503), 3, ErrStatus, []string{"tried 3 times", "503", "no such thing"}},
		"late":        {nil, 3, ErrLate, []string{"tried 3 times", "500ms"}},
		"not found":   {status(404), 1, ErrStatus, []string{"404", "no such thing"}},
		"moved":       {func(w http.ResponseWriter) { w.Header().Set("Location", "/there"); w.WriteHeader(302) }, 1, ErrStatus, []string{"302", "/there"}},
		"NaN":         {say(`{"rewards":[1,NaN]}`), 1, reward.ErrInvalid, []string{"NaN", "sample 1 of 5"}},
		"missing":     {say(`{"rewards":[null,1]}`), 1, reward.ErrInvalid, []string{"missing", "sample 0 of 5"}},
		"count":       {say(`{"rewards":[1]}`), 1, reward.ErrInvalid, []string{"1 rewards for 2 samples"}},
		"garbage":     {say(`<html>`), 1, ErrAnswer, []string{"<html>"}},
		"flood":       {say(strings.Repeat("x", 1<<20)), 1, ErrAnswer, []string{"more than"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, asked := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) bool {
				if c.fail == nil {
					<-r.Context().Done()
				} else {
					c.fail(w)
				}
				return true
			})
			if s.Retries = 2; name == "late" {
				s.Timeout = 500 * time.Millisecond
			}
			got, err := open(t, s).Rewards(t.Context(), five, 5)
			if !errors.Is(err, c.is) || got != nil {
				t.Errorf("rewards %v, error %v, want one that is %q", got, err, c.is)
			}
			oracle.WantError(t, err, append(c.words, s.HTTP)...)
			if asked.Load() != c.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), c.asked)
			}
		})
	}
}

// A server says how long to wait, and a reward without retries does not.
func TestServerPause(t *testing.T) {
	s, asked := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 1 {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}
		return n == 1
	})
	start := time.Now()
	scored(t, open(t, s), 0)
	if d := time.Since(start); d < time.Second {
		t.Errorf("it was asked again after %s, want 1s", d)
	}
	asked.Store(0)
	s.Retries = -1
	_, err := open(t, s).Rewards(t.Context(), five, 5)
	oracle.WantError(t, err, "429")
	if asked.Load() != 1 || strings.Contains(err.Error(), "tried") {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}
