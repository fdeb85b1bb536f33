//go:build linux

// Command peer times the works of package bench and the same works in PyTorch, in turns, and compares them.
//
//	go run ./bench/peer -python python3 -json results.json -markdown results.md
//
// -python is a Python with torch installed; empty times ours alone. Each side runs in a process of its own, one of the two at a
// time, in batches of about 120 ms. Batches in which other processes took more than 12 % of the machine are discarded,
// and a work is done when every side has 4 clean ones. PyTorch is quoted by the fastest of its variants. With -runs 3 all of it is done three times, and
// the table has the run of the median ratio, and the extremes. A file of -json that is there is gone on with: it may be made in parts.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/internal/atomicfile"
)

type options struct {
	python, backend string
	works           *regexp.Regexp
	json, markdown  string
	variants        string
	rules           rules
	times, memory   bool
	runs            int
	script          string
}

func main() {
	var o options
	worker := flag.Bool("worker", false, "answer requests on standard input; used by the program itself")
	works := flag.String("works", "", "regular expression for the names of the works; empty means all")
	list := flag.Bool("list", false, "list the works and stop")
	flag.StringVar(&o.python, "python", "python3", "a Python with torch installed; empty measures ours alone")
	flag.StringVar(&o.backend, "backend", "", "backend of package engine; empty means its default")
	flag.StringVar(&o.json, "json", "", "file for the results as JSON")
	flag.StringVar(&o.markdown, "markdown", "", "file for the tables: a new one, or one with the lines "+begin+" and "+end)
	flag.BoolVar(&o.times, "times", true, "measure times")
	flag.IntVar(&o.runs, "runs", 1, "times that all works are timed; after the first against its fastest variant only")
	flag.StringVar(&o.variants, "variants", "", "earlier results of this machine; works that it has meet their fastest variant of then from the first run on")
	flag.BoolVar(&o.memory, "memory", true, "measure peak memory, each variant in a fresh process")
	flag.DurationVar(&o.rules.Batch, "batch", 120*time.Millisecond, "length of a batch")
	flag.IntVar(&o.rules.Clean, "clean", 4, "clean batches wanted of each side")
	flag.Float64Var(&o.rules.Others, "others", 0.12, "share of the machine above which other processes spoil a batch")
	flag.DurationVar(&o.rules.Limit, "limit", 2*time.Minute, "time for the batches of one work")
	flag.Parse()
	err := func() (err error) {
		if *worker {
			return serve(os.Stdin, os.Stdout, o.backend)
		}
		if o.works, err = regexp.Compile(*works); err != nil {
			return fmt.Errorf("-works: %w", err)
		}
		if *list {
			for _, w := range o.selected() {
				fmt.Println(w.Name)
			}
			return nil
		}
		if o.runs < 1 {
			return fmt.Errorf("-runs %d: want at least 1", o.runs)
		}
		return o.compare()
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
}

func (o *options) selected() []bench.Work {
	var works []bench.Work
	for _, w := range bench.Works() {
		if o.works.MatchString(w.Name) {
			works = append(works, w)
		}
	}
	return works
}

// compare measures all selected works and writes the report.
func (o *options) compare() error {
	works := o.selected()
	if len(works) == 0 {
		return fmt.Errorf("-works %q matches no work; -list shows their names", o.works)
	}
	scripts, err := os.MkdirTemp("", "peer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scripts)
	if err := os.CopyFS(scripts, bench.PyTorch); err != nil {
		return err
	}
	o.script = filepath.Join(scripts, "pytorch", "peer.py")
	o.rules.CPUs = runtime.NumCPU()
	r := &report{Date: time.Now().Format(time.DateOnly), Rules: o.rules,
		Machine: map[string]any{"cpu": processor(), "processors": o.rules.CPUs}}
	if r.Ours, r.Peer, err = o.about(); err != nil {
		return err
	}
	if err := o.goOn(r); err != nil {
		return err
	}
	var earlier report
	if o.variants != "" {
		if earlier, err = read(o.variants); err != nil {
			return err
		}
		if got, want := earlier.opponent(), r.opponent(); got != want {
			return fmt.Errorf("-variants %s: they are those of %s: want %s", o.variants, got, want)
		}
	}
	for i := range o.runs {
		for _, w := range works {
			v := r.result(w)
			if !o.times || len(v.Runs) > i {
				continue
			}
			t, err := o.time(v.contest(earlier.result(w)))
			if err != nil {
				return err
			}
			progress(v.Name, t)
			v.Runs = append(v.Runs, t)
			if err := o.save(r); err != nil {
				return err
			}
		}
	}
	for _, w := range works {
		if !o.memory || !w.Memory || slices.ContainsFunc(r.Memory, func(m memory) bool { return m.Name == w.Name }) {
			continue
		}
		m, err := o.measureMemory(w)
		if err != nil {
			return err
		}
		r.Memory = append(r.Memory, m)
		if err := o.save(r); err != nil {
			return err
		}
	}
	r.arrange(bench.Works())
	fmt.Print(r.markdown())
	if o.markdown != "" {
		return r.insert(o.markdown)
	}
	return nil
}

// goOn takes over what a report on the disk has, if it was made here and by the same rules.
func (o *options) goOn(r *report) error {
	if o.json == "" {
		return nil
	}
	before, err := read(o.json)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if got, want := before.circumstances(), r.circumstances(); got != want {
		return fmt.Errorf("%s was measured otherwise, %s: want %s, or another file", o.json, got, want)
	}
	r.Results, r.Memory = before.Results, before.Memory
	return nil
}

// read reads a report.
func read(path string) (r report, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// save writes the results so far as JSON, if that is wanted.
func (o *options) save(r *report) error {
	if o.json == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(o.json, append(text, '\n'))
}

// ours and peer start the two kinds of workers.
func (o *options) ours() (*worker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(nil, self, "-worker", "-backend", o.backend)
}

func (o *options) peer(env ...string) (*worker, error) { return start(env, o.python, o.script) }

// about asks each side what it is.
func (o *options) about() (ours, peer map[string]any, err error) {
	ask := func(w *worker, err error) (map[string]any, error) {
		if err != nil {
			return nil, err
		}
		defer w.close()
		a, err := w.ask(request{Work: "about"})
		return a.About, err
	}
	if ours, err = ask(o.ours()); err != nil || o.python == "" {
		return ours, nil, err
	}
	if peer, err = ask(o.peer()); err != nil {
		err = fmt.Errorf("%w; -python wants a Python with torch installed", err)
	}
	return ours, peer, err
}

// contest is the work as it is timed next: with its fastest peer only, if a run of it or an earlier result tells which that is.
func (v *result) contest(earlier *result) bench.Work {
	w := v.Work
	for _, of := range []*result{v, earlier} {
		if len(of.Runs) > 0 {
			if best, ok := fastest(of.Runs[0].Peers); ok {
				w.Peers = []string{best.Name}
				break
			}
		}
	}
	return w
}

// time compares one work in two fresh processes.
func (o *options) time(w bench.Work) (run, error) {
	ours, err := o.ours()
	if err != nil {
		return run{}, err
	}
	defer ours.close()
	enter := func(on *worker, name string, w bench.Work) *contestant {
		return &contestant{Name: name, run: func(seconds float64) (answer, error) {
			return on.ask(request{Work: w.Kind, Variant: name, Args: w.Args, Seconds: seconds})
		}}
	}
	contestants := []*contestant{enter(ours, "doob", w)}
	if w.Flop > 0 {
		contestants = append(contestants, enter(ours, "peak", bench.Peak))
	}
	contestants = append(contestants, enter(ours, "exchange", bench.Exchange))
	if o.python != "" && len(w.Peers) > 0 {
		peer, err := o.peer(allocator...)
		if err != nil {
			return run{}, err
		}
		defer peer.close()
		for _, variant := range w.Peers {
			c := enter(peer, variant, w)
			c.Peer = true
			contestants = append(contestants, c)
		}
	}
	if err := alternate(contestants, o.rules); err != nil {
		return run{}, err
	}
	r := run{Ours: contestants[0].timing()}
	for _, c := range contestants[1:] {
		switch t := c.timing(); {
		case c.Peer:
			r.Peers = append(r.Peers, t)
		case c.Name == "peak":
			r.Peak = t
		default:
			r.Exchange = t
		}
	}
	return r, nil
}

// allocator is for the times of PyTorch: it lets the C library keep freed memory instead of handing it back to the system
// after every operation and clearing it anew. Peak memory is measured without it.
var allocator = []string{"MALLOC_MMAP_THRESHOLD_=1073741824", "MALLOC_TRIM_THRESHOLD_=4294967296"}

// measureMemory runs a few iterations of every variant, each in a fresh process.
func (o *options) measureMemory(w bench.Work) (memory, error) {
	const iterations = 3
	measure := func(on *worker, variant string) (usage, error) {
		defer on.close()
		u := usage{Name: variant}
		a, err := on.ask(request{Work: "about"})
		if err != nil {
			return u, err
		}
		u.Idle = a.PeakRSS
		for range iterations {
			if a, err = on.ask(request{Work: w.Kind, Variant: variant, Args: w.Args}); err != nil {
				return u, err
			}
			if a.Error != "" {
				u.Fault = a.Error
				return u, nil
			}
			u.Peak = a.PeakRSS
		}
		return u, nil
	}
	m := memory{Name: w.Name}
	ours, err := o.ours()
	if err != nil {
		return m, err
	}
	if m.Ours, err = measure(ours, "doob"); err != nil || o.python == "" {
		return m, err
	}
	for _, variant := range w.Peers {
		peer, err := o.peer()
		if err != nil {
			return m, err
		}
		u, err := measure(peer, variant)
		if err != nil {
			return m, err
		}
		m.Peers = append(m.Peers, u)
	}
	return m, nil
}

// progress tells on standard error what was just measured.
func progress(name string, r run) {
	line := []string{name}
	for _, t := range append([]timing{r.Ours, r.Peak, r.Exchange}, r.Peers...) {
		if t.Name == "" {
			continue
		}
		s := fmt.Sprintf("%s %s (%d clean, %d not)", t.Name, duration(t), t.Clean, t.Dirty)
		if t.Fault != "" {
			s = t.Name + ": " + t.Fault
		}
		line = append(line, s)
	}
	fmt.Fprintln(os.Stderr, strings.Join(line, "; "))
}

// processor is the model of the machine's processor.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
