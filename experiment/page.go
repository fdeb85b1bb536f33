package experiment

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/doob-diffusion/doob/report"
)

// page writes report.html, with the figures of the problem.
func (r *run) page(ctx context.Context, l *Lab, rep *Report) error {
	table := rep.Table()
	figures, err := r.problem.Figures(ctx, l, rep)
	if err != nil {
		return err
	}
	training, err := r.trainingSection(rep)
	if err != nil {
		return err
	}
	certificates := rep.certificateTable()
	sections := slices.Concat([]report.Section{{Heading: "Methods", Table: &table}}, figures, []report.Section{{Heading: "Certificates", Table: &certificates}}, training,
		[]report.Section{{Heading: "Configuration", Pre: r.config}})
	seeds := fmt.Sprintf("seed %d", rep.Seed)
	if rep.Seeds > 1 {
		seeds = fmt.Sprintf("seeds %d to %d", rep.Seed, rep.Seed+uint64(rep.Seeds)-1)
	}
	subtitle := fmt.Sprintf("doob run %s · %s · %s", rep.Experiment, seeds, duration(rep.Seconds))
	if r.data.Name != "" {
		subtitle = fmt.Sprintf("doob run %s · %s · %s · %s", rep.Experiment, r.data.Name, seeds, duration(rep.Seconds))
	}
	return report.HTML(r.folder.File("report.html"), report.Document{Title: r.problem.Title(), Subtitle: subtitle,
		Sections: sections})
}

func duration(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
