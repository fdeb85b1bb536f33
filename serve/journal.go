package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// journal is the file, in the server's own folder, of the jobs that wait or are drawn, and of those that were lost and not yet dismissed. Pictures are not in it.
const journal = "queue.json"

// record writes the journal. After close it stays as it is.
func (t *studio) record() error {
	if t.closed {
		return nil
	}
	kept := []*job{}
	for _, j := range t.jobs {
		if j.Active() || j.State == lost {
			kept = append(kept, j)
		}
	}
	text, err := json.MarshalIndent(kept, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.Write(filepath.Join(t.Dir, journal), text)
}

// recall returns the jobs in a journal, all of them lost.
func recall(dir string) ([]*job, error) {
	path := filepath.Join(dir, journal)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var jobs []*job
	if err == nil {
		err = json.Unmarshal(text, &jobs)
	}
	if err != nil {
		return nil, fmt.Errorf("serve: the journal of an earlier server: %w; remove %s to begin without it", err, path)
	}
	for _, j := range jobs {
		j.State, j.Stage, j.Done, j.Place = lost, "", 0, 0
	}
	return jobs, nil
}
