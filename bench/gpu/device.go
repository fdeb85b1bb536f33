package main

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/doob-diffusion/doob/internal/machine"
)

// used returns the memory that is in use, in bytes: that of the first GPU by nvidia-smi, or without one, that of this process.
func used() (bytes float64, where string) {
	out, err := exec.Command("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits").Output()
	if err == nil {
		first, _, _ := strings.Cut(string(out), "\n")
		if mib, err := strconv.ParseFloat(strings.TrimSpace(first), 64); err == nil {
			return mib * (1 << 20), "on the GPU"
		}
	}
	return machine.Resident(), "in this process"
}

// watch looks at the memory that is in use, again and again. An allocator may hold more than programs need.
type watch struct {
	ends        chan struct{}
	wait        sync.WaitGroup
	first, peak float64
	where       string
}

func startWatch() *watch {
	w := &watch{ends: make(chan struct{})}
	w.first, w.where = used()
	w.wait.Go(func() {
		for {
			now, _ := used()
			w.peak = max(w.peak, now)
			select {
			case <-w.ends:
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	})
	return w
}

// stop returns what was seen.
func (w *watch) stop() string {
	close(w.ends)
	w.wait.Wait()
	return fmt.Sprintf("memory %s: %.2f GB at first, %.2f GB at most", w.where, w.first/1e9, w.peak/1e9)
}
