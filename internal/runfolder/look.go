package runfolder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Working reports whether a process works in a folder, as far as it can be told without touching anything: LOCK is there, and the process that it
// names lives or, since that may be another machine's, events came in the last minute.
func Working(folder fs.FS) bool {
	text, err := fs.ReadFile(folder, "LOCK")
	if err != nil {
		return false
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && pid > 0 && alive(pid) {
		return true
	}
	info, err := fs.Stat(folder, "events.jsonl")
	return err == nil && time.Since(info.ModTime()) < time.Minute
}

// Tail follows events.jsonl of a folder that another process may work in.
type Tail struct {
	folder fs.FS
	offset int64
	last   []byte // the end of what was read, by which it is seen that other events have taken its place
}

// NewTail returns one that begins with the first event.
func NewTail(folder fs.FS) *Tail { return &Tail{folder: folder} }

const (
	tailRead = 4 << 20 // bytes at a time, more than any event has
	tailLast = 4 << 10
)

// Next returns whole lines that came since the last call, not more than about 4 MB: none means that there are no more. Again is set if what was
// returned before no longer counts, because the run was resumed from an earlier point: the lines are the first ones then.
func (t *Tail) Next() (lines [][]byte, again bool, err error) {
	f, err := t.folder.Open("events.jsonl")
	if errors.Is(err, fs.ErrNotExist) {
		again = t.offset > 0
		t.offset, t.last = 0, nil
		return nil, again, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	r, ok := f.(io.ReaderAt)
	if !ok || !info.Mode().IsRegular() {
		return nil, false, fmt.Errorf("%w: events.jsonl is no regular file", ErrFolder)
	}
	there := make([]byte, len(t.last))
	if n, _ := r.ReadAt(there, t.offset-int64(len(there))); n < len(there) || !bytes.Equal(there, t.last) {
		again, t.offset, t.last = true, 0, nil
	}
	text := make([]byte, min(tailRead, max(0, info.Size()-t.offset)))
	n, err := r.ReadAt(text, t.offset)
	if err != nil && err != io.EOF {
		return nil, again, err
	}
	text = text[:n]
	end := bytes.LastIndexByte(text, '\n') + 1
	if end == 0 {
		if n == tailRead {
			return nil, again, fmt.Errorf("%w: events.jsonl has a line of more than %d bytes at byte %d", ErrFolder, tailRead, t.offset)
		}
		return nil, again, nil
	}
	for line := range bytes.Lines(text[:end]) {
		lines = append(lines, line)
	}
	t.offset += int64(end)
	t.last = bytes.Clone(text[max(0, end-tailLast):end])
	return lines, again, nil
}
