package textimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/doob-diffusion/doob/experiment"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/method"
	"github.com/doob-diffusion/doob/report"
)

// shown is the number of pictures in a row of a figure, at most.
const shown = 10

// Title implements [experiment.Problem].
func (p *Problem) Title() string {
	if p.small() {
		return "Text to image, in a small world"
	}
	return "Text to image"
}

// Alike implements [experiment.Problem].
func (*Problem) Alike() []string { return []string{"model", "guidance_scale", "reward_scale"} }

// Describe implements [experiment.Problem].
func (p *Problem) Describe(l *experiment.Lab) map[string]any {
	name := p.parts.model
	if p.small() && p.World == "" { // where it was extracted to is of no interest
		name = filepath.Base(filepath.Dir(name))
	}
	out := map[string]any{"model": name, "guidance_scale": p.Guidance, "reward_scale": p.Scale, "prompts": p.Prompts}
	if p.Temper.On() {
		scales := map[string]float64{}
		for _, task := range p.Tasks() {
			scales[task] = p.Scale * l.Factor(task)
		}
		out["reward_scale"] = scales
	}
	return out
}

// Notes implements [experiment.Problem].
func (p *Problem) Notes(rep *experiment.Report) []string {
	notes := []string{fmt.Sprintf("Diversity is 1 less the mean cosine of CLIP's embeddings, over all pairs of %d pictures; of right ones over those that show what the prompt says.", p.Samples)}
	for _, w := range p.warnings {
		notes = append(notes, "Of the judges: "+w+".")
	}
	if p.parts.heldOut != "" || p.small() {
		notes = append(notes, "Held-out is a preference model of other comparisons, that nothing is trained on: where it falls and the reward rises, the reward is over-optimised.")
	}
	if p.small() {
		notes = append(notes, "Success is the share of pictures that show all that the prompt says, by a checker that no method knows.")
	}
	if rep != nil && rep.Methods["resampled"] != nil {
		notes = append(notes, "Base model, resampled: base samples drawn again in proportion to exp(r), the tilted law itself if there are many.")
	}
	if rep != nil && rep.Methods["adjoint_matching"] != nil {
		notes = append(notes, "Adjoint matching learns the same adapter as the others, by the same optimiser and from the steps that are sampled with; its authors train the whole U-Net,"+
			" with β of their own, and one batch in five for the empty text. A backward pass for an adjoint counts as two calls.")
	}
	if rep != nil && rep.Methods["dpok"] != nil {
		notes = append(notes, "DPOK as its authors run it: a ratio that is clamped and no more, and the mean square of ε_h as KL. Its value network sees no text, since every prompt is a task of its own; the rate falls, as that of all methods.")
	}
	if rep != nil && rep.Methods["dpok_gaussian"] != nil {
		notes = append(notes, "DPOK, Gaussian KL: with the KL of the steps' normal laws, which weighs as in the loss of online fine-tuning.")
	}
	return notes
}

// Figures implements [experiment.Problem]: of every prompt, pictures of all methods of the same noise. And it saves what was learned as adapters.
func (p *Problem) Figures(ctx context.Context, l *experiment.Lab, rep *experiment.Report) (sections []report.Section, err error) {
	frontier, err := p.frontier(l.Figure("frontier.png"), rep)
	if err != nil {
		return nil, err
	}
	if frontier != nil {
		sections = append(sections, *frontier)
	}
	height, width := p.size()
	n := min(shown, p.Samples) // who asks for few samples of a large model does not wait for more
	for _, task := range p.Tasks() {
		var rows []report.GridRow
		for _, name := range rep.Order {
			s, err := l.Again(ctx, task, name, n)
			if err != nil {
				return nil, err
			}
			pictures, err := p.draw(ctx, s.X, n)
			if err != nil {
				return nil, err
			}
			rows = append(rows, report.GridRow{Label: rep.Titles[name], Images: pictures})
			if err := p.export(ctx, l, task, name); err != nil {
				return nil, err
			}
		}
		path := l.Figure(task + ".png")
		if err := report.SampleGrid(path, rows, height, width, 3); err != nil {
			return nil, err
		}
		sections = append(sections, report.Section{Heading: p.prompt(task), Images: []report.Image{{Path: path, Caption: "The same noise in every column, but where samples are selected."}}})
	}
	return sections, nil
}

// export saves what a method has learned as an adapter that other programs read, in the folder lora of the run.
func (p *Problem) export(ctx context.Context, l *experiment.Lab, task, name string) error {
	m := p.Method(name)
	if m == nil || !method.Learns(m) {
		return nil
	}
	h, _, err := l.Learned(ctx, task, name, 1)
	if err != nil {
		return err
	}
	adapter, err := h.(interface{ Adapter() (lora.Adapter, error) }).Adapter()
	if err != nil {
		return err
	}
	dir := filepath.Join(filepath.Dir(filepath.Dir(l.Figure("x"))), "lora")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	return adapter.Save(filepath.Join(dir, task+"_"+name+".safetensors"), lora.Diffusers)
}
