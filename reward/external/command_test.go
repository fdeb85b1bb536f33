package external

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/reward"
)

// open starts a scorer, with short pauses.
func open(t *testing.T, s Settings) *Reward {
	t.Helper()
	r, err := s.Open(t.Context(), []int{2})
	if err != nil {
		t.Fatal(err)
	}
	r.pause = time.Millisecond
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// scored wants the rewards of the five samples.
func scored(t *testing.T, r reward.Reward, more float64) {
	t.Helper()
	got, err := r.Rewards(t.Context(), slices.Clone(five), 5)
	if err != nil {
		t.Error(err)
		return
	}
	for i, v := range want {
		if got[i] != v+more {
			t.Errorf("rewards %v, want %v and %g more", got, want, more)
			return
		}
	}
}

// A program scores samples in batches, and what fails once is tried again, to the same rewards.
func TestCommand(t *testing.T) {
	for _, mode := range []string{"works", "id", "removes", "dies", "dies in between", "hangs", "late"} {
		t.Run(mode, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			r := open(t, scorer(t, mode))
			if _, err := r.Rewards(t.Context(), []float32{1, 2}, 1); err != nil {
				t.Fatal(err)
			}
			if mode == "hangs" || mode == "late" {
				r.settings.Timeout = time.Second // now that the program has started
			}
			scored(t, r, 0)
			scored(t, r.With(map[string]string{"prompt": "ab"}), 2)
			if fails := mode != "works" && mode != "id" && mode != "removes"; fails != exists(os.Getenv("DOOB_TEST_ONCE")) {
				t.Errorf("it was to fail: %v, and did not", fails)
			}
			if left, err := filepath.Glob(os.TempDir() + "/*"); err != nil || len(left) > 0 {
				t.Errorf("files are left: %v, %v", left, err)
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// What does not help to try again, or did not help, is an error of its own kind that tells what the program has said.
func TestCommandFails(t *testing.T) {
	for _, c := range []struct {
		mode    string
		timeout time.Duration
		is      error
		words   []string
	}{
		{"syntax", 0, ErrDied, []string{"exit status 3", "SyntaxError", "until its standard input ends"}},
		{"greets", 0, ErrAnswer, []string{`"Loading the model"`, "standard error"}},
		{"always dies", 0, ErrDied, []string{"tried 3 times", "exit status 7", "xxx\nout of memory"}},
		{"hangs at once", 300 * time.Millisecond, ErrLate, []string{"300ms", "flush"}},
		{"half a line", 500 * time.Millisecond, ErrLate, []string{"tried 3 times", "500ms"}},
		{"floods", 0, ErrAnswer, []string{"more than"}},
		{"answers twice", 0, ErrAnswer, []string{""}},
	} {
		if c.mode == "hangs at once" && runtime.GOOS == "windows" {
			continue // which has no program sleep
		}
		t.Run(c.mode, func(t *testing.T) {
			s := scorer(t, c.mode)
			s.Retries = 2
			r := open(t, s)
			if c.mode == "half a line" {
				if _, err := r.Rewards(t.Context(), []float32{1, 2}, 1); err != nil {
					t.Fatal(err)
				}
			}
			if c.timeout > 0 {
				r.settings.Timeout = c.timeout
			}
			start := time.Now()
			got, err := r.Rewards(t.Context(), five, 5)
			if !errors.Is(err, c.is) || got != nil {
				t.Errorf("rewards %v, error %v, want one that is %q", got, err, c.is)
			}
			oracle.WantError(t, err, append(c.words, s.Name())...)
			if err != nil && len(err.Error()) > 6000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("it took %s", d)
			}
		})
	}
}

// A run that is interrupted does not wait for an answer, nor for a pause; nor does closing, for a program that does not end.
func TestCommandEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := open(t, scorer(t, "hangs at once"))
	time.AfterFunc(200*time.Millisecond, func() { cancel(errors.New("interrupted")) })
	if _, err := r.Rewards(ctx, five, 5); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}

	ctx, stop := context.WithCancel(t.Context())
	r, err := scorer(t, "works").Open(ctx, []int{2})
	if err != nil {
		t.Fatal(err)
	}
	scored(t, r, 0)
	p := r.judge.(*command).running
	stop()
	p.wait() // it ends with the context
	for {    // by closing, which follows at once
		if _, err := r.Rewards(t.Context(), five, 5); err != nil {
			oracle.WantError(t, err, "closed")
			break
		}
	}

	r = open(t, scorer(t, "ends late"))
	scored(t, r, 0)
	p = r.judge.(*command).running
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if state := p.wait(); state != "signal: killed" && runtime.GOOS != "windows" {
		t.Errorf("a program that does not end: %s", state)
	}
}

func TestOpenRefuses(t *testing.T) {
	_, err := Settings{Command: []string{"no-such-program-here"}}.Open(t.Context(), []int{2})
	oracle.WantError(t, err, "no-such-program-here", "not found")
	_, err = Settings{Command: []string{"a"}, HTTP: "http://b"}.Open(t.Context(), []int{2})
	oracle.WantError(t, err, `command is ["a"] and http is "http://b", want exactly one`)
	_, err = open(t, scorer(t, "works")).Rewards(t.Context(), make([]float32, 5), 2)
	oracle.WantError(t, err, "of 5 numbers, want 2 samples [2]")
	// Samples that have all diverged are nobody's to score.
	nan := float32(math.NaN())
	if got, err := open(t, scorer(t, "syntax")).Rewards(t.Context(), []float32{nan, 0, 0, nan}, 2); err != nil || !slices.Equal(got, []float64{math.Inf(-1), math.Inf(-1)}) {
		t.Errorf("of diverged samples: %v, %v", got, err)
	}
}
