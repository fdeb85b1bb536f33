// Package runfolder keeps the record of one run in a folder that one process at a time holds: the configuration, a line per event,
// snapshots of what is unfinished, checkpoints. It knows when what is recorded counts, and nothing of what it means.
package runfolder

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// ErrFolder says that a run folder cannot be used: it is not empty, another process works in it, or it is no run folder.
var ErrFolder = errors.New("run folder")

// errLocked says that a lock is taken.
var errLocked = errors.New("another process works there")

// Folder is a run folder, held by this process until Close.
type Folder struct {
	Path     string
	lock     *os.File
	snapshot *Snapshot // of an unfinished stage, as found by Reopen
	events   *os.File
	stale    bool // events.jsonl has lines behind the place of the next that do not count
	mutex    sync.Mutex
	err      error
}

// Create makes a run folder, which must not exist or be empty, and writes its config.yaml.
func Create(path string, config []byte) (*Folder, error) {
	f := &Folder{Path: path}
	err := os.MkdirAll(path, 0o777)
	if err == nil {
		err = f.occupied()
		if _, missing := os.Stat(f.File("LOCK")); err == nil || missing == nil {
			err = f.hold(f.occupied)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	if err := f.fill(config); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, errors.Join(err, f.Close()))
	}
	return f, nil
}

// occupied returns an error if the folder holds anything but a lock.
func (f *Folder) occupied() error {
	entries, err := os.ReadDir(f.Path)
	for _, e := range entries {
		switch e.Name() {
		case "LOCK":
			continue
		case "config.yaml":
			return fmt.Errorf("it is not empty (it has a config.yaml); continue that run with --resume %s, or choose another folder with --out", f.Path)
		}
		err = fmt.Errorf("it is not empty (it has %s); choose another with --out", e.Name())
	}
	return err
}

// hold takes the folder's lock if, with it, the check finds no reason against it. Otherwise nothing is changed.
func (f *Folder) hold(check func() error) error {
	lock, err := acquire(f.File("LOCK"))
	if err != nil {
		if pid, _ := os.ReadFile(f.File("LOCK")); errors.Is(err, errLocked) && len(pid) > 0 {
			err = fmt.Errorf("%w: process %s, which holds LOCK", err, pid)
		}
		return err
	}
	if err := check(); err != nil {
		return errors.Join(err, lock.Close())
	}
	err = lock.Truncate(0)
	if err == nil {
		_, err = lock.WriteAt([]byte(strconv.Itoa(os.Getpid())), 0)
	}
	if err != nil {
		return errors.Join(err, release(lock))
	}
	f.lock = lock
	return nil
}

// fill makes what every run folder has. The configuration comes last: with it, the folder is one.
func (f *Folder) fill(config []byte) error {
	if err := f.subfolders(); err != nil {
		return err
	}
	var err error
	if f.events, err = os.Create(f.File("events.jsonl")); err != nil {
		return err
	}
	return f.WriteConfig(config)
}

// WriteConfig replaces config.yaml.
func (f *Folder) WriteConfig(text []byte) error { return atomicfile.Write(f.File("config.yaml"), text) }

func (f *Folder) subfolders() (err error) {
	for _, sub := range []string{"figures", "samples", "checkpoint"} {
		err = errors.Join(err, os.MkdirAll(f.File(sub), 0o777))
	}
	return err
}

// Line is what a line of events.jsonl says of where it belongs, and the line itself.
type Line struct {
	Seed   uint64          `json:"seed"`
	Task   string          `json:"task"`
	Stage  string          `json:"stage"`
	Result json.RawMessage `json:"result"` // set at the end of a stage
	Text   []byte          `json:"-"`
}

// ErrNone says that a folder is no run folder.
var ErrNone = errors.New("it is no run folder: it has no config.yaml")

// Reopen takes up the folder of a run that was stopped, in whatever way, and returns the events that count: up to the
// result of the last finished stage, or up to the snapshot of an unfinished one if that is later (see [Folder.Resumed]).
// Later events are dropped with the first new one, because what they tell will be done again; up to then the folder is as it was.
func Reopen(path string) (*Folder, []Line, error) {
	f := &Folder{Path: path}
	_, err := os.Stat(f.File("config.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		err = ErrNone
	}
	if err == nil {
		err = f.hold(func() error { return nil })
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	lines, err := f.recover()
	if err != nil {
		return nil, nil, fmt.Errorf("%w %s: %w", ErrFolder, path, errors.Join(err, f.Close()))
	}
	return f, lines, nil
}

// recover brings the folder into the state from which the run goes on.
func (f *Folder) recover() ([]Line, error) {
	if err := errors.Join(f.subfolders(), f.sweep()); err != nil {
		return nil, err
	}
	lines, ends, err := f.lines()
	if err != nil {
		return nil, err
	}
	snapshot, offset, err := f.readSnapshot()
	if err != nil {
		return nil, err
	}
	var size int64 // of the events that count
	var n int      // of them
	for i, l := range lines {
		if l.Result != nil || l.Stage == "" {
			size, n = ends[i], i+1
		}
		if l.Result != nil && snapshot != nil && snapshot.of(l.Seed, l.Task, l.Stage) && ends[i] > offset { // an earlier one is of less work
			snapshot = nil
		}
	}
	if snapshot != nil {
		before := 0 // events before the snapshot
		for before < len(ends) && ends[before] <= offset {
			before++
		}
		if offset != 0 && (before == 0 || ends[before-1] != offset) {
			return nil, fmt.Errorf("%s is of byte %d of events.jsonl, where no event ends; %s", snapshotFile, offset, withoutSnapshot)
		}
		f.snapshot, size, n = snapshot, max(size, offset), max(n, before)
	}
	if f.events, err = os.OpenFile(f.File("events.jsonl"), os.O_CREATE|os.O_WRONLY, 0o666); err != nil {
		return nil, err
	}
	f.stale = true
	_, err = f.events.Seek(size, io.SeekStart)
	return lines[:n], err
}

// lines reads events.jsonl, and returns with each line the offset at which it ends. A last line without its end is what a killed process
// leaves, and is none.
func (f *Folder) lines() (lines []Line, ends []int64, err error) {
	text, err := os.ReadFile(f.File("events.jsonl"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	var end int64
	for line := range bytes.Lines(text) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		l := Line{Text: line}
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, nil, fmt.Errorf("events.jsonl, line %d: %w", len(lines)+1, err)
		}
		end += int64(len(line))
		lines, ends = append(lines, l), append(ends, end)
	}
	return lines, ends, nil
}

// temporary matches the names that package atomicfile gives to files in the making.
var temporary = regexp.MustCompile(`^\..+\.\d+-\d+\.tmp$`)

// sweep removes what a killed process has left half written.
func (f *Folder) sweep() error {
	return filepath.WalkDir(f.Path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && temporary.MatchString(entry.Name()) {
			err = os.Remove(path)
		}
		return err
	})
}

// File returns the path of a file in the folder.
func (f *Folder) File(elements ...string) string {
	return filepath.Join(append([]string{f.Path}, elements...)...)
}

// Event appends one line of JSON to events.jsonl. The first error is kept for Err and Close; after it nothing is written.
func (f *Folder) Event(e any) {
	line, err := json.Marshal(e)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.err != nil {
		return
	}
	if err == nil && f.stale {
		err, f.stale = f.cut(), false
	}
	if err == nil {
		_, err = f.events.Write(append(line, '\n'))
	}
	if err != nil {
		f.err = fmt.Errorf("%w %s: events: %w", ErrFolder, f.Path, err)
	}
}

// cut removes what stands behind the place of the next event.
func (f *Folder) cut() error {
	size, err := f.events.Seek(0, io.SeekCurrent)
	return errors.Join(err, f.events.Truncate(size))
}

// Err returns the first error of Event.
func (f *Folder) Err() error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.err
}

// WriteJSON writes a value as indented JSON, atomically.
func (f *Folder) WriteJSON(name string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(f.File(name), append(text, '\n'))
}

// Close releases the folder.
func (f *Folder) Close() error {
	err := f.err
	if f.events != nil {
		err = errors.Join(err, f.events.Close())
	}
	return errors.Join(err, release(f.lock))
}

// Lines reads the events of a folder that another process may work in.
func Lines(path string) ([]Line, error) {
	lines, _, err := (&Folder{Path: path}).lines()
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	return lines, nil
}
