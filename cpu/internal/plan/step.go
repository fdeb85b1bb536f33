package plan

import "github.com/gomlx/compute"

// Step is one unit of execution: it reads the memory of In and writes that of Out. No value in In or Out is a view.
type Step struct {
	Op      any // one of the types below, Named or External
	In, Out []*Value

	position int
}

// Operand is a value as a step reads it, with the axes of the step. The memory is In[Input] of the step.
type Operand struct {
	Input   int
	Offset  int
	Dims    []int
	Strides []int
}

// Product is a batch of matrix products, Out[b] = A[b]·B[b] + bias + residual with A [M,K] and B [K,N], or their
// transposes in memory. In holds A, B and what Bias and Residual name. B may have 16 bits if TransA is not set.
type Product struct {
	M, N, K        int
	TransA, TransB bool
	OffA, OffB     int
	LDA, LDB       int
	Batch          []BatchAxis
	Bias, Residual int // index into In, or 0
}

// BatchAxis is one batch axis of a product and its strides in A, B and the result.
type BatchAxis struct{ Size, A, B, C int }

// Pass says which of a convolution's three products a step computes.
type Pass int

// Forward takes x, w to y; InputGrad takes dy, w to dx; KernelGrad takes x, dy to dw.
const (
	Forward Pass = iota
	InputGrad
	KernelGrad
)

// Convolution is one pass of a two-dimensional convolution of x [Batch,H,W,Ci] with w [Kh,Kw,Ci,Co], which may have 16 bits.
type Convolution struct {
	Pass                 Pass
	Batch, H, W, Ci      int
	Kh, Kw, Co           int
	StrideH, StrideW     int
	DilationH, DilationW int
	PadTop, PadBottom    int
	PadLeft, PadRight    int
	Bias, Residual       int // index into In, or 0; of the forward pass
	outH, outW           int
}

// Reduction reduces the middle axis of [Outer, Reduce, Inner].
type Reduction struct {
	Op                   compute.OpType // ReduceSum, ReduceMax or ReduceMin
	Outer, Reduce, Inner int
}

// Copy writes regions of its result, after filling it with Fill if that is not nil.
type Copy struct {
	Fill    *Operand // a single element
	Regions []Region
}

// Region copies In[From.Input], seen with From's strides, to the elements of the result at the given strides.
type Region struct {
	From     Operand
	ToOffset int
	To       []int
}

// Lookup copies rows of In[0], [Rows, Width], to those of the result: the ones whose numbers are in In[1], the nearest that
// there are.
type Lookup struct{ Rows, Width int }

// SoftmaxRows is the softmax of every row of [Rows, Width].
type SoftmaxRows struct{ Rows, Width int }

// Program is what [Lower] makes of a graph.
type Program struct {
	Params, Outs []*Value // Outs are not views
	Steps        []*Step
}
