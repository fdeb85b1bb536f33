// Package engine is the one place where doob meets its tensor library: it opens a backend, holds the parameters of a
// run, compiles graph functions, and counts the network evaluations that they make.
//
// Everything above builds graphs and calls [Program.Run]; nothing else opens a backend or executes a graph, so another
// backend is swapped in here and nowhere else.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/cpu"
)

// ErrUnknownBackend says that no backend of the given name is compiled in.
var ErrUnknownBackend = errors.New("unknown backend")

// Default is the backend that Open takes when none is named: package cpu.
const Default = cpu.Name

// openers has every backend that is compiled in. What follows a colon in a backend's name is its configuration.
var openers = map[string]func(config string) (compute.Backend, error){
	cpu.Name: func(config string) (compute.Backend, error) { return cpu.New(config) },
	// One operation at a time: run in parallel, matrix products that each hold a worker while they wait for another one
	// can take all workers and stop for ever (seen with the pinned version). Each keeps the processors busy instead.
	gobackend.BackendName: func(config string) (compute.Backend, error) {
		if config != "" {
			return nil, fmt.Errorf("the stock backend is used without options, got %q", config)
		}
		return gobackend.New("ops_sequential")
	},
}

// Backends lists the names that [Open] accepts, the default first.
func Backends() []string {
	names := slices.Sorted(maps.Keys(openers))
	return append([]string{Default}, slices.DeleteFunc(names, func(name string) bool { return name == Default })...)
}

// Engine is a backend with the parameters of one run. Programs compiled by it share both.
type Engine struct {
	// Name is the backend's specification as given to Open.
	Name string
	// Params holds the variables of every network of the run, by path.
	Params *model.Store

	backend compute.Backend
	calls   atomic.Int64
	paths   atomic.Int64
}

// Open returns an engine on the named backend with no parameters. An empty name means [Default]; a name may be followed
// by a colon and the backend's own configuration, as in "cpu:avx2,workers=1".
func Open(name string) (*Engine, error) {
	if name == "" {
		name = Default
	}
	kind, config, _ := strings.Cut(name, ":")
	open, ok := openers[kind]
	if !ok {
		return nil, fmt.Errorf("engine: %w %q: this build has %s", ErrUnknownBackend, name, strings.Join(Backends(), ", "))
	}
	backend, err := open(config)
	if err != nil {
		return nil, fmt.Errorf("engine: open backend %q: %w", name, err)
	}
	return newEngine(name, backend), nil
}

// Describe returns the backend's own description, such as its instruction set and number of threads.
func (e *Engine) Describe() string { return e.backend.Description() }

// Numerics names what the last bits of results depend on, as far as the backend tells it apart from the rest of its description.
func (e *Engine) Numerics() string {
	if b, ok := e.backend.(interface{ Numerics() string }); ok {
		return b.Numerics()
	}
	return e.Describe()
}

// Fork returns an engine on the same backend, without parameters and with counters at zero. Its programs use the networks
// of e as they are: nothing is copied, and what changes there changes for the fork. What the fork creates is its own.
func (e *Engine) Fork() *Engine {
	return newEngine(e.Name, e.backend)
}

func newEngine(name string, backend compute.Backend) *Engine {
	e := &Engine{Name: name, Params: model.NewStore(), backend: backend}
	e.Params.SetParam(backendKey, backend)
	return e
}

// Scope returns the parameter scope at an absolute path such as "/base".
func (e *Engine) Scope(path string) *model.Scope { return e.Params.Scope(path) }

// NetworkCalls returns how many times a network was evaluated on one sample so far: forward evaluations of the base
// model and of controls, in sampling and in training. Backward passes are not counted, but for those of [CountBackward].
func (e *Engine) NetworkCalls() int64 { return e.calls.Load() }

// CountPaths records that n paths were simulated.
func (e *Engine) CountPaths(n int) { e.paths.Add(int64(n)) }

// Recount sets both counters: to those of a run that is resumed, or back over work that shall not count.
func (e *Engine) Recount(paths, networkCalls int64) {
	e.paths.Store(paths)
	e.calls.Store(networkCalls)
}

// Paths returns how many paths were simulated so far.
func (e *Engine) Paths() int64 { return e.paths.Load() }

// A Program is a graph function, compiled once per combination of input shapes.
type Program struct {
	engine *Engine
	exec   *model.Exec
}

// Compile makes a program of a graph function. The function runs at the first call of every new input shape; what
// it panics with is returned as the error of that call.
func (e *Engine) Compile(fn func(inputs []*graph.Node) []*graph.Node) (*Program, error) {
	exec, err := model.NewExec(e.backend, e.Params, func(_ *model.Scope, inputs []*graph.Node) []*graph.Node {
		defer func() {
			// GoMLX returns only panics that are errors and lets others, such as strings, end the process.
			switch r := recover().(type) {
			case nil:
			case error:
				panic(r)
			default:
				panic(fmt.Errorf("%v", r))
			}
		}()
		return fn(inputs)
	})
	if err != nil {
		return nil, fmt.Errorf("engine: compile: %w", err)
	}
	return &Program{engine: e, exec: exec}, nil
}

// Run executes the program. Inputs are tensors, Go slices or scalars.
func (p *Program) Run(inputs ...any) ([]*tensors.Tensor, error) { return p.RunPadded(1, 1, inputs...) }

// RunPadded is Run on inputs of which only rows of total are wanted: only those count as network calls.
func (p *Program) RunPadded(rows, total int, inputs ...any) ([]*tensors.Tensor, error) {
	inputs = slices.Clone(inputs)
	for i, x := range inputs {
		if flat, ok := x.([]float32); ok { // GoMLX would look at every element for its shape
			inputs[i] = tensors.FromFlatDataAndDimensions(flat, len(flat))
		}
	}
	out, g, err := p.exec.CallWithGraph(inputs...)
	if err != nil {
		return nil, fmt.Errorf("engine: run: %w", err)
	}
	if n, ok := g.State(callsKey{}).(int64); ok {
		p.engine.calls.Add(n * int64(rows) / int64(total))
	}
	return out, nil
}

// Map runs a program of one input [batch, shape…] and one output [batch, …] over n rows, in batches of one size of which
// the last is padded with zeros, and returns the rows of the output. Fewer rows than a batch are padded too: kernels choose
// the order of their sums by shapes, so another size could change the last bits. It stops with the context's error between
// batches.
func (p *Program) Map(ctx context.Context, x []float32, n, batch int, shape ...int) ([]float32, error) {
	dim := Size(shape)
	var out []float32
	rows := make([]float32, batch*dim)
	for lo := 0; lo < n; lo += batch {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		hi := min(lo+batch, n)
		clear(rows[copy(rows, x[lo*dim:hi*dim]):])
		result, err := p.RunPadded(hi-lo, batch, Rows(rows, shape...))
		if err != nil {
			return nil, err
		}
		width := result[0].Size() / batch
		values := make([]float32, (hi-lo)*width)
		if err := Floats(values, result[0]); err != nil {
			return nil, err
		}
		out = append(out, values...)
	}
	return out, nil
}

// Each calls fn(0) … fn(n−1), several at a time: small programs and those of the stock backend keep little more than one
// core busy, so independent batches take the others.
func (e *Engine) Each(n int, fn func(i int)) {
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				fn(i)
			}
		})
	}
	wait.Wait()
}

type callsKey struct{}

// CountCall records, while a graph is built, that one network is evaluated there on every row of x. Each execution of
// the graph then adds the rows to [Engine.NetworkCalls]: calls are counted where they happen, not computed from settings.
func CountCall(x *graph.Node) {
	n, _ := x.Graph().State(callsKey{}).(int64)
	x.Graph().AttachState(callsKey{}, n+int64(x.Shape().Dimensions[0]))
}

// CountBackward calls evaluate, which builds a part of g, and counts every call of a network in it twice more: for a backward pass
// through it, that takes about as long as two calls. What training takes to differentiate its loss is not counted so.
func CountBackward(g *graph.Graph, evaluate func()) {
	before, _ := g.State(callsKey{}).(int64)
	evaluate()
	after, _ := g.State(callsKey{}).(int64)
	g.AttachState(callsKey{}, after+2*(after-before))
}

// Rows wraps row-major data as a tensor [len(data)/width, shape...], width being the product of shape.
func Rows(data []float32, shape ...int) *tensors.Tensor {
	return tensors.FromFlatDataAndDimensions(data, append([]int{len(data) / Size(shape)}, shape...)...)
}

// Size returns the number of elements of a shape.
func Size(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// Floats copies the values of a float32 tensor into dst and frees the tensor.
func Floats(dst []float32, t *tensors.Tensor) error {
	defer t.FinalizeAll()
	return tensors.ConstFlatData(t, func(flat []float32) { copy(dst, flat) })
}
