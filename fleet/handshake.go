package fleet

import (
	"encoding/json"
	"time"
)

// hello is what a worker asks to be taken with.
type hello struct {
	Worker  string  `json:"worker"`
	Numbers Numbers `json:"numbers"`
}

// welcome answers it.
type welcome struct {
	Refused string        `json:"refused,omitempty"` // the reason
	Session string        `json:"session,omitempty"` // of this process of the trainer
	Patient time.Duration `json:"patient,omitempty"` // after which a task that nobody says he is at is given to another
	Announcement
}

// beat says that a worker is there, and what it has done.
type beat struct {
	Worker  string  `json:"worker"`
	Session string  `json:"session"`
	Task    string  `json:"task,omitempty"` // that it is at
	For     float64 `json:"for"`            // seconds that it is at it
	Fault   string  `json:"fault,omitempty"`
}

// join answers a worker that wants to be taken.
func (t *Trainer) join(text []byte) any {
	var h hello
	if err := json.Unmarshal(text, &h); err != nil || h.Worker == "" {
		return welcome{Refused: "it does not say who it is: want a worker of doob"}
	}
	if why := t.about.Numbers.refuse(h.Numbers); why != "" {
		t.refuse(h.Worker + ": " + why)
		return welcome{Refused: why}
	}
	t.see(h.Worker, func(*seen) {})
	return welcome{Session: t.session, Patient: t.patient, Announcement: t.about}
}

// beat notes that a worker is there.
func (t *Trainer) beat(text []byte) any {
	var b beat
	if err := json.Unmarshal(text, &b); err == nil && b.Session == t.session {
		if b.Fault != "" {
			t.refuse(b.Worker + ": " + b.Fault)
		}
		t.see(b.Worker, func(s *seen) { s.task, s.since = b.Task, time.Now().Add(-time.Duration(b.For*float64(time.Second))) })
	}
	return welcome{Session: t.session}
}

// refuse remembers the last reasons.
func (t *Trainer) refuse(why string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if n := len(t.refused); n > 0 && t.refused[n-1] == why {
		return
	}
	t.refused = append(t.refused[max(0, len(t.refused)-9):], why)
}
