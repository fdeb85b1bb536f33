package textimage

import (
	"fmt"
	"strings"
	"time"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/internal/machine"
	"github.com/doob-diffusion/doob/report"
	"github.com/doob-diffusion/doob/sd"
)

// Plan is what drawing will take.
type Plan struct {
	Title   string
	Rows    []PlanRow
	Memory  float64 // bytes beside those of the process, at the largest of the stages, which follow each other
	Seconds float64 // 0 where the speed was not measured
}

// PlanRow is what one network takes.
type PlanRow struct {
	Name       string
	Parameters float64
	Calls      float64 // evaluations for one row
	Products   float64 // of all calls
	Memory     float64 // bytes, of parameters and of what is computed
	Seconds    float64
}

// NewPlan checks a request as [Generate] does, and says what it will take. The time is that of as many products at the speed of large ones on the backend,
// which is measured; nothing is written.
func NewPlan(g Generation) (*Plan, error) {
	d, err := g.open()
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
	}
	p := d.plan()
	e, err := engine.Open(g.Backend)
	if err != nil {
		return nil, err
	}
	speed, err := productsPerSecond(e)
	if err != nil {
		return nil, err
	}
	for i, r := range p.Rows {
		p.Rows[i].Seconds = r.Products / speed
		p.Seconds += p.Rows[i].Seconds
	}
	return p, nil
}

// plan counts.
func (d *drawing) plan() *Plan {
	const bytes = 4 // of a number
	row := func(name string, network map[string][]int, calls float64, rows int, c sd.Cost, want func(string) bool) PlanRow {
		r := PlanRow{Name: name, Calls: calls, Products: calls * c.Products}
		for tensor, shape := range network {
			if want == nil || want(tensor) {
				r.Parameters += float64(engine.Size(shape))
			}
		}
		r.Memory = bytes * (r.Parameters + float64(rows)*c.Activation)
		return r
	}
	f, text, rows := d.folder, sd.Cost{}, 1
	for tensor, shape := range f.Text.Tensors() {
		if len(shape) == 2 && !strings.HasPrefix(tensor, "embeddings.") {
			text.Products += float64(engine.Size(shape) * f.Text.Positions)
		}
	}
	text.Activation = float64(f.Text.Positions * (4*f.Text.Width + f.Text.Intermediate))
	if d.Guidance > 1 {
		rows = 2
	}
	p := &Plan{Title: fmt.Sprintf("doob generate: %d × %dx%d, %d steps, guidance %g", d.N, d.Width, d.Height, d.Steps, d.Guidance)}
	p.Rows = []PlanRow{
		row("text encoder", f.Text.Tensors(), 2, 1, text, nil),
		row("U-Net", f.UNet.Tensors(), float64(d.N*d.Steps*rows), rows, f.UNet.Cost(d.latent[0], d.latent[1], f.Text.Positions), nil),
		row("decoder", f.VAE.Tensors(), float64(d.N), 1, f.VAE.Cost(d.latent[0], d.latent[1]), f.VAE.Drawing),
	}
	for _, a := range d.adapters {
		a.Text = nil
		p.Rows[1].Parameters += float64(a.Parameters())
		p.Rows[1].Memory += bytes * float64(a.Parameters())
	}
	for _, r := range p.Rows {
		p.Memory = max(p.Memory, r.Memory)
	}
	p.Memory += float64(3 * d.N * d.Height * d.Width)
	return p
}

// memory says what is planned and what there is.
func (p *Plan) memory(available float64) string {
	return fmt.Sprintf("it takes about %s, and %s are available", gigabytes(p.Memory), gigabytes(available))
}

// productsPerSecond measures products of large matrices.
func productsPerSecond(e *engine.Engine) (float64, error) {
	const n = 768
	program, err := e.Compile(func(in []*graph.Node) []*graph.Node {
		return []*graph.Node{graph.ReduceAllSum(graph.MatMul(in[0], graph.AddScalar(in[0], 1)))}
	})
	if err != nil {
		return 0, err
	}
	x := engine.Rows(make([]float32, n*n), n)
	var best time.Duration
	for i := range 4 { // the first one compiles
		start := time.Now()
		if _, err := program.Run(x); err != nil {
			return 0, err
		}
		if took := time.Since(start); i == 1 || i > 1 && took < best {
			best = took
		}
	}
	return n * n * n / max(best.Seconds(), 1e-6), nil
}

// Table is the plan for people.
func (p *Plan) Table() report.Table {
	t := report.Table{Columns: []report.Column{{Name: "network"}, {Name: "parameters", Right: true}, {Name: "calls", Right: true}, {Name: "products", Right: true},
		{Name: "memory", Right: true}, {Name: "about", Right: true}}}
	for _, r := range p.Rows {
		t.Rows = append(t.Rows, []string{r.Name, fmt.Sprintf("%.2f M", r.Parameters/1e6), fmt.Sprint(r.Calls), fmt.Sprintf("%.3g G", r.Products/1e9), gigabytes(r.Memory), duration(r.Seconds)})
	}
	t.Notes = []string{
		fmt.Sprintf("About %s of memory, beside the %s of the program: the networks follow each other.", gigabytes(p.Memory), gigabytes(machine.Resident())),
		fmt.Sprintf("About %s at the speed of large matrix products on this machine, and at least that. Nothing was written.", duration(p.Seconds)),
	}
	return t
}

func gigabytes(bytes float64) string {
	if bytes < 1e8 {
		return fmt.Sprintf("%.1f MB", bytes/1e6)
	}
	return fmt.Sprintf("%.2f GB", bytes/1e9)
}

func duration(seconds float64) string {
	if seconds < 10 {
		return fmt.Sprintf("%.1fs", seconds)
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
