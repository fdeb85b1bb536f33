package main

import (
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/finetune"
	"github.com/doob-diffusion/doob/progress"
)

// display turns the events of a run into progress on a terminal.
type display struct {
	view  progress.Display
	seeds int
}

func newDisplay(w *os.File, seeds int) *display {
	return &display{view: progress.New(w, progress.Options{}), seeds: seeds}
}

func (d *display) close() { d.view.Close() }

func (d *display) show(ev experiment.Event) {
	stage := ev.Stage
	if ev.Task != "" {
		stage = ev.Task + " · " + stage
	}
	if d.seeds > 1 {
		stage += fmt.Sprintf(" · seed %d", ev.Seed)
	}
	u := progress.Update{Stage: stage, Done: ev.Done, Total: ev.Total}
	if ev.Loss != nil {
		u.Fields = append(u.Fields, field("loss", *ev.Loss))
	}
	if it := ev.Iteration; it != nil {
		u.Fields = append(u.Fields, field("KL", it.KL), field("ESS", it.ESS), field("acceptance", finetune.Number(it.Acceptance)),
			field("reward", it.Reward), field("loss", finetune.Number(it.Loss)))
	}
	if h := ev.Held; h != nil {
		u.Fields = append(u.Fields, field("L_SC", h.LSC), field("KL", h.KL), field("reward", h.Reward))
	}
	switch r := ev.Result.(type) {
	case *experiment.ToyResult:
		u.Fields = append(u.Fields, field("mode TV", r.ModeTV), field("SW2", r.SW2), field("log Ẑ", r.LogZ), field("KL", r.KL))
	case *experiment.MNISTResult:
		u.Fields = append(u.Fields, field("FID", r.FID), field("accuracy", r.Accuracy), field("reward", r.Reward), field("KL", r.KL))
	case *experiment.SuperResResult:
		u.Fields = append(u.Fields, field("PSNR", r.PSNR), field("residual", r.Residual), field("CRPS", r.CRPS), field("L_SC", r.LSC))
	}
	d.view.Update(u)
}

func field(name string, v finetune.Number) progress.Field {
	if math.IsNaN(float64(v)) {
		return progress.Field{Name: name, Value: "—"}
	}
	return progress.Field{Name: name, Value: strings.ReplaceAll(fmt.Sprintf("%.3g", float64(v)), "-", "−")}
}
