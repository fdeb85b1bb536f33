// Package tensorboard writes event files for TensorBoard: records of Protocol Buffers with check sums, see
// tensorflow/core/util/event.proto, framework/summary.proto and lib/io/record_writer.h.
package tensorboard

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Log is one event file, in a folder of its own, that says what its caller has added and nothing else, whatever an earlier process has left
// there: of that it keeps the times. Within a series, steps increase: one that comes again takes the place of itself and of all later ones.
type Log struct {
	Dir string

	added   []record
	written int // of added, that are in the file; -1 if it must be written anew
	file    string
	now     func() time.Time
}

type record struct {
	series string
	step   int
	values []Value
}

// New returns the log of a folder, which nothing is written to or read from before [Log.Write].
func New(dir string) *Log { return &Log{Dir: dir, written: -1, now: time.Now} }

// Add says what is to be written: values of a series at a step, in place of those at this step and later.
func (l *Log) Add(series string, step int, values ...Value) {
	l.Drop(series, step)
	l.added = append(l.added, record{series, step, values})
}

// Drop takes back what was added to a series from a step on.
func (l *Log) Drop(series string, from int) {
	before := len(l.added)
	l.added = slices.DeleteFunc(l.added, func(r record) bool { return r.series == series && r.step >= from })
	if len(l.added) < before {
		l.written = -1
	}
}

// Write brings the file in line with what was added. It is whole at any moment, but for its last record if the process is killed.
func (l *Log) Write() error {
	if l.written < 0 {
		return l.rewrite()
	}
	var text []byte
	for _, r := range l.added[l.written:] {
		event, err := encode(r.step, r.values)
		if err != nil {
			return fmt.Errorf("tensorboard: %s: %w", l.Dir, err)
		}
		text = frame(text, timed(l.now(), event))
	}
	if len(text) == 0 {
		return nil
	}
	f, err := os.OpenFile(l.file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	l.written = len(l.added)
	return nil
}

// rewrite writes the whole file. Events that are there already keep their times. A reader that follows the old file takes the new one, whose
// name is later, for its continuation.
func (l *Log) rewrite() error {
	err := os.MkdirAll(l.Dir, 0o777)
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	olds, there, err := l.left()
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	var text []byte
	write := func(event []byte) {
		stamped := timed(l.now(), event)
		if at := slices.IndexFunc(there, func(r []byte) bool { return len(r) >= stampSize && bytes.Equal(r[stampSize:], event) }); at >= 0 {
			stamped, there = there[at], there[at+1:]
		}
		text = frame(text, stamped)
	}
	write(version())
	for _, r := range l.added {
		event, err := encode(r.step, r.values)
		if err != nil {
			return fmt.Errorf("tensorboard: %s: %w", l.Dir, err)
		}
		write(event)
	}
	l.file = l.after("")
	if n := len(olds); n > 0 { // first into the old name, then under the new one: so there are never two that say the same
		l.file = l.after(olds[n-1])
		if err = atomicfile.Write(olds[n-1], text); err == nil {
			err = os.Rename(olds[n-1], l.file)
		}
		for _, old := range olds[:n-1] {
			err = errors.Join(err, os.Remove(old))
		}
	} else {
		err = atomicfile.Write(l.file, text)
	}
	if err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	l.written = len(l.added)
	return nil
}

// left are the files of earlier writing, and the events in them.
func (l *Log) left() (files []string, events [][]byte, err error) {
	entries, err := os.ReadDir(l.Dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(l.Dir, e.Name()))
		if err != nil {
			return nil, nil, err
		}
		files, events = append(files, filepath.Join(l.Dir, e.Name())), append(events, unframe(text)...)
	}
	return files, events, err
}

// prefix is of the names that readers look for.
const prefix = "events.out.tfevents."

// after is a name that sorts after that of another file of the log, or after none.
func (l *Log) after(file string) string {
	var seconds, n int64 = 0, -1
	fmt.Sscanf(strings.TrimPrefix(filepath.Base(file), prefix), "%d.%d", &seconds, &n)
	if now := l.now().Unix(); now > seconds {
		seconds, n = now, -1
	}
	return filepath.Join(l.Dir, fmt.Sprintf("%s%010d.%06d.doob", prefix, seconds, n+1))
}
