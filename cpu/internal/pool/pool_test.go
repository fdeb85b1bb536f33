package pool_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// open returns a pool that ends with the test.
func open(t testing.TB, workers int) *pool.Pool {
	t.Helper()
	p := pool.New(workers)
	t.Cleanup(p.Close)
	return p
}

// within fails the test if fn does not return: a lost wake-up would otherwise be seen as a hanging test.
func within(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn()
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("did not end within 20 s")
	}
}

// meet runs as many parts as there are workers, each of which waits for all others: it ends only if every worker takes
// one.
func meet(p *pool.Pool) {
	var all sync.WaitGroup
	all.Add(p.Workers())
	p.Run(p.Workers(), func(int, int) {
		all.Done()
		all.Wait()
	})
}

// Every worker begins with its own run of parts, and takes those of a worker that is held up.
func TestShares(t *testing.T) {
	const workers, each = 4, 3
	p := open(t, workers)
	var first [workers]atomic.Int32
	within(t, func() {
		for range 20 {
			var begun sync.WaitGroup
			begun.Add(workers)
			p.Run(workers*each, func(part, worker int) {
				if part%each == 0 {
					if part/each == worker {
						first[worker].Add(1)
					}
					begun.Done()
					begun.Wait() // until all have begun
				}
			})
		}
	})
	for worker := range first {
		if n := first[worker].Load(); n != 20 {
			t.Errorf("worker %d began with its own parts %d times of 20", worker, n)
		}
	}
	within(t, func() {
		var left sync.WaitGroup
		left.Add(workers*each - 1)
		p.Run(workers*each, func(part, _ int) {
			if part == each { // the first of worker 1 waits for all others, the rest of its own among them
				left.Wait()
				return
			}
			left.Done()
		})
	})
}

func TestRunCallsEveryPartOnce(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		p := open(t, workers)
		if p.Workers() != workers {
			t.Fatalf("%d workers, want %d", p.Workers(), workers)
		}
		for _, parts := range []int{-1, 0, 1, 2, 7, 8, 9, 1000} {
			calls := make([]atomic.Int32, max(parts, 0))
			busy := make([]atomic.Bool, workers)
			p.Run(parts, func(part, worker int) {
				if !busy[worker].CompareAndSwap(false, true) {
					t.Errorf("%d workers, %d parts: two parts at a time on worker %d", workers, parts, worker)
				}
				calls[part].Add(1)
				if part%3 == 0 {
					runtime.Gosched()
				}
				busy[worker].Store(false)
			})
			for part := range calls {
				if n := calls[part].Load(); n != 1 {
					t.Errorf("%d workers, %d parts: part %d was called %d times", workers, parts, part, n)
				}
			}
		}
	}
	if p := open(t, 0); p.Workers() != runtime.GOMAXPROCS(0) {
		t.Errorf("New(0) has %d workers, want one per processor", p.Workers())
	}
}

// What a part wrote without further ado is seen after Run, and by the parts of the next Run. (With -race.)
func TestRunOrdersMemory(t *testing.T) {
	p := open(t, 4)
	x, y := make([]int, 64), make([]int, 64)
	for step := range 100 {
		p.Run(len(x), func(part, _ int) { x[part] = step + part })
		p.Run(len(y), func(part, _ int) { y[part] = x[len(x)-1-part] })
		for part, v := range y {
			if want := step + len(x) - 1 - part; v != want {
				t.Fatalf("step %d, part %d: %d, want %d", step, part, v, want)
			}
		}
	}
}

// All workers take part, also after they have parked.
func TestWorkersWake(t *testing.T) {
	for _, workers := range []int{2, 8} {
		p := open(t, workers)
		within(t, func() {
			for _, idle := range []time.Duration{0, 0, 5, 0, 1, 2, 10, 1, 0} {
				time.Sleep(idle * time.Millisecond)
				meet(p)
			}
		})
	}
}

func TestNestedRun(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		p := open(t, workers)
		var sum atomic.Int64
		within(t, func() {
			p.Run(20, func(outer, _ int) {
				p.Run(30, func(inner, worker int) {
					if worker < 0 || worker >= workers {
						t.Errorf("worker %d of %d", worker, workers)
					}
					sum.Add(int64(outer*30 + inner))
				})
			})
			meet(p)
		})
		if got := sum.Load(); got != 600*599/2 {
			t.Errorf("%d workers: the parts add up to %d, want %d", workers, got, 600*599/2)
		}
	}
}

// Several goroutines use a pool at the same time. Within each one's Run the workers are exclusive.
func TestConcurrentRuns(t *testing.T) {
	for _, enter := range []bool{false, true} {
		p := open(t, 3)
		within(t, func() {
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					if enter {
						p.Enter()
						defer p.Leave()
					}
					private := make([]int, p.Workers()) // unsynchronised: the race detector checks
					for range 300 {
						p.Run(17, func(_, worker int) { private[worker]++ })
					}
					total := 0
					for _, n := range private {
						total += n
					}
					if total != 300*17 {
						t.Errorf("%d parts, want %d", total, 300*17)
					}
				})
			}
			all.Wait()
			meet(p)
		})
	}
}

// While two series of runs are in progress, each keeps to its own goroutine; afterwards workers help again.
func TestEnter(t *testing.T) {
	p := open(t, 2)
	p.Enter()
	within(t, func() { meet(p) }) // alone inside: workers help
	p.Enter()
	p.Run(20, func(_, worker int) {
		if worker != 0 {
			t.Errorf("a part ran on worker %d while two series are in progress", worker)
		}
		time.Sleep(100 * time.Microsecond) // so that another worker would have the time to take one
	})
	p.Leave()
	within(t, func() { meet(p) })
	p.Leave()
}

// caught returns what fn panics with.
func caught(fn func()) (r any) {
	defer func() { r = recover() }()
	fn()
	return nil
}

func faulty(part int) {
	if part == 5 {
		panic(fmt.Sprintf("part %d", part))
	}
}

func TestPanic(t *testing.T) {
	for _, workers := range []int{1, 2, 8} {
		p := open(t, workers)
		within(t, func() {
			for range 20 {
				r := caught(func() { p.Run(100, func(part, _ int) { faulty(part) }) })
				failure, ok := r.(*pool.Panic)
				if !ok {
					t.Errorf("%d workers: Run panicked with %v (%T), want a *pool.Panic", workers, r, r)
					return
				}
				if failure.Value != "part 5" || !strings.Contains(string(failure.Stack), "pool_test.faulty") {
					t.Errorf("%d workers: %v, want the value and the stack of the panic", workers, failure)
				}
				var err error = failure
				if !strings.HasPrefix(err.Error(), "part 5\n") {
					t.Errorf("as an error: %q", err)
				}
			}
			meet(p)
		})
	}
}

// A panic on a goroutine of the pool comes out of Run too; the first value wins if all parts panic.
func TestPanicInWorker(t *testing.T) {
	p := open(t, 3)
	cause := errors.New("cause")
	within(t, func() {
		var all sync.WaitGroup
		all.Add(3)
		r := caught(func() {
			p.Run(3, func(_, worker int) {
				all.Done()
				all.Wait()
				if worker == 2 {
					panic(cause)
				}
			})
		})
		if failure, ok := r.(*pool.Panic); !ok || failure.Value != cause {
			t.Errorf("Run panicked with %v, want the cause", r)
		}
		r = caught(func() { p.Run(1000, func(part, _ int) { panic(part) }) })
		if failure, ok := r.(*pool.Panic); !ok || failure.Value.(int) >= 3 {
			t.Errorf("Run panicked with %v; of three workers, each ends at its first part", r)
		}
		// What nobody has begun is skipped.
		var begun atomic.Int32
		caught(func() {
			p.Run(1e5, func(int, int) {
				if begun.Add(1) == 10 {
					panic(cause)
				}
				runtime.Gosched()
			})
		})
		if n := begun.Load(); n == 1e5 {
			t.Errorf("all %d parts ran although one of the first panicked", n)
		}
		// A panic of a nested Run is not wrapped again.
		r = caught(func() { p.Run(2, func(int, int) { p.Run(2, func(int, int) { panic(cause) }) }) })
		if failure, ok := r.(*pool.Panic); !ok || failure.Value != cause {
			t.Errorf("the outer Run panicked with %v, want the cause", r)
		}
		// No failure is left over for the next task.
		if r := caught(func() { p.Run(10, func(int, int) {}); meet(p) }); r != nil {
			t.Errorf("a later Run panicked with %v", r)
		}
	})
}

func TestClose(t *testing.T) {
	before := runtime.NumGoroutine()
	for _, idle := range []time.Duration{0, 5 * time.Millisecond} { // spinning and parked workers
		p := pool.New(8)
		meet(p)
		time.Sleep(idle)
		p.Close()
		p.Close()
		parts := make([]int, 20)
		p.Run(len(parts), func(part, worker int) {
			if worker != 0 {
				t.Errorf("a part ran on worker %d of a closed pool", worker)
			}
			parts[part]++
		})
		if slices.Min(parts) != 1 || slices.Max(parts) != 1 {
			t.Errorf("a closed pool called the parts %v times, want once", parts)
		}
		within(t, func() {
			for runtime.NumGoroutine() > before+1 { // the one of within
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// Runs allocate nothing, whoever is awake.
func TestRunAllocatesNothing(t *testing.T) {
	p := open(t, 2)
	x := make([]int, 2)
	fn := func(_, worker int) { x[worker]++ }
	if n := testing.AllocsPerRun(100, func() { p.Run(16, fn) }); n != 0 {
		t.Errorf("%v allocations per Run", n)
	}
}
