//go:build linux

package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/bench"
)

// script is a contestant whose batches are given: each an answer, the last one for ever.
func script(name string, peer bool, answers ...answer) *contestant {
	calls := 0
	return &contestant{Name: name, Peer: peer, run: func(seconds float64) (answer, error) {
		if seconds == 0 {
			return answer{Iterations: 1, Wall: 100}, nil // building is slow and does not count
		}
		calls++
		return answers[min(max(calls-2, 0), len(answers)-1)], nil // the first batch warms up
	}}
}

// batch is 10 iterations in wall seconds on two processors, of which others took a share of the machine.
func batch(wall, others float64) answer {
	return answer{Iterations: 10, Wall: wall, CPU: 2 * wall * (1 - others), Busy: 2 * wall}
}

var testRules = rules{Batch: 120 * time.Millisecond, Clean: 4, Others: 0.12, Limit: time.Minute, CPUs: 2}

func TestAlternateDiscardsDirtyBatches(t *testing.T) {
	ours := script("ours", false, batch(1, 0), batch(90, 0.5), batch(2, 0.11), batch(90, 0.13), batch(4, 0), batch(3, 0))
	theirs := script("theirs", true, batch(5, 0))
	if err := alternate([]*contestant{ours, theirs}, testRules); err != nil {
		t.Fatal(err)
	}
	got := ours.timing()
	if want := (timing{Name: "ours", Seconds: 0.25, Clean: 4, Dirty: 2}); got != want {
		t.Errorf("ours: %+v, want %+v", got, want)
	}
	// In turns: theirs has as many batches as ours.
	if got := theirs.timing(); got.Clean != 6 || got.Seconds != 0.5 {
		t.Errorf("theirs: %+v, want 6 clean batches of 0.5 s per iteration", got)
	}
}

func TestAlternateLeavesSlowPeersOut(t *testing.T) {
	ours := script("ours", false, batch(9, 0))
	slow, near, fast := script("slow", true, batch(1.4, 0)), script("near", true, batch(1.2, 0)), script("fast", true, batch(1, 0))
	broken := &contestant{Name: "broken", Peer: true, run: func(float64) (answer, error) { return answer{Error: "no such thing"}, nil }}
	if err := alternate([]*contestant{ours, broken, slow, near, fast}, testRules); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		*contestant
		clean int
		fault string
	}{{ours, 4, ""}, {broken, 0, "no such thing"}, {slow, 2, ""}, {near, 4, ""}, {fast, 4, ""}} {
		if got := c.timing(); got.Clean != c.clean || got.Fault != c.fault {
			t.Errorf("%s: %d clean batches, fault %q; want %d, %q", c.Name, got.Clean, got.Fault, c.clean, c.fault)
		}
	}
	if best, ok := fastest([]timing{broken.timing(), slow.timing(), near.timing(), fast.timing()}); !ok || best.Name != "fast" {
		t.Errorf("the fastest is %+v, want fast", best)
	}
}

func TestAlternateEndsOnABusyMachine(t *testing.T) {
	r := testRules
	r.Limit = 20 * time.Millisecond
	ours := script("ours", false, batch(1, 0.9))
	if err := alternate([]*contestant{ours}, r); err != nil {
		t.Fatal(err)
	}
	if got := ours.timing(); got.Clean != 0 || got.Dirty == 0 || got.Seconds != 0 {
		t.Errorf("%+v, want no time and no clean batch", got)
	}
}

// The table quotes the fastest variant, gives rates to works that count things, and says where clean batches are missing.
func TestMarkdown(t *testing.T) {
	r := report{Rules: testRules, Results: []result{
		{Runs: []run{
			{Ours: timing{Seconds: 0.1, Clean: 4}, Exchange: timing{Seconds: 8e-4, Clean: 4}, Peers: []timing{{Name: "b", Seconds: 0.24, Clean: 4}}},
			{Ours: timing{Seconds: 0.1, Clean: 4}, Peak: timing{Seconds: 0.05, Clean: 4}, Peers: []timing{{Name: "a", Seconds: 0.3, Clean: 4}, {Name: "b", Seconds: 0.2, Clean: 5}}},
			{Ours: timing{Seconds: 0.1, Clean: 4}, Exchange: timing{Seconds: 2e-4, Clean: 4}, Peers: []timing{{Name: "b", Seconds: 0.17, Clean: 4}}},
		}},
		{Runs: []run{{Ours: timing{Seconds: 0.1, Clean: 1}, Peers: []timing{{Name: "c"}}}}},
		{Runs: []run{{Ours: timing{Seconds: 0.25, Clean: 4}, Peers: []timing{{Name: "d", Seconds: 2, Clean: 4}}}}},
		{Runs: []run{{Ours: timing{Seconds: 0.25, Clean: 4}, Peers: []timing{{Name: "e"}}}}},
	}, Memory: []memory{{Ours: usage{Peak: 50e6, Idle: 26e6}, Peers: []usage{{Name: "d", Peak: 200e6}, {Name: "e", Peak: 100e6, Idle: 20e6}, {Name: "f", Fault: "f"}}}}}
	r.Results[0].Name, r.Results[1].Name = "first", "second"
	r.Results[2].Work, r.Results[3].Work = bench.Work{Name: "third", Count: 64, Unit: "images"}, bench.Work{Name: "fourth", Count: 1, Unit: "steps"}
	r.Results[0].Flop = 1e9
	text := r.markdown()
	for _, want := range []string{
		"| first | 100 ms | 10 | 50 % | 200 ms | 5 | b | 2.00 | 1.70 to 2.40 | 100 to 400 ns | 4 / 5 |\n",
		"| second | 100 ms | — | — | — | — | — | — | — | — | 1 of 4 |\n",
		"| third | 250 ms, 256 images/s | — | — | 2 s, 32 images/s | — | d | 8.00 | — | — | 4 / 4 |\n",
		"| fourth | 250 ms, 4 steps/s | — | — | — | — | — | — | — | — | 4 |\n",
		"| 50 | 26 | 100 | 20 | e | 0.50 | 0.30 |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
}

// After the first run, or with results of an earlier one, a work meets its fastest variant only, and all if none was timed.
func TestContest(t *testing.T) {
	v := result{Work: bench.Work{Peers: []string{"a", "b"}}}
	timed := func(a, b float64) []run {
		return []run{{Peers: []timing{{Name: "a", Seconds: a, Clean: 4}, {Name: "b", Seconds: b, Clean: 4}}}, {}}
	}
	none := []run{{Peers: []timing{{Name: "a", Fault: "a"}}}}
	for _, test := range []struct {
		runs, earlier []run
		want          []string
	}{
		{nil, nil, []string{"a", "b"}}, {none, none, []string{"a", "b"}},
		{timed(2, 1), nil, []string{"b"}}, {nil, timed(2, 1), []string{"b"}}, {timed(2, 1), timed(1, 2), []string{"b"}}, {none, timed(1, 2), []string{"a"}},
	} {
		v.Runs = test.runs
		if got := v.contest(&result{Runs: test.earlier}).Peers; !slices.Equal(got, test.want) {
			t.Errorf("after %v, earlier %v: peers %q, want %q", test.runs, test.earlier, got, test.want)
		}
	}
}

func TestInsert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+begin+"\nold\n"+end+"\nafter\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	r := report{Date: "today"}
	for range 2 { // twice is the same as once
		if err := r.insert(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\n" + begin + "\n" + r.markdown() + end + "\nafter\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

// A measured step reports its own processor time, however little of a busy machine it gets, and the machine was busy for at least that.
func TestMeasure(t *testing.T) {
	sum := 0.0
	a, err := measure(func() error {
		for i := range 1 << 20 {
			sum += math.Sqrt(float64(i))
		}
		return nil
	}, 0.1)
	if err != nil {
		t.Fatal(err)
	}
	if a.Iterations < 1 || a.Wall < 0.1 || a.CPU < 2e-4*float64(a.Iterations) || a.CPU > 2*a.Wall || a.PeakRSS < 1<<20 {
		t.Errorf("%+v (sum %g): want at least one iteration in 0.1 s, of at least 0.2 ms each", a, sum)
	}
	if a.Busy < a.CPU/2 { // in steps of 10 ms
		t.Errorf("the machine was busy for %g s, this process for %g s", a.Busy, a.CPU)
	}
}

func TestServe(t *testing.T) {
	in := strings.NewReader(`{"work": "gemm", "args": {"m": 3, "n": 4, "k": 5}, "seconds": 0}` + "\n" + `{"work": "nothing"}` + "\n")
	var out strings.Builder
	if err := serve(in, &out, ""); err != nil {
		t.Fatal(err)
	}
	answers := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(answers) != 2 || !strings.Contains(answers[0], `"iterations":1`) || !strings.Contains(answers[1], `unknown kind`) {
		t.Errorf("answers %q, want one iteration, then an error about the kind", answers)
	}
}

// A report on the disk is gone on with where it was made by the same rules, and refused else.
func TestGoOn(t *testing.T) {
	o := options{json: filepath.Join(t.TempDir(), "results.json")}
	first := &report{Rules: testRules, Machine: map[string]any{"processors": 2}, Memory: []memory{{Name: "b"}, {Name: "a"}}}
	v := first.result(bench.Work{Name: "b"})
	v.Runs = append(v.Runs, run{Ours: timing{Seconds: 1, Clean: 4}})
	first.result(bench.Work{Name: "a"}).Runs = make([]run, 1)
	first.result(bench.Work{Name: "c"})
	if err := o.save(first); err != nil {
		t.Fatal(err)
	}
	again := &report{Rules: testRules, Machine: map[string]any{"processors": 2}}
	if err := o.goOn(again); err != nil {
		t.Fatal(err)
	}
	if got := again.result(bench.Work{Name: "b"}); len(got.Runs) != 1 || got.Runs[0].Ours.Seconds != 1 {
		t.Errorf("%+v", got)
	}
	again.arrange([]bench.Work{{Name: "a"}, {Name: "b"}, {Name: "c"}})
	if r := again.Results; len(r) != 2 || r[0].Name != "a" || r[1].Name != "b" || again.Memory[0].Name != "a" {
		t.Errorf("%+v, %+v", r, again.Memory)
	}
	if err := o.goOn(&report{Rules: testRules, Machine: map[string]any{"processors": 4}}); err == nil {
		t.Error("a report of another machine was taken")
	}
}
