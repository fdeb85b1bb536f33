// Command fleet measures what it costs that simulations go to workers: a trainer, a server that has all that it acknowledges on its disk, and workers, processes of their own, of
// which all is real but the model. It sleeps: so that the processors of one machine are not what is measured.
//
//	go run ./bench/fleet docs/results/scaling
//
// It writes fleet.json there, and prints the tables of docs/scaling.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/internal/atomicfile"
)

func main() {
	worker := flag.String("worker", "", "work for the server at this URL")
	flag.Parse()
	var err error
	switch {
	case *worker != "":
		ctx, end := context.WithCancel(context.Background())
		go func() { io.Copy(io.Discard, os.Stdin); end() }()
		if err = work(ctx, *worker); errors.Is(err, context.Canceled) {
			err = nil
		}
	case flag.NArg() == 1:
		err = write(context.Background(), flag.Arg(0))
	default:
		fmt.Fprintln(os.Stderr, "usage: go run ./bench/fleet FOLDER")
		os.Exit(2)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

var workers = []int{1, 2, 3, 10, 30}

// models are those of whose steps take 50 ms, and one whose steps take no time: what is left then is what the server and its disk can do.
var models = []model{
	{Name: "images", Step: 50 * time.Millisecond, Steps: 20, Batch: 16, Dim: 28 * 28, Tasks: 4},
	{Name: "latents", Step: 50 * time.Millisecond, Steps: 50, Batch: 4, Dim: 64 * 64 * 4, Tasks: 4},
	{Name: "no time", Steps: 20, Batch: 16, Dim: 28 * 28, Tasks: 20},
}

const iterations = 3

func write(ctx context.Context, folder string) error {
	at, stop, err := serve()
	if err != nil {
		return err
	}
	defer stop()
	var rows []row
	fmt.Println("| model | workers | mode | tasks | seconds | of a sum of workers | lost for a task, ms |\n|---|---:|---|---:|---:|---:|---:|")
	for _, count := range workers {
		more, err := team(ctx, at, count)
		if err != nil {
			return err
		}
		for _, r := range more {
			mode := "synchronous"
			if r.Ahead > 0 {
				mode = fmt.Sprint("staleness ", r.Ahead)
			}
			fmt.Printf("| %s | %d | %s | %d | %.2f | %.1f %% | %.1f |\n", r.Model, r.Workers, mode, r.Tasks, r.Seconds, 100*r.Share, 1e3*r.Lost)
		}
		rows = append(rows, more...)
	}
	text, err := json.MarshalIndent(map[string]any{"command": "go run ./bench/fleet docs/results/scaling", "models": models, "rows": rows}, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(folder, "fleet.json"), append(text, '\n'))
}

// serve starts a server as a run does.
func serve() (at fleet.Options, stop func(), err error) {
	dir, err := os.MkdirTemp("", "doob-bench-")
	if err != nil {
		return at, nil, err
	}
	s, err := fleet.Listen(fleet.ServerOptions{Address: ":0", Folder: dir})
	if err != nil {
		os.RemoveAll(dir)
		return at, nil, err
	}
	return fleet.Options{URL: s.URL()}, func() { s.Close(); os.RemoveAll(dir) }, nil
}

// team measures all models with so many workers.
func team(ctx context.Context, at fleet.Options, count int) (rows []row, err error) {
	t, err := fleet.Open(ctx, at, fleet.Announcement{Run: "bench"}, 0)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	for range count {
		cmd := exec.Command(self, "-worker", at.URL)
		cmd.Stderr = os.Stderr
		rope, err := cmd.StdinPipe() // that a worker hangs on: it ends with this process
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		defer func() { rope.Close(); cmd.Wait() }()
	}
	for len(t.Status().Workers) < count {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(time.Second) // they ask for tasks
	for _, m := range models {
		for _, ahead := range []int{0, 1} {
			r, err := m.measure(ctx, t, count, ahead)
			if err != nil {
				return nil, err
			}
			rows = append(rows, r)
		}
	}
	return rows, nil
}
