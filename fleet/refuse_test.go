package fleet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/doob-diffusion/doob/internal/oracle"
	"github.com/doob-diffusion/doob/noise"
)

// A worker whose last digits would be others is turned away, with what differs.
func TestRefusedNumbers(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	for part, numbers := range map[string]Numbers{
		"doob is 2, the run's is 1":          {"2", "2", "3", "4"},
		"Go is 3, the run's is 2":            {"1", "3", "3", "4"},
		"platform is 3 FMA, the run's is 3":  {"1", "2", "3 FMA", "4"},
		"backend is avx2, the run's is 4":    {"1", "2", "3", "avx2"},
		"doob is , the run's is 1; Go is , ": {},
	} {
		err := Work(t.Context(), Options{URL: s.URL()}, Worker{Name: "other", Numbers: numbers})
		if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: got %v, want %q", numbers, err, part)
		}
		if told := trainer.Status().Refused; len(told) == 0 || !strings.Contains(told[len(told)-1], part) {
			t.Errorf("the trainer knows of %v only", told)
		}
	}
}

// Without the token nobody gets in: neither as worker nor as trainer.
func TestToken(t *testing.T) {
	const token = "0123456789abcdef"
	s := listen(t, ServerOptions{Token: token})
	for _, wrong := range []string{"", "0123456789abcdeF"} {
		at := Options{URL: s.URL(), Token: wrong}
		if err := Work(t.Context(), at, Worker{Numbers: mine}); !errors.Is(err, ErrRefused) {
			t.Errorf("token %q, worker: %v", wrong, err)
		}
		if _, err := Open(t.Context(), at, Announcement{}, soon); !errors.Is(err, ErrRefused) {
			t.Errorf("token %q, trainer: %v", wrong, err)
		}
	}
	trainer, err := Open(t.Context(), Options{URL: s.URL(), Token: token}, Announcement{}, soon)
	if err != nil {
		t.Fatal(err)
	}
	trainer.Close()
}

// Beyond this machine there is no server without a token.
func TestListen(t *testing.T) {
	for address, want := range map[string]string{
		"0.0.0.0:0": "want a token", "[::]:0": "want a token", "192.0.2.1:4222": "want a token",
		"4222": "want HOST:PORT", ":port": "want a number", ":70000": "want a number",
	} {
		_, err := Listen(ServerOptions{Address: address, Folder: t.TempDir(), Token: "too short"})
		oracle.WantError(t, err, want)
	}
	if url := listen(t, ServerOptions{Address: ":0"}).URL(); !strings.HasPrefix(url, "nats://127.0.0.1:") {
		t.Errorf("without a host it listens at %s", url)
	}
	_, err := Listen(ServerOptions{Address: ":0", Folder: t.TempDir(), Cert: "cert.pem"})
	oracle.WantError(t, err, "both a certificate and its key")
}

// A second trainer is turned away while the first is there.
func TestTwoTrainers(t *testing.T) {
	s := listen(t, ServerOptions{})
	open(t, s.URL())
	_, err := Open(t.Context(), Options{URL: s.URL()}, Announcement{Run: "another"}, soon)
	oracle.WantError(t, err, "a run works with this server already")
}

// What is larger than it may be is refused before it is sent, or read.
func TestSizes(t *testing.T) {
	s := listen(t, ServerOptions{Payload: 66 << 10})
	trainer := open(t, s.URL())
	large := sampler(t)
	large.Shape = []int{1000}
	err := trainer.Start(t.Context(), &Job{Name: "large", Sampler: large, N: 1, Each: 1})
	oracle.WantError(t, err, "a path takes 4064 bytes, of which a message of the server has room for 2048: want a larger max_payload")
	err = trainer.Start(t.Context(), &Job{Name: "order", Sampler: sampler(t), N: 1, Each: 1, Order: strings.Repeat("x", mostTask)})
	oracle.WantError(t, err, "want at most")
	j := &Job{Name: "small", Sampler: sampler(t), Key: noise.New(1), Order: noise.New(1), N: 70, Each: 70}
	if err := trainer.Start(t.Context(), j); err != nil || j.Each != 2048/68 {
		t.Errorf("tasks of %d paths (%v), want as many as an answer has room for", j.Each, err)
	}
	_, err = Open(t.Context(), Options{URL: s.URL()}, Announcement{Config: strings.Repeat("x", mostWelcome)}, soon)
	oracle.WantError(t, err, "of which workers take at most 262144")
	for text, want := range map[string]string{
		strings.Repeat(" ", mostTask+1): "a task of 65537 bytes",
		"no":                            "not JSON",
		`{"session":"other","n":1}`:     "of session",
		`{"session":"s","n":0}`:         "want 1 to",
		fmt.Sprintf(`{"session":"s","n":%d}`, 2<<20): "want 1 to",
		`{"session":"s","n":1,"from":-1}`:            "from 0 or more",
	} {
		_, err := readTask([]byte(text), "s")
		oracle.WantError(t, err, want)
	}
}

// Files come back as they were placed, once, and are kept where that is asked for; a damaged copy is not taken.
func TestFiles(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	data := make([]byte, 300<<10)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	sum, err := trainer.Put(t.Context(), data)
	if again, twice := trainer.Put(t.Context(), data); err != nil || twice != nil || again != sum {
		t.Fatal(err, twice)
	}
	cache := t.TempDir()
	files := Files{store: trainer.files.store, cache: cache}
	for range 2 {
		if got, err := files.Get(t.Context(), sum, true); err != nil || string(got) != string(data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err := os.WriteFile(filepath.Join(cache, sum), data[1:], 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(cache, sum), data, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := trainer.Drop(t.Context(), sum); err != nil {
		t.Fatal(err)
	}
	if _, err := files.Get(t.Context(), sum, true); err != nil {
		t.Errorf("what was kept is not found: %v", err)
	}
	_, err = files.Get(t.Context(), sum, false)
	oracle.WantError(t, err, "object not found")
	_, err = files.Get(t.Context(), "../../etc/passwd", true)
	oracle.WantError(t, err, "want a SHA-256")
}
