package runfolder

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/doob-diffusion/doob/checkpoint"
)

// Snapshot is the state of an unfinished stage, after Done of its steps or iterations: what it takes to go on from there as
// if never stopped.
type Snapshot struct {
	Seed        uint64
	Task, Stage string
	Done        int
	// Tensors are variables of the engine, under their paths without the leading slash, and whatever else the stage holds.
	Tensors map[string]checkpoint.Tensor
}

func (s *Snapshot) of(seed uint64, task, stage string) bool {
	return s.Seed == seed && s.Task == task && s.Stage == stage
}

// snapshotFile is where the one snapshot of a run is; withoutSnapshot is what can be done if it is damaged.
const (
	snapshotFile    = "checkpoint/state.safetensors"
	withoutSnapshot = "without that file the run can resume from the last finished stage"
)

// Keep stores a snapshot in place of the one before. It belongs to the events so far: a run resumed from it drops the later
// ones. If it cannot be written, the one before stays.
func (f *Folder) Keep(s Snapshot) error {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.err != nil {
		return f.err
	}
	// The events must not be lost where the snapshot, which is synced too, is not.
	err := f.events.Sync()
	offset, seekErr := f.events.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, seekErr); err != nil {
		return fmt.Errorf("%w %s: events: %w", ErrFolder, f.Path, err)
	}
	return checkpoint.Save(f.File(snapshotFile), checkpoint.File{Tensors: s.Tensors, Metadata: map[string]string{
		"seed": strconv.FormatUint(s.Seed, 10), "task": s.Task, "stage": s.Stage, "done": strconv.Itoa(s.Done),
		"events": strconv.FormatInt(offset, 10)}})
}

// readSnapshot returns the snapshot, nil if there is none, and the size of events.jsonl when it was taken.
func (f *Folder) readSnapshot() (s *Snapshot, offset int64, err error) {
	file, err := checkpoint.Load(f.File(snapshotFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("%w; %s", err, withoutSnapshot)
	}
	s = &Snapshot{Task: file.Metadata["task"], Stage: file.Metadata["stage"], Tensors: file.Tensors}
	var bad [3]error
	s.Seed, bad[0] = strconv.ParseUint(file.Metadata["seed"], 10, 64)
	s.Done, bad[1] = strconv.Atoi(file.Metadata["done"])
	offset, bad[2] = strconv.ParseInt(file.Metadata["events"], 10, 64)
	if errors.Join(bad[:]...) != nil || s.Stage == "" || s.Done < 0 || offset < 0 {
		return nil, 0, fmt.Errorf("%s is no snapshot of a run: it says seed %q, stage %q, done %q, events %q; %s", snapshotFile,
			file.Metadata["seed"], s.Stage, file.Metadata["done"], file.Metadata["events"], withoutSnapshot)
	}
	return s, offset, nil
}

// Resumed returns the snapshot from which to continue a stage, and nil if the stage has to begin at its beginning.
func (f *Folder) Resumed(seed uint64, task, stage string) *Snapshot {
	if f.snapshot == nil || !f.snapshot.of(seed, task, stage) {
		return nil
	}
	return f.snapshot
}

// DropSnapshot removes the snapshot, if there is one, at the end of a run.
func (f *Folder) DropSnapshot() error {
	f.snapshot = nil
	if err := os.Remove(f.File(snapshotFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
