package experiment

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/goccy/go-yaml"
)

// ErrFolder says that a run folder cannot be used: it is not empty, another process works in it, or it is no run folder.
var ErrFolder = errors.New("run folder")

// Folder is a run folder, held by this process until Close.
type Folder struct {
	Path   string
	events *os.File
	mutex  sync.Mutex
	err    error
}

// CreateFolder makes a run folder, which must not exist or be empty, and writes the resolved configuration into it.
func CreateFolder(path string, config any) (*Folder, error) {
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	if owner, err := os.ReadFile(filepath.Join(path, "LOCK")); err == nil {
		return nil, fmt.Errorf("%w %s: process %s works there (remove LOCK if that process is gone)", ErrFolder, path, owner)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%w %s: it is not empty (it has %s); choose another with --out", ErrFolder, path, entries[0].Name())
	}
	// O_EXCL decides between two processes that both found the folder empty.
	lock, err := os.OpenFile(filepath.Join(path, "LOCK"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, err)
	}
	_, err = lock.WriteString(strconv.Itoa(os.Getpid()))
	f := &Folder{Path: path}
	err = errors.Join(err, lock.Close())
	for _, sub := range []string{"figures", "samples", "checkpoint"} {
		err = errors.Join(err, os.Mkdir(f.File(sub), 0o777))
	}
	if err == nil {
		f.events, err = os.Create(f.File("events.jsonl"))
	}
	if err == nil {
		err = f.writeConfig(config)
	}
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrFolder, path, errors.Join(err, f.Close()))
	}
	return f, nil
}

func (f *Folder) writeConfig(config any) error {
	text, err := yaml.Marshal(config)
	if err != nil {
		return err
	}
	return atomicfile.Write(f.File("config.yaml"), text)
}

// File returns the path of a file in the folder.
func (f *Folder) File(elements ...string) string {
	return filepath.Join(append([]string{f.Path}, elements...)...)
}

// Event appends one line to events.jsonl. The first error is kept for Close.
func (f *Folder) Event(e Event) {
	line, err := json.Marshal(e)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if err == nil {
		_, err = f.events.Write(append(line, '\n'))
	}
	if f.err == nil && err != nil {
		f.err = fmt.Errorf("%w %s: events: %w", ErrFolder, f.Path, err)
	}
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
	return errors.Join(err, os.Remove(f.File("LOCK")))
}
