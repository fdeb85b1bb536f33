package cpu

import (
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"weak"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
)

// workspace is memory in which one program runs at a time: an arena for its tensors and scratch memory for its kernels. Programs that have run in it
// stay bound to it: their kernels keep pointers into it, so it is dropped together with them or not at all.
type workspace struct {
	context *kern.Context
	arena   []float32
	bound   map[*variant]*exec.Instance
	forgot  int // the value of forgotten when there was nothing bound that is gone
}

// workspaces are those of a backend that nobody runs in. Programs that never run at the same time use one and the same, those that do have one each:
// what is held is what the largest program takes, times the most executions at a time, and not the sum over all programs.
type workspaces struct {
	mutex     sync.Mutex
	free      []*workspace // the last one used is the last
	forgotten int          // how many variants are gone
}

// slack is how many times larger than its need the arena of a program may be. A small program that ran in the largest arena would keep a large one that
// runs beside it from it. So arenas that are not replaced differ by this factor, and take less than a third more than the largest one.
const slack = 4

// fits reports whether the variant may run in the workspace. Arenas of less than 1 MB are not worth keeping apart.
func (w *workspace) fits(v *variant) bool {
	const little = 1 << 18 // floats
	need, have := v.floats(), len(w.arena)
	return need <= have && have <= max(slack*need, little)
}

// floats is the size of the arena that the variant needs.
func (v *variant) floats() int { return (v.layout.Bytes + 3) / 4 }

// take returns a workspace for the caller alone, and the variant bound to it, or nil if it has not run there.
func (s *workspaces) take(v *variant, context func() *kern.Context) (*workspace, *exec.Instance) {
	s.mutex.Lock()
	for k, w := range slices.Backward(s.free) {
		if w.fits(v) {
			s.free = slices.Delete(s.free, k, k+1)
			i := w.bound[v]
			s.mutex.Unlock()
			return w, i
		}
	}
	const large = 1 << 24 // floats
	// The new one is large enough for the programs of those that are somewhat too small.
	dropped := 0
	s.free = slices.DeleteFunc(s.free, func(w *workspace) bool {
		replaced := len(w.arena) < v.floats() && v.floats() <= slack*len(w.arena)
		if replaced {
			dropped += len(w.arena)
		}
		return replaced
	})
	s.mutex.Unlock()
	if dropped >= large {
		debug.FreeOSMemory() // before the new one is there, or for a while there would be both
	}
	return &workspace{context: context(), arena: kern.Aligned(v.floats()), bound: map[*variant]*exec.Instance{}}, nil
}

// put gives a workspace back, and the variant that is bound to it now, or nil.
func (s *workspaces) put(w *workspace, v *variant, i *exec.Instance) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if i != nil {
		w.bound[v] = i
	}
	if w.forgot != s.forgotten {
		maps.DeleteFunc(w.bound, func(v *variant, _ *exec.Instance) bool { return v.gone })
		w.forgot = s.forgotten
	}
	if len(w.bound) > 0 {
		s.free = append(s.free, w)
	}
}

// forget frees what is bound of a variant that is not run any more, and workspaces to which no other one is bound.
func (s *workspaces) forget(v *variant) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	v.gone = true // for workspaces that are in use
	s.forgotten++
	s.free = slices.DeleteFunc(s.free, func(w *workspace) bool {
		delete(w.bound, v)
		return len(w.bound) == 0
	})
}

// collect forgets the variant when its executable is collected without having been finalized, as GoMLX leaves most. The cleanup must keep neither what a
// backend holds that is collected with it, nor the program of one that was finalized.
func (s *workspaces) collect(e *executable, v *variant) {
	self := weak.Make(s)
	runtime.AddCleanup(e, func(v weak.Pointer[variant]) {
		if s, v := self.Value(), v.Value(); s != nil && v != nil {
			s.forget(v)
		}
	}, weak.Make(v))
}

// bind returns a workspace for the caller alone, and the variant bound to it.
func (b *Backend) bind(v *variant) (*workspace, *exec.Instance, error) {
	w, i := b.workspaces.take(v, b.context)
	if i != nil {
		return w, i, nil
	}
	i, err := exec.New(v.program, v.layout, exec.Options{Context: w.context, Arena: w.arena, External: b.external, Direct: b.direct})
	if err != nil {
		b.workspaces.put(w, v, nil)
		return nil, nil, err
	}
	return w, i, nil
}
