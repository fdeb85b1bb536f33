package progress

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// clock moves only when told.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }
func (c *clock) wait(seconds float64) {
	c.t = c.t.Add(time.Duration(seconds * float64(time.Second)))
}
func newClock() *clock { return &clock{time.Unix(1_000_000, 0)} }

func fields(loss float64) []Field {
	return []Field{{"loss", fmt.Sprintf("%.3f", loss)}, {"acceptance", "0.30"}, {"ESS", "0.61"}, {"reward", "−1.2"}}
}

func state(stage string, done int) Update {
	return Update{Stage: stage, Done: done, Total: 40, Fields: fields(0.5 / float64(done+1))}
}

func TestPlainGolden(t *testing.T) {
	var out bytes.Buffer
	c := newClock()
	d := newPlain(&out, Options{Now: c.now})
	for i := range 41 {
		d.Update(state("importance · seed 1/2", i)) // 2 a second: a line every 10
		if i == 12 {
			d.Log("saved\tcheckpoint\x1b[31m\nand more\n")
		}
		c.wait(0.5)
	}
	d.Update(state("importance · seed 2/2", 0))
	c.wait(90)
	d.Update(state("importance · seed 2/2", 1))
	c.wait(1)
	d.Update(state("importance · seed 2/2", 2))
	d.Update(Update{Stage: "samples", Done: 1, Fields: []Field{{"", "no name"}}})
	c.wait(0.25)
	d.Update(Update{Stage: "samples", Done: 1001, Rate: 123.4})
	d.Close()
	d.Close()
	d.Update(state("late", 3))
	d.Log("bye")
	const want = `importance · seed 1/2   0/40  loss 0.500  acceptance 0.30  ESS 0.61  reward −1.2
importance · seed 1/2  10/40  loss 0.045  acceptance 0.30  ESS 0.61  reward −1.2  2.0 it/s  ETA 15s
saved checkpoint [31m
and more
importance · seed 1/2  20/40  loss 0.024  acceptance 0.30  ESS 0.61  reward −1.2  2.0 it/s  ETA 10s
importance · seed 1/2  30/40  loss 0.016  acceptance 0.30  ESS 0.61  reward −1.2  2.0 it/s  ETA 5s
importance · seed 1/2  40/40  loss 0.012  acceptance 0.30  ESS 0.61  reward −1.2  2.0 it/s  in 20s
importance · seed 2/2   0/40  loss 0.500  acceptance 0.30  ESS 0.61  reward −1.2
importance · seed 2/2   1/40  loss 0.250  acceptance 0.30  ESS 0.61  reward −1.2  90.0 s/it  ETA 58m30s
importance · seed 2/2   2/40  loss 0.167  acceptance 0.30  ESS 0.61  reward −1.2  44.0 s/it  in 1m31s
samples  1  no name
samples  1001  123 it/s  in 0.2s
bye
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("plain output (-want +got):\n%s", d)
	}
}

// readable shows escape sequences and carriage returns, and a frame a line.
func readable(frames []string) string {
	return strings.NewReplacer("\x1b[", "␛", "\r", "␍").Replace(strings.Join(frames, "│\n")) + "│\n"
}

// frames keeps every write apart.
type frames []string

func (f *frames) Write(b []byte) (int, error) { *f = append(*f, string(b)); return len(b), nil }

func TestLiveGolden(t *testing.T) {
	var out frames
	c, columns := newClock(), 120
	d := newLive(&out, func() int { return columns }, false, Options{Now: c.now})
	d.Log("run folder")
	d.Update(state("importance", 0))
	for i := range 20 {
		c.wait(0.01)
		d.Update(state("importance", i+1)) // drawn at 0.1 s and 0.2 s only
	}
	columns = 60
	c.wait(1)
	d.Update(state("importance", 21))
	d.Log("two\nlines")
	c.wait(0.01)
	d.Update(state("importance", 40)) // soon, but complete
	c.wait(0.01)
	d.Update(state("importance", 40))
	d.Update(Update{Stage: "samples", Done: 7})
	d.Close()
	d.Close()
	d.Update(state("late", 3))
	d.Log("bye")
	const want = `run folder
│
␛?25l␍importance  ────────────────────   0/40  loss 0.500  acceptance 0.30  ESS 0.61  reward −1.2␛J␍│
␍importance  ━━━━━───────────────  10/40  loss 0.045  acceptance 0.30  ESS 0.61  reward −1.2  100 it/s  ETA 0s␛J␍│
␍importance  ━━━━━━━━━━──────────  20/40  loss 0.024  acceptance 0.30  ESS 0.61  reward −1.2  100 it/s  ETA 0s␛J␍│
␍importance  ━━━───  21/40  loss 0.023  ETA 1s␛J␍│
␍␛Jtwo
lines
␍importance  ━━━───  21/40  loss 0.023  ETA 1s␛J␍│
␍importance  ━━━━━━  40/40  loss 0.012  in 1.2s␛J␍│
␍␛Jimportance  40/40  loss 0.012  acceptance 0.30  ESS 0.61  reward −1.2  32.3 it/s  in 1.2s
␍samples  7␛J␍│
␍␛Jsamples  7  in 0.0s
␛?25h│
bye
│
`
	if d := cmp.Diff(want, readable(out)); d != "" {
		t.Errorf("live output (-want +got):\n%s", d)
	}
}

func TestBlockColor(t *testing.T) {
	s := newStage(Update{Stage: "fit", Done: 1, Total: 4, Rate: 1, Fields: []Field{{"loss", "2"}, {"", "x"}}}, time.Now())
	const want = "fit  \x1b[36m━━━━╸\x1b[0m\x1b[2m─────────────\x1b[0m  1/4  \x1b[2mloss \x1b[0m2  x  \x1b[2m1.0 it/s\x1b[0m  \x1b[2mETA 3s\x1b[0m"
	if got := s.block(110, true); got != want {
		t.Errorf("block = %q,\nwant    %q", got, want)
	}
}

func TestBlockWidths(t *testing.T) {
	s := newStage(Update{Stage: "importance", Done: 12, Total: 40, Rate: 0.43, Fields: fields(0.412)}, time.Now())
	var got strings.Builder
	for _, width := range []int{140, 100, 80, 60, 40, 30, 16, 8, 1, 0, -1} {
		fmt.Fprintf(&got, "%3d %s\n", width, s.block(width, false))
	}
	const want = `140 importance  ━━━━━━━╸──────────────────  12/40  loss 0.412  acceptance 0.30  ESS 0.61  reward −1.2  2.3 s/it  ETA 1m05s
100 importance  ━━━━╸───────────  12/40  loss 0.412  acceptance 0.30  ESS 0.61  reward −1.2  ETA 1m05s
 80 importance  ━━━────────  12/40  loss 0.412  acceptance 0.30  ESS 0.61  ETA 1m05s
 60 importance  ━╸────  12/40  loss 0.412  ETA 1m05s
 40 importance  ━╸────  12/40  ETA 1m05s
 30 importance  ━╸────  12/40
 16 importance
  8 importa…
  1 …
  0 
 -1 
`
	if d := cmp.Diff(want, got.String()); d != "" {
		t.Errorf("blocks (-want +got):\n%s", d)
	}
}

func TestBlockNeverWraps(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "é", "e\u0301", "数値", "🙂🙂", "\x1b[2J", "a\nb", "\xff"}))
	rapid.Check(t, func(t *rapid.T) {
		u := Update{
			Stage: text.Draw(t, "stage"), Done: rapid.Int().Draw(t, "done"), Total: rapid.Int().Draw(t, "total"),
			Rate: rapid.Float64().Draw(t, "rate"),
			Fields: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Field {
				return Field{text.Draw(t, "name"), text.Draw(t, "value")}
			}), 0, 4).Draw(t, "fields"),
		}
		width := rapid.IntRange(-1, 200).Draw(t, "width")
		got := newStage(u.cleaned(), time.Now()).block(width, false)
		if n := columns(got); n > max(0, width) || strings.ContainsAny(got, "\x1b\r\n\t") {
			t.Fatalf("%q has %d columns, want at most %d and no control characters", got, n, width)
		}
	})
}

func TestMeter(t *testing.T) {
	c := newClock()
	var m meter
	m.start(c.now(), 100) // a resumed stage: what was done before does not count
	if m.rate() != 0 {
		t.Errorf("rate = %g before any work, want 0", m.rate())
	}
	done := 100
	run := func(seconds int, perSecond int) {
		for range seconds {
			c.wait(1)
			done += perSecond
			m.add(c.now(), done)
		}
	}
	near := func(want float64) {
		t.Helper()
		if got := m.rate(); got < want*0.99 || got > want*1.01 {
			t.Errorf("rate = %g, want %g", got, want)
		}
	}
	run(3, 8)
	near(8)
	run(90, 2) // six time constants later the old rate is forgotten
	near(2)
	c.wait(1)
	m.add(c.now(), done) // an update without work
	near(2)
	m.add(c.now(), done+4) // counts the second before it
	near(2.12)
}

func TestFormat(t *testing.T) {
	for seconds, want := range map[float64]string{
		0: "0s", 0.6: "1s", 59.4: "59s", 59.6: "1m00s", 65: "1m05s", 3599.7: "1h00m", 7380: "2h03m", 86399.6: "1d00h", 273600: "3d04h",
	} {
		if got := formatDuration(time.Duration(seconds * float64(time.Second))); got != want {
			t.Errorf("formatDuration(%gs) = %q, want %q", seconds, got, want)
		}
	}
	for rate, want := range map[float64]string{0: "", -1: "", 0.05: "20.0 s/it", 0.5: "2.0 s/it", 3.14: "3.1 it/s", 1234.5: "1234 it/s"} {
		if got := formatRate(rate, "it"); got != want {
			t.Errorf("formatRate(%g) = %q, want %q", rate, got, want)
		}
	}
}

func TestNewIsPlainInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	d := New(f, Options{})
	d.Update(Update{Stage: "fit", Done: 0, Total: 2})
	d.Close()
	f.Close()
	d.Log("to a closed file") // must not fail
	if got, err := os.ReadFile(path); err != nil || string(got) != "fit  0/2\n" {
		t.Errorf("file = %q, want one plain line; err = %v", got, err)
	}
}

func TestConcurrentUse(t *testing.T) {
	var out frames
	for _, d := range []Display{newPlain(&out, Options{}), newLive(&out, func() int { return 80 }, true, Options{})} {
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				fields := []Field{{"loss", "0"}}
				for i := range 100 {
					fields[0].Value = fmt.Sprint(i) // the display must have its own copy
					d.Update(Update{Stage: fmt.Sprint(g), Done: i, Total: 100, Fields: fields})
					d.Log("line")
				}
			})
		}
		wg.Wait()
		d.Close()
	}
}
