package main

import (
	"os"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/progress"
)

// display turns the events of a run into progress on a terminal.
type display struct{ view progress.Display }

func newDisplay(w *os.File) *display { return &display{progress.New(w, progress.Options{})} }

func (d *display) close() { d.view.Close() }

func (d *display) show(ev experiment.Event) {
	if ev.Warning != "" {
		d.view.Log("doob: warning: " + ev.Warning)
		return
	}
	if ev.Stage == "" || (ev.Result != nil || ev.Picture != "") && len(ev.Fields()) == 0 { // the end of a training has been told
		return
	}
	u := progress.Update{Stage: ev.Title(), Done: ev.Done, Total: ev.Total}
	for _, f := range ev.Fields() {
		u.Fields = append(u.Fields, progress.Field{Name: f[0], Value: f[1]})
	}
	d.view.Update(u)
}
