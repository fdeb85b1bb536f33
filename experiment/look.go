package experiment

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/doob-diffusion/doob/fleet"
	"github.com/doob-diffusion/doob/internal/runfolder"
	"github.com/doob-diffusion/doob/report"
)

// Looked is a run folder as one who only looks sees it, whichever process works there. Nothing is written, and all is read through the file system that
// it is given, which may so bound what can be reached.
type Looked struct{ folder fs.FS }

// Look returns a run folder, false if it is none.
func Look(folder fs.FS) (Looked, bool) {
	info, err := fs.Stat(folder, "config.yaml")
	return Looked{folder}, err == nil && info.Mode().IsRegular()
}

// States of runs.
const (
	Complete = "complete" // it has a report
	Running  = "running"  // a process works there
	Stopped  = "stopped"  // it was interrupted or killed; resuming goes on with it
)

// State is one of the above.
func (l Looked) State() string {
	if runfolder.Working(l.folder) {
		return Running
	}
	if info, err := fs.Stat(l.folder, "report.json"); err == nil && info.Mode().IsRegular() {
		return Complete
	}
	return Stopped
}

// Changed is when the last event came; the zero time if none did.
func (l Looked) Changed() time.Time {
	info, err := fs.Stat(l.folder, "events.jsonl")
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

// Config is the text of config.yaml.
func (l Looked) Config() (string, error) { return l.text("config.yaml", 1<<20) }

// Workers is what the trainer of a run that works has last said of its workers, false if it has none.
func (l Looked) Workers() (s fleet.Status, ok bool) {
	text, err := l.text(workersFile, 1<<20)
	if err != nil || l.State() != Running { // a trainer that was killed has left it
		return s, false
	}
	return s, json.Unmarshal([]byte(text), &s) == nil
}

// Report is the report of a run that is complete.
func (l Looked) Report() (*Report, error) {
	text, err := l.text("report.json", 64<<20)
	if err != nil {
		return nil, err
	}
	rep := &Report{}
	if err := json.Unmarshal([]byte(text), rep); err != nil {
		return nil, fmt.Errorf("%w: report.json: %w", ErrFolder, err)
	}
	return rep, nil
}

func (l Looked) text(name string, most int64) (string, error) {
	info, err := fs.Stat(l.folder, name)
	if err == nil && (!info.Mode().IsRegular() || info.Size() > most) {
		err = fmt.Errorf("%s is no regular file of at most %d bytes", name, most)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrFolder, err)
	}
	text, err := fs.ReadFile(l.folder, name)
	return string(text), err
}

// Events follow those of the run.
func (l Looked) Events() *Follower { return &Follower{runfolder.NewTail(l.folder)} }

// Follower reads events as they come.
type Follower struct{ tail *runfolder.Tail }

// Next returns events that came since the last call, not all at once: none means that there are no more. Again is set if those before no longer
// count, because the run was resumed from an earlier point; they are told anew from the first.
func (f *Follower) Next() (events []Event, again bool, err error) {
	lines, again, err := f.tail.Next()
	for _, line := range lines {
		var ev Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return nil, again, fmt.Errorf("%w: events.jsonl: %w", ErrFolder, err)
		}
		events = append(events, ev)
	}
	return events, again, err
}

// File is one that a run has to give away.
type File struct {
	Name    string // in the folder, with slashes
	Size    int64
	Changed time.Time
}

// Files lists what a run has to give away, in the order of their names: reports, configuration and events, pictures, what was learned. Links are none.
func (l Looked) Files() (files []File) {
	add := func(dir string, fits func(name string) bool) {
		entries, _ := fs.ReadDir(l.folder, dir) // none, if it cannot be read
		for _, e := range entries {
			if info, err := e.Info(); err == nil && info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), ".") && fits(e.Name()) {
				files = append(files, File{path.Join(dir, e.Name()), info.Size(), info.ModTime()})
			}
		}
	}
	named := func(endings ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(endings, path.Ext(name)) }
	}
	add(".", func(name string) bool {
		return slices.Contains([]string{"config.yaml", "events.jsonl", "report.csv", "report.html", "report.json"}, name)
	})
	add("checkpoint", named(".safetensors"))
	add("figures", named(".png"))
	add("lora", named(".safetensors"))
	add("samples", named(".png", ".safetensors"))
	return files
}

// Previews are pictures of the same noise after so many iterations of a method.
type Previews struct {
	Name  string
	Steps []int
	Files []string
}

// Last is the place of the last picture; there is at least one.
func (p Previews) Last() int { return len(p.Files) - 1 }

var previewName = regexp.MustCompile(`^samples/(.+)_iteration_(\d+)\.png$`)

// PreviewsOf separates them from the other files.
func PreviewsOf(files []File) (sets []Previews, others []File) {
	for _, f := range files {
		m := previewName.FindStringSubmatch(f.Name)
		if m == nil {
			others = append(others, f)
			continue
		}
		i := slices.IndexFunc(sets, func(p Previews) bool { return p.Name == m[1] })
		if i < 0 {
			i, sets = len(sets), append(sets, Previews{Name: m[1]})
		}
		step, _ := strconv.Atoi(m[2]) // it is digits
		sets[i].Steps, sets[i].Files = append(sets[i].Steps, step), append(sets[i].Files, f.Name)
	}
	return sets, others
}

// Certificates is the table of what path weights say of every method, with verdicts and their reasons.
func (rep *Report) Certificates() report.Table { return rep.certificateTable() }
