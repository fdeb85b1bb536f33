package sd

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"
	"github.com/gomlx/gomlx/ml/model"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/lora"
	"github.com/doob-diffusion/doob/noise"
)

// AttentionMaps are the linear maps of all attention layers of a U-Net, those that adapters mostly change.
var AttentionMaps = []string{"to_q", "to_k", "to_v", "to_out.0"}

// LowRank changes linear maps of a network, and its convolutions of kernel 1×1, by a product of two small matrices each (Hu et al. 2021):
//
//	y = W·x + b + B·(A·x)
//
// with A [rank, in] and B [out, rank]. There is no scale: alpha is the rank, which all programs take for a scale of 1, and that of a file is in its B.
// [NewLowRank] and [LoadLowRank] make one.
type LowRank struct {
	// Scope has the parameters, MODULE.lora_A and MODULE.lora_B.
	Scope *model.Scope
	// Modules are the names of what is changed, sorted.
	Modules []string

	shapes map[string][]int // of the tensors that are changed, by MODULE
}

const halfA, halfB = ".lora_A", ".lora_B"

// NewLowRank creates parameters in a scope: B = 0, so that nothing is changed, and A uniform in ±1/√in, as PEFT has it. Network has the shapes of its tensors,
// such as [UNet.Tensors]. Targets are what names of modules end in, after a dot, such as [AttentionMaps]. A parameter depends on key and name only.
func NewLowRank(s *model.Scope, network map[string][]int, rank int, targets []string, key noise.Key) (LowRank, error) {
	if rank < 1 {
		return LowRank{}, fmt.Errorf("sd: an adapter of rank %d: want at least 1", rank)
	}
	l, err := LowRankOf(s, network, targets)
	if err != nil {
		return LowRank{}, err
	}
	pairs := map[string]lora.Pair{}
	for module, shape := range l.shapes {
		out, in := shape[0], shape[1]
		p := lora.Pair{Rank: rank, In: in, Out: out, Scale: 1, A: make([]float32, rank*in), B: make([]float32, out*rank)}
		own, bound := key.Sub(module), 1/math.Sqrt(float64(in))
		for i := range p.A {
			p.A[i] = float32(bound * (2*own.Uniform(uint64(i), 0) - 1))
		}
		pairs[module] = p
	}
	return LoadLowRank(s, network, pairs)
}

// LowRankOf describes what [NewLowRank] makes of these targets, with its parameters in a scope or yet to be made there.
func LowRankOf(s *model.Scope, network map[string][]int, targets []string) (LowRank, error) {
	l := LowRank{Scope: s, shapes: map[string][]int{}}
	for _, target := range targets {
		found := false
		for tensor, shape := range network {
			module, ok := strings.CutSuffix(tensor, ".weight")
			if !ok || module != target && !strings.HasSuffix(module, "."+target) {
				continue
			}
			if !isMap(shape) {
				return LowRank{}, fmt.Errorf("sd: %s has shape %v, and adapters change linear maps and convolutions of kernel 1×1: want other targets than %q", tensor, shape, target)
			}
			found = true
			l.shapes[module] = shape
		}
		if !found {
			return LowRank{}, fmt.Errorf("sd: no module is named %q, alone or after a dot: want such as %s", target, strings.Join(AttentionMaps, ", "))
		}
	}
	l.Modules = slices.Sorted(maps.Keys(l.shapes))
	return l, nil
}

// LoadLowRank creates parameters in a scope from pairs, such as [lora.Adapter.UNet], of one rank or of several.
func LoadLowRank(s *model.Scope, network map[string][]int, pairs map[string]lora.Pair) (LowRank, error) {
	if len(pairs) == 0 {
		return LowRank{}, errors.New("sd: an adapter that changes no module: want at least one")
	}
	l := LowRank{Scope: s, Modules: slices.Sorted(maps.Keys(pairs)), shapes: map[string][]int{}}
	for _, module := range l.Modules {
		shape, ok := network[module+".weight"]
		p := pairs[module]
		if !ok || !isMap(shape) || shape[0] != p.Out || shape[1] != p.In {
			return LowRank{}, fmt.Errorf("%w: it changes a map %s [%d, %d], and the model has %v there", lora.ErrModel, module, p.Out, p.In, shape)
		}
		l.shapes[module] = shape
		for name, value := range factors(p) {
			if _, err := s.CreateVariable(module+name, value); err != nil {
				return LowRank{}, fmt.Errorf("sd: adapter: %w", err)
			}
		}
	}
	return l, nil
}

// isMap reports whether a tensor is a linear map or a convolution of kernel 1×1.
func isMap(shape []int) bool {
	return len(shape) == 2 || len(shape) == 4 && shape[2] == 1 && shape[3] == 1
}

// factors returns A, and B with the scale, by the ends of their names.
func factors(p lora.Pair) map[string]*tensors.Tensor {
	b := make([]float32, len(p.B))
	for i, v := range p.B {
		b[i] = float32(p.Scale * float64(v))
	}
	return map[string]*tensors.Tensor{halfA: tensors.FromFlatDataAndDimensions(slices.Clone(p.A), p.Rank, p.In), halfB: tensors.FromFlatDataAndDimensions(b, p.Out, p.Rank)}
}

// Addition returns B·(A·x) for a module that is changed, else nil: what [Modules.Adding] takes.
func (l LowRank) Addition(module string, x *graph.Node) *graph.Node {
	if _, ok := slices.BinarySearch(l.Modules, module); !ok {
		return nil
	}
	for _, half := range []string{halfA, halfB} {
		v := l.variable(module, half)
		x = graph.DotGeneral(x, []int{1}, nil, graph.ConvertDType(engine.Parameter(v, x), x.DType()), []int{1}, nil)
	}
	return x
}

func (l LowRank) variable(module, half string) *model.Variable {
	v := l.Scope.GetVariable(module + half)
	if v == nil {
		panic(fmt.Errorf("sd: no parameter %s below %s: want the scope of NewLowRank, or of averages that training has made", module+half, l.Scope.Scope()))
	}
	return v
}

// Parameters returns the parameters, sorted by path.
func (l LowRank) Parameters() (all []*model.Variable) {
	for _, module := range l.Modules {
		all = append(all, l.variable(module, halfA), l.variable(module, halfB))
	}
	slices.SortFunc(all, func(a, b *model.Variable) int { return strings.Compare(a.Path(), b.Path()) })
	return all
}

// Within returns the same change with its parameters in another scope, such as that of their averages.
func (l LowRank) Within(place func(*model.Scope) *model.Scope) LowRank {
	l.Scope = place(l.Scope)
	return l
}

// Pairs returns the parameters, as an adapter that can be saved has them.
func (l LowRank) Pairs() (map[string]lora.Pair, error) {
	pairs := map[string]lora.Pair{}
	for _, module := range l.Modules {
		shape := l.shapes[module]
		p := lora.Pair{In: shape[1], Out: shape[0], Scale: 1, Convolution: len(shape) == 4}
		for half, to := range map[string]*[]float32{halfA: &p.A, halfB: &p.B} {
			value, err := l.variable(module, half).Value()
			if err == nil {
				*to, err = tensors.CopyFlatData[float32](value)
			}
			if err != nil {
				return nil, fmt.Errorf("sd: adapter: %s%s: %w", module, half, err)
			}
		}
		p.Rank = len(p.A) / p.In
		pairs[module] = p
	}
	return pairs, nil
}
