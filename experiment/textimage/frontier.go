package textimage

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/report"
)

// frontier shows, for every prompt, what methods trade of diversity for reward where they are fine-tuned to several multiples of it; nil where all are to one.
func (p *Problem) frontier(path string, rep *experiment.Report) (*report.Section, error) {
	var charts []report.Chart
	traded := false
	for _, task := range p.Tasks() {
		series, several := p.trade(task, rep)
		charts = append(charts, report.Chart{Title: p.prompt(task) + " Reward", XLabel: "diversity", Series: series})
		traded = traded || several
	}
	if !traded {
		return nil, nil
	}
	if err := report.Charts(path, min(2, len(charts)), charts); err != nil {
		return nil, fmt.Errorf("frontier: %w", err)
	}
	return &report.Section{Heading: "Reward against diversity", Images: []report.Image{{Path: path,
		Caption: "Each line is one method, fine-tuned to rising multiples of the reward; up and to the right is better. Bands are standard errors of the reward."}}}, nil
}

// trade returns a line of diversity and reward for every method on a prompt, in the order of the multiples of the reward that its variants are fine-tuned to, and
// whether any method has several.
func (p *Problem) trade(task string, rep *experiment.Report) (lines []report.Series, several bool) {
	type point struct{ factor, diversity, reward, se float64 }
	var order []string // of methods
	points := map[string][]point{}
	for _, name := range rep.Order {
		of, factor := p.Factored(name)
		r, ok := rep.Tasks[task][name]
		if !ok {
			continue
		}
		if _, ok := points[of]; !ok {
			order = append(order, of)
		}
		points[of] = append(points[of], point{factor, r["diversity"].Value, r["reward"].Value, r["reward"].SE})
	}
	for _, of := range order {
		s := report.Series{Name: cmp.Or(rep.Titles[of], p.Method(of).About().Title)}
		slices.SortFunc(points[of], func(a, b point) int { return cmp.Compare(a.factor, b.factor) })
		for _, q := range points[of] {
			s.X, s.Y, s.Err = append(s.X, q.diversity), append(s.Y, q.reward), append(s.Err, q.se)
			several = several || q.factor != points[of][0].factor
		}
		lines = append(lines, s)
	}
	return lines, several
}
