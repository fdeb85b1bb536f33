package textimage

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
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
	e, err := engine.Open(g.Backend)
	if err != nil {
		return nil, err
	}
	p, err := d.plan(e)
	if err != nil {
		return nil, fmt.Errorf("generate: %w", err)
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

// plan counts, and compiles the networks for what memory they take: their weights are declared and not read.
func (d *drawing) plan(e *engine.Engine) (*Plan, error) {
	f, rows := d.folder, 1
	if d.Guidance > 1 {
		rows = 2
	}
	var text float64
	for tensor, shape := range f.Text.Tensors() {
		if len(shape) == 2 && !strings.HasPrefix(tensor, "embeddings.") {
			text += float64(engine.Size(shape) * f.Text.Positions)
		}
	}
	floats := func(dims ...int) shapes.Shape { return shapes.Make(dtypes.Float32, dims...) }
	latent := d.latent
	p := &Plan{Title: fmt.Sprintf("doob generate: %d × %dx%d, %d steps, guidance %g", d.N, d.Width, d.Height, d.Steps, d.Guidance)}
	for _, part := range []struct {
		name     string
		open     func() (*sd.Weights, error)
		want     func(string) bool
		calls    float64
		products float64
		apply    func(m sd.Modules, in []*graph.Node) *graph.Node
		inputs   []shapes.Shape
	}{
		{"text encoder", f.TextWeights, nil, 2, text, func(m sd.Modules, in []*graph.Node) *graph.Node { return f.Text.Apply(m, in[0], 0) },
			[]shapes.Shape{shapes.Make(dtypes.Int32, 1, f.Text.Positions)}},
		{"U-Net", f.UNetWeights, nil, float64(d.N * d.Steps * rows), f.UNet.Products(latent[0], latent[1], f.Text.Positions),
			func(m sd.Modules, in []*graph.Node) *graph.Node { return f.UNet.Apply(m, in[0], in[1], in[2]) },
			[]shapes.Shape{floats(append([]int{rows}, latent...)...), shapes.Make(dtypes.Int32, 1), floats(rows, f.Text.Positions, f.Text.Width)}},
		{"decoder", f.VAEWeights, f.VAE.Drawing, float64(d.N), f.VAE.Products(latent[0], latent[1]),
			func(m sd.Modules, in []*graph.Node) *graph.Node { return f.VAE.Decode(m, in[0]) }, []shapes.Shape{floats(append([]int{1}, latent...)...)}},
	} {
		row := PlanRow{Name: part.name, Calls: part.calls, Products: part.calls * part.products}
		w, err := part.open()
		if err != nil {
			return nil, err
		}
		for _, tensor := range w.Names() {
			if part.want == nil || part.want(tensor) {
				row.Parameters += float64(engine.Size(w.Shape(tensor)))
			}
		}
		own := e.Fork()
		m, err := w.Declare(own.Scope("/planned"), part.want)
		if err = errors.Join(err, w.Close()); err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		memory, err := own.Memory(func(in []*graph.Node) []*graph.Node { return []*graph.Node{part.apply(m, in)} }, part.inputs...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", part.name, err)
		}
		row.Memory = float64(memory.Total())
		p.Rows = append(p.Rows, row)
	}
	for _, a := range d.adapters {
		a.Text = nil
		p.Rows[1].Parameters += float64(a.Parameters())
		p.Rows[1].Memory += 4 * float64(a.Parameters())
	}
	for _, r := range p.Rows {
		p.Memory = max(p.Memory, r.Memory)
	}
	p.Memory += float64(3 * d.N * d.Height * d.Width)
	return p, nil
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
