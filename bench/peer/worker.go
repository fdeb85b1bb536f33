//go:build linux

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/doob-diffusion/doob/bench"
	"github.com/doob-diffusion/doob/cpu"
)

// request asks a worker for one batch of a work; see pytorch/peer.py for the protocol.
type request struct {
	Work    string         `json:"work"`
	Variant string         `json:"variant"`
	Args    map[string]int `json:"args"`
	Seconds float64        `json:"seconds"`
}

// answer is what a worker measured, or why it could not.
type answer struct {
	Iterations int     `json:"iterations"`
	Wall       float64 `json:"wall"`
	CPU        float64 `json:"cpu"`      // of the worker, seconds
	Busy       float64 `json:"busy"`     // of the whole machine, seconds
	PeakRSS    int64   `json:"peak_rss"` // bytes
	Error      string  `json:"error,omitempty"`

	// About the worker, in answer to the work "about".
	About map[string]any `json:"about,omitempty"`
}

// serve is our worker: it answers requests until the input ends.
func serve(in io.Reader, out io.Writer, backend string) error {
	steps := map[string]func() error{}
	encoder := json.NewEncoder(out)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return fmt.Errorf("request %q: %w", lines.Text(), err)
		}
		a, err := perform(r, steps, backend)
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func perform(r request, steps map[string]func() error, backend string) (answer, error) {
	if r.Work == "about" {
		about := map[string]any{"go": runtime.Version(), "threads": runtime.GOMAXPROCS(0), "backend": backend}
		if isa, err := cpu.InstructionSet(); err == nil {
			about["isa"] = isa
		}
		rss, err := peakRSS()
		return answer{About: about, PeakRSS: rss}, err
	}
	key := fmt.Sprint(r.Work, r.Args)
	step, ok := steps[key]
	if !ok {
		var err error
		if step, err = (bench.Work{Kind: r.Work, Args: r.Args}).Build(backend); err != nil {
			return answer{}, err
		}
		steps[key] = step
	}
	return measure(step, r.Seconds)
}

// measure repeats a step for about so many seconds, at least once.
func measure(step func() error, seconds float64) (answer, error) {
	busy, err := busySeconds()
	if err != nil {
		return answer{}, err
	}
	cpu, start := cpuSeconds(), time.Now()
	a := answer{}
	for a.Wall < seconds || a.Iterations == 0 {
		if err := step(); err != nil {
			return answer{}, err
		}
		a.Iterations++
		a.Wall = time.Since(start).Seconds()
	}
	a.CPU = cpuSeconds() - cpu
	after, err := busySeconds()
	if err != nil {
		return answer{}, err
	}
	a.Busy = after - busy
	a.PeakRSS, err = peakRSS()
	return a, err
}

// cpuSeconds is the processor time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // only for a bad argument
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// busySeconds is the processor time that the machine has spent since it started: user, nice, system, irq, softirq, steal.
func busySeconds() (float64, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, fmt.Errorf("/proc/stat starts with %q, want cpu and at least 8 numbers", line)
	}
	const idle, iowait = 4, 5
	var ticks float64
	for i, f := range fields[1:9] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i+1 != idle && i+1 != iowait {
			ticks += v
		}
	}
	return ticks / 100, nil // USER_HZ is 100 on every Linux that Go runs on
}

// peakRSS is the peak of the resident memory of this process, bytes.
func peakRSS() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmHWM")
}

// worker is a process that answers requests.
type worker struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// start runs a program as a worker. Its standard error is ours.
func start(env []string, program string, args ...string) (*worker, error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), env...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", program, err)
	}
	return &worker{cmd: cmd, in: in, answers: json.NewDecoder(out)}, nil
}

// ask sends a request and waits for the answer. An answer with Error set is not an error here.
func (w *worker) ask(r request) (answer, error) {
	var a answer
	if err := json.NewEncoder(w.in).Encode(r); err != nil {
		return a, fmt.Errorf("worker %s: %w", w.cmd.Path, err)
	}
	if err := w.answers.Decode(&a); err != nil {
		return a, fmt.Errorf("worker %s ended while it ran %s %s: %w", w.cmd.Path, r.Work, r.Variant, err)
	}
	return a, nil
}

// close lets the worker end, and waits for it.
func (w *worker) close() {
	w.in.Close()
	_ = w.cmd.Wait() // that it ended is all that matters
}
