package serve

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/doob-diffusion/doob/experiment"
)

// collection is the runs in some folders, each of which is a run folder or has run folders in it.
type collection struct {
	places  []place
	mutex   sync.Mutex
	courses map[string]*course // by the names of runs
}

// place is a folder that was given. What is read of it is read through root, which no path and no link leaves.
type place struct {
	label string
	path  string // whole
	root  *os.Root
}

// most is how many runs are looked for in a folder.
const most = 2000

func newCollection(folders []string) (*collection, error) {
	if len(folders) == 0 {
		return nil, errors.New("serve: want a run folder, or a folder with run folders")
	}
	l := &collection{courses: map[string]*course{}}
	for _, folder := range folders {
		root, err := os.OpenRoot(folder)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve: %w", err), l.close())
		}
		whole, err := filepath.Abs(folder)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("serve: %w", err), root.Close(), l.close())
		}
		label := filepath.Base(whole)
		for n := 2; slices.ContainsFunc(l.places, func(p place) bool { return p.label == label }); n++ {
			label = fmt.Sprintf("%s (%d)", filepath.Base(whole), n)
		}
		l.places = append(l.places, place{label, whole, root})
	}
	return l, nil
}

func (l *collection) close() (err error) {
	for _, p := range l.places {
		err = errors.Join(err, p.root.Close())
	}
	return err
}

// run is one run and how it is called.
type run struct {
	name string
	experiment.Looked
	folder fs.FS
}

// runs lists those that there are now.
func (l *collection) runs() (all []run) {
	for _, p := range l.places {
		if r, ok := p.run(""); ok {
			all = append(all, r)
			continue
		}
		entries, _ := fs.ReadDir(p.root.FS(), ".") // none, if it cannot be read
		for _, e := range entries {
			if len(all) == most {
				return all
			}
			if r, ok := p.run(e.Name()); ok {
				all = append(all, r)
			}
		}
	}
	return all
}

// run returns the run in a folder of a place, or of the place itself.
func (p place) run(folder string) (run, bool) {
	r := run{name: p.label, folder: p.root.FS()}
	if folder != "" {
		if !isChild(folder) {
			return r, false
		}
		sub, err := fs.Sub(r.folder, folder)
		if err != nil {
			return r, false
		}
		r.name, r.folder = p.label+"/"+folder, sub
	}
	var ok bool
	r.Looked, ok = experiment.Look(r.folder)
	return r, ok
}

// isChild reports whether a name is that of an entry of a folder itself that is not hidden.
func isChild(name string) bool {
	return fs.ValidPath(name) && !strings.ContainsAny(name, `/\`) && !strings.HasPrefix(name, ".")
}

// find returns a run by its name.
func (l *collection) find(name string) (run, bool) {
	for _, p := range l.places {
		if name == p.label {
			return p.run("")
		}
		if folder, ok := strings.CutPrefix(name, p.label+"/"); ok && folder != "" {
			return p.run(folder)
		}
	}
	return run{}, false
}

// path returns the folder of a run, which was found by its name.
func (l *collection) path(name string) string {
	for _, p := range l.places {
		if name == p.label {
			return p.path
		}
		if folder, ok := strings.CutPrefix(name, p.label+"/"); ok {
			return filepath.Join(p.path, folder)
		}
	}
	return ""
}

// course returns what is kept of a run's events.
func (l *collection) course(r run) *course {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	if l.courses[r.name] == nil {
		l.courses[r.name] = &course{run: r.name, events: r.Events()}
	}
	return l.courses[r.name]
}

// readAhead begins to read the events of runs, in their order and by as many threads as there are, for one who will ask for them. It returns what waits for its end, which
// comes early with that of the context.
func (l *collection) readAhead(ctx context.Context, runs []run) (wait func()) {
	var next atomic.Int64
	var readers sync.WaitGroup
	for range min(len(runs)-1, runtime.GOMAXPROCS(0)) {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(runs) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				l.course(runs[i]).read()
			}
		})
	}
	return readers.Wait
}
