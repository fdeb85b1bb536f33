package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
)

// ErrRefused says that a worker is not taken, or a trainer cannot use a server, for the reason that follows.
var ErrRefused = errors.New("refused")

var errEnded = errors.New("the session has ended")

const (
	tasksName, resultsName, filesName = "doob_tasks", "doob_results", "doob"
	tasksSubject, resultsSubject      = "doob.tasks.", "doob.results." // and the session
	joinSubject, beatSubject          = "doob.join", "doob.beat"
	statusSubject                     = "doob.status"
	consumerName                      = "doob"
	resultOf                          = "Doob-Task" // header of a result: its Task without order

	mostTask    = 64 << 10 // bytes of a task
	mostWelcome = 512 << 10
	mostFile    = 16 << 30
	mostPaths   = 1 << 20 // in a task
)

// Announcement is what a trainer says of its run.
type Announcement struct {
	Run      string  `json:"run"`    // for people
	Config   string  `json:"config"` // text of config.yaml
	Settings string  `json:"settings"`
	Data     string  `json:"data,omitempty"` // SHA-256
	Numbers  Numbers `json:"numbers"`
}

// Task is an interval of a simulation. Its order is for those who simulate.
type Task struct {
	Session string          `json:"session"`
	Job     string          `json:"job"`
	Attempt int             `json:"attempt"` // more than 0 of one that was lost on the way
	From    int             `json:"from"`
	N       int             `json:"n"`
	Order   json.RawMessage `json:"order,omitempty"`

	// In answers:
	Worker string `json:"worker,omitempty"`
	Calls  int64  `json:"calls,omitempty"` // network calls that the simulation took
}

// id is the same for all copies of a task, by which the server drops them.
func (t Task) id() string { return fmt.Sprintf("%s %s %d %d", t.Session, t.Job, t.From, t.Attempt) }

// readTask reads a task of the session, or an answer to one.
func readTask(text []byte, session string) (t Task, err error) {
	if len(text) > mostTask {
		return t, fmt.Errorf("fleet: a task of %d bytes, want at most %d", len(text), mostTask)
	}
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("fleet: a task that is not JSON: %w", err)
	}
	if t.Session != session {
		return t, fmt.Errorf("fleet: %w: a task of session %q, want %q", errEnded, t.Session, session)
	}
	if t.From < 0 || t.N < 1 || t.N > mostPaths {
		return t, fmt.Errorf("fleet: task %s has %d paths from %d, want 1 to %d from 0 or more", t.Job, t.N, t.From, mostPaths)
	}
	return t, nil
}
