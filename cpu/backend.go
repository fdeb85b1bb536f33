package cpu

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/compute/shapes"

	"github.com/doob-diffusion/doob/cpu/internal/exec"
	"github.com/doob-diffusion/doob/cpu/internal/kern"
	"github.com/doob-diffusion/doob/cpu/internal/pool"
)

// Name is the name with which the backend is registered.
const Name = "cpu"

func init() {
	compute.Register(Name, func(config string) (compute.Backend, error) { return New(config) })
}

var _ compute.Backend = (*Backend)(nil)

// Backend implements [compute.Backend].
type Backend struct {
	table     *kern.Table
	pool      *pool.Pool
	direct    bool
	rounds    bool            // option bf16
	stock     compute.Backend // infers shapes and runs what has no kernel
	memory    recycler
	finalized bool

	workspaces workspaces
}

// New returns a backend with the given configuration, see the package's documentation.
func New(config string) (*Backend, error) {
	b := &Backend{}
	workers := 0
	for option := range strings.SplitSeq(config, ",") {
		key, value, _ := strings.Cut(option, "=")
		var err error
		switch {
		case option == "":
		case key == "workers":
			if workers, err = strconv.Atoi(value); err != nil || workers < 1 {
				return nil, fmt.Errorf("cpu: workers=%s: a number of threads is wanted", value)
			}
		case option == "direct":
			b.direct = true
		case option == "bf16":
			b.rounds = true
		default:
			if b.table, err = kern.Named(option); err != nil {
				return nil, err
			}
		}
	}
	if b.table == nil {
		var err error
		if b.table, err = kern.Default(); err != nil {
			return nil, err
		}
	}
	if b.rounds && b.table.Brain == nil {
		return nil, fmt.Errorf("cpu: bf16: instruction set %s has no products of bfloat16 here: they need avx512 on a processor with AVX512_BF16; without the option, weights in bfloat16 are widened", b.table.Name)
	}
	var err error
	// One operation at a time: its operations wait for each other's threads otherwise, sometimes for ever.
	if b.stock, err = gobackend.New("ops_sequential"); err != nil {
		return nil, fmt.Errorf("cpu: stock backend: %w", err)
	}
	b.pool = pool.New(workers)
	return b, nil
}

// context returns what kernels run with, with scratch memory of its own.
func (b *Backend) context() *kern.Context {
	if b.rounds {
		return kern.NewRoundingContext(b.table, b.pool)
	}
	return kern.NewContext(b.table, b.pool)
}

// Name returns "cpu".
func (b *Backend) Name() string { return Name }

// String returns "cpu".
func (b *Backend) String() string { return Name }

// Description names the instruction set and the number of threads.
func (b *Backend) Description() string {
	return fmt.Sprintf("CPU backend in Go (%s, %d threads)", b.Numerics(), b.pool.Workers())
}

// Numerics names what the last bits of results depend on: the instruction set, and how products are rounded.
func (b *Backend) Numerics() string {
	if b.rounds {
		return b.table.Name + ", products in bfloat16"
	}
	return b.table.Name
}

// NumDevices returns 1.
func (b *Backend) NumDevices() int { return 1 }

// DeviceDescription describes the one device.
func (b *Backend) DeviceDescription(compute.DeviceNum) string { return b.Description() }

// Capabilities are those of the stock backend, without dynamic shapes.
func (b *Backend) Capabilities() compute.Capabilities {
	c := b.stock.Capabilities().Clone()
	c.DynamicAxes = false
	return c
}

// HasKernel reports whether functions of a graph are run by a kernel if their name begins with op and two underscores, such
// as group_norm__g32__e3727c5ac__s1__n7. Any other is run operation by operation: naming it would gain nothing.
func (b *Backend) HasKernel(op string) bool { return exec.Knows(op) }

// Builder starts a computation.
func (b *Backend) Builder(name string) compute.Builder { return newBuilder(b, name) }

// Finalize stops the threads.
func (b *Backend) Finalize() {
	if !b.finalized {
		b.finalized = true
		b.pool.Close()
	}
}

// IsFinalized reports whether Finalize was called.
func (b *Backend) IsFinalized() bool { return b.finalized }

// HasSharedBuffers returns true: buffers are Go memory.
func (b *Backend) HasSharedBuffers() bool { return true }

// NewSharedBuffer returns a buffer and the flat slice that is its memory.
func (b *Backend) NewSharedBuffer(device compute.DeviceNum, shape shapes.Shape) (compute.Buffer, any, error) {
	if device != 0 {
		return nil, nil, fmt.Errorf("cpu: device %d: there is only device 0", device)
	}
	buffer := b.newBuffer(shape)
	return buffer, buffer.flat, nil
}

// BufferFromFlatData copies a flat slice into a new buffer.
func (b *Backend) BufferFromFlatData(device compute.DeviceNum, flat any, shape shapes.Shape) (compute.Buffer, error) {
	buffer, mine, err := b.NewSharedBuffer(device, shape)
	if err != nil {
		return nil, err
	}
	return buffer, copyFlat(mine, flat)
}
