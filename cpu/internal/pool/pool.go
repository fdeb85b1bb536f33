// Package pool runs the parts of one task on a fixed set of goroutines that stay awake between tasks.
//
// A network's step is a few hundred tasks of some microseconds each. Waking a parked thread costs as much as such a task,
// so a worker without work spins for about a millisecond before it parks.
package pool

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// spin is how long an idle worker looks for work before it parks.
const spin = time.Millisecond

// Pool is a set of workers. The goroutine that calls [Pool.Run] is worker 0; a pool of one has no others.
type Pool struct {
	workers int
	clients atomic.Int32 // executions in progress, see Enter
	busy    sync.Mutex   // held by the Run that has the workers

	fn      func(part, worker int)
	shares  []share      // one per worker
	pending atomic.Int64 // workers that have not finished the current task
	task    atomic.Uint64
	failure atomic.Pointer[Panic]

	parked atomic.Int32
	mutex  sync.Mutex
	wake   *sync.Cond
	closed atomic.Bool
}

// share is the run of parts that a worker takes first. The shares of one task after the other lie at the same places, so a worker mostly finds what it
// wrote in its own cache: between processors that share none, a line takes as long as a few hundred operations. A worker that is done helps the others.
type share struct {
	next atomic.Int64 // the next part to take
	end  int64
	_    [112]byte // no two shares have a cache line, or the pair that is fetched with it, in common
}

// Panic is what [Pool.Run] panics with when a part panicked: the first value recovered and where it came from.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("%v\n%s", p.Value, p.Stack) }

// New starts a pool; workers below 1 means one per processor.
func New(workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{workers: workers, shares: make([]share, workers)}
	p.wake = sync.NewCond(&p.mutex)
	for id := 1; id < workers; id++ {
		go p.work(id)
	}
	return p
}

// Workers returns the number of workers, the caller of Run included.
func (p *Pool) Workers() int { return p.workers }

// Close ends the workers. Run still works afterwards, on its caller alone.
func (p *Pool) Close() {
	p.busy.Lock()
	defer p.busy.Unlock()
	p.mutex.Lock()
	p.closed.Store(true)
	p.mutex.Unlock()
	p.wake.Broadcast()
}

// Enter and Leave enclose a series of Runs by one goroutine. While several goroutines are inside, each runs its tasks
// alone: as many independent series as processors need no help from each other.
func (p *Pool) Enter() { p.clients.Add(1) }

// Leave is the end of what Enter began.
func (p *Pool) Leave() { p.clients.Add(-1) }

// Run calls fn(part, worker) once for every part in [0, parts) and returns when all are done. No two calls of one Run at a time
// have the same worker in [0, Workers()). Every worker starts with
// a run of parts of its own, the same one for the same number of parts, and then takes what others have not begun: a result must not depend on it.
// If a part panics, the remaining parts are skipped and Run panics with a *Panic.
func (p *Pool) Run(parts int, fn func(part, worker int)) {
	if parts <= 0 {
		return
	}
	if parts == 1 || p.workers == 1 || p.clients.Load() > 1 || !p.busy.TryLock() {
		p.alone(parts, fn)
		return
	}
	defer p.busy.Unlock()
	if p.closed.Load() {
		p.alone(parts, fn)
		return
	}
	p.fn = fn
	p.failure.Store(nil)
	for w := range p.shares {
		p.shares[w].next.Store(int64(w * parts / p.workers))
		p.shares[w].end = int64((w + 1) * parts / p.workers)
	}
	p.pending.Store(int64(p.workers - 1))
	p.task.Add(1) // publishes the fields above
	if p.parked.Load() > 0 {
		p.mutex.Lock()
		p.wake.Broadcast()
		p.mutex.Unlock()
	}
	p.take(0)
	for turn := 1; p.pending.Load() > 0; turn++ {
		if turn%64 == 0 {
			runtime.Gosched()
		}
	}
	p.fn = nil
	if failure := p.failure.Load(); failure != nil {
		panic(failure)
	}
}

func (p *Pool) alone(parts int, fn func(part, worker int)) {
	defer func() {
		if r := recover(); r != nil {
			panic(wrap(r))
		}
	}()
	for part := range parts {
		fn(part, 0)
	}
}

func wrap(r any) *Panic {
	if p, ok := r.(*Panic); ok {
		return p
	}
	return &Panic{Value: r, Stack: debug.Stack()}
}

// take runs parts of the current task until none is left.
func (p *Pool) take(worker int) {
	defer func() {
		if r := recover(); r != nil {
			p.failure.CompareAndSwap(nil, wrap(r))
			for w := range p.shares {
				p.shares[w].next.Store(p.shares[w].end)
			}
		}
	}()
	for k := range p.shares {
		s := &p.shares[(worker+k)%p.workers]
		for part := s.next.Add(1) - 1; part < s.end; part = s.next.Add(1) - 1 {
			p.fn(int(part), worker)
		}
	}
}

func (p *Pool) work(id int) {
	var done uint64
	for {
		if !p.await(done) {
			return
		}
		done++
		p.take(id)
		p.pending.Add(-1)
	}
}

// await returns when a task after the given one is there, or reports that the pool is closed.
func (p *Pool) await(done uint64) bool {
	var since time.Time
	for turn := 1; ; turn++ {
		if p.task.Load() != done {
			return true
		}
		if turn%64 != 0 {
			continue
		}
		if p.closed.Load() {
			return false
		}
		runtime.Gosched()
		if turn%1024 != 0 {
			continue
		}
		if now := time.Now(); since.IsZero() {
			since = now
		} else if now.Sub(since) > spin {
			break
		}
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.parked.Add(1)
	defer p.parked.Add(-1)
	for p.task.Load() == done {
		if p.closed.Load() {
			return false
		}
		p.wake.Wait()
	}
	return true
}
