package serve

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/internal/machine"
)

// models keeps the runs that were sampled last in memory, as far as they fit. Only the worker calls it, but for taken.
type models struct {
	limit   float64 // bytes; 0 means what this machine has
	backend string

	mutex sync.Mutex
	held  []loaded // that which was used last is last
}

// loaded is a run in memory.
type loaded struct {
	name, stamp string
	bytes       float64
	run         *experiment.Opened
}

// errMemory says that a model is larger than all that there is for models.
var errMemory = errors.New("not enough memory for models")

// open returns a run with its networks. What must be unloaded for that is told with the reason.
func (m *models) open(ctx context.Context, s source) (*experiment.Opened, []string, error) {
	if i := slices.IndexFunc(m.held, func(l loaded) bool { return l.name == s.Name }); i >= 0 {
		l := m.held[i]
		if l.stamp == s.stamp {
			m.keep(append(slices.Delete(slices.Clone(m.held), i, i+1), l))
			return l.run, nil, nil
		}
		if err := m.drop(&l); err != nil { // the run has gone on since
			return nil, nil, err
		}
	}
	planned, err := experiment.Weights(s.path)
	if err != nil {
		return nil, nil, err
	}
	notes, err := m.room(s.Name, planned)
	if err != nil {
		return nil, notes, err
	}
	before := heap()
	o, err := experiment.OpenRun(ctx, s.path, "", m.backend)
	if err != nil {
		return nil, notes, err
	}
	bytes := max(planned, heap()-before)
	more, err := m.room(s.Name, bytes) // it may be larger than its files
	if err != nil {
		return nil, notes, errors.Join(err, o.Close())
	}
	m.keep(append(slices.Clone(m.held), loaded{s.Name, s.stamp, bytes, o}))
	return o, append(notes, more...), nil
}

// room unloads what was not used for the longest time until so many bytes fit beside the rest.
func (m *models) room(name string, bytes float64) (notes []string, err error) {
	most, which := m.limit, "the limit (--memory)"
	if most == 0 {
		most, which = math.Inf(1), "what this machine has left"
		if available, ok := machine.Memory(); ok {
			most = available + m.taken()
		}
	}
	if bytes > most {
		return nil, fmt.Errorf("%w: %s takes about %s, %s is %s", errMemory, name, bytesText(int64(bytes)), which, bytesText(int64(most)))
	}
	for len(m.held) > 0 && m.taken()+bytes > most {
		oldest := m.held[0]
		notes = append(notes, fmt.Sprintf("%s (%s) was unloaded: beside it there is no room for %s (%s), %s is %s", oldest.name, bytesText(int64(oldest.bytes)), name,
			bytesText(int64(bytes)), which, bytesText(int64(most))))
		if err := m.drop(&oldest); err != nil {
			return notes, err
		}
	}
	return notes, nil
}

// drop unloads one; all for nil.
func (m *models) drop(l *loaded) (err error) {
	var kept []loaded
	for _, one := range m.held {
		if l != nil && one.name != l.name {
			kept = append(kept, one)
			continue
		}
		err = errors.Join(err, one.run.Close())
	}
	m.keep(kept)
	machine.Free() // or the next one would find none
	return err
}

func (m *models) keep(held []loaded) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.held = held
}

// taken is what they take together, in bytes.
func (m *models) taken() (bytes float64) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, l := range m.held {
		bytes += l.bytes
	}
	return bytes
}

// heap is what is in use of it, in bytes.
func heap() float64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}
