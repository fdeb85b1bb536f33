// Package noise draws random numbers from counters instead of from state.
//
// A draw is a pure function of (key, path, step, index), so path i of a simulation is the same whatever the batch it
// runs in, the thread that runs it, or the machine. Keys form a tree: one seed at the root, one sub-key for every
// purpose, so that two purposes never share numbers and adding a draw to one never shifts another.
//
// The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
package noise

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/bits"
	"math/rand/v2"
	"strconv"
)

// Key names one stream of random numbers. The zero Key is valid and differs from New(0).
type Key struct{ hi, lo uint32 }

// New returns the root key of a seed.
func New(seed uint64) Key { return Key{}.mix(seed) }

// Sub returns the key of a named purpose under k.
func (k Key) Sub(purpose string) Key {
	h := fnv.New64a()
	h.Write([]byte(purpose))
	return k.mix(h.Sum64())
}

// At returns the i-th numbered sub-key of k, for an iteration or a repetition.
func (k Key) At(i int) Key { return k.mix(uint64(i) ^ 0xa5a5_0000_0000_0000) }

// MarshalText implements [encoding.TextMarshaler]: 16 hexadecimal digits, by which a key is told to another process.
func (k Key) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x%08x", k.hi, k.lo), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Key) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 16, 64)
	if err != nil || len(text) != 16 {
		return fmt.Errorf("noise: key %q: want 16 hexadecimal digits", text)
	}
	*k = Key{uint32(v >> 32), uint32(v)}
	return nil
}

func (k Key) mix(v uint64) Key {
	b := philox(k, [4]uint32{uint32(v), uint32(v >> 32), 0x6b657921, 0})
	return Key{b[0], b[1]}
}

// Normal fills dst with independent N(0,1) draws for one step of one path.
func (k Key) Normal(dst []float32, path uint64, step uint32) {
	for i := 0; i < len(dst); i += 4 {
		b := philox(k, [4]uint32{uint32(i / 4), step, uint32(path), uint32(path >> 32)})
		z := [4]float32{}
		z[0], z[1] = boxMuller(b[0], b[1])
		z[2], z[3] = boxMuller(b[2], b[3])
		copy(dst[i:], z[:])
	}
}

// Uniform returns one U(0,1) draw, never 0 and never 1, for one step of one path.
func (k Key) Uniform(path uint64, step uint32) float64 {
	b := philox(k, [4]uint32{0, step, uint32(path), uint32(path >> 32)})
	return (float64(uint64(b[0])<<20|uint64(b[1])>>12) + 0.5) * 0x1p-52
}

// Rand returns a generator for shuffles and minibatch draws, where a stream is wanted rather than a counter.
func (k Key) Rand() *rand.Rand {
	b := philox(k, [4]uint32{0, 0, 0, 0x72616e64})
	return rand.New(rand.NewPCG(uint64(b[0])<<32|uint64(b[1]), uint64(b[2])<<32|uint64(b[3])))
}

// boxMuller turns two words into two independent N(0,1) values; 32 bits bound them by |z| ≤ 6.8.
func boxMuller(a, b uint32) (float32, float32) {
	r := math.Sqrt(-2 * math.Log((float64(a)+0.5)*0x1p-32))
	s, c := math.Sincos(2 * math.Pi * (float64(b) + 0.5) * 0x1p-32)
	return float32(r * c), float32(r * s)
}

// philox is the 10-round Philox4x32 bijection.
func philox(k Key, c [4]uint32) [4]uint32 {
	for range 10 {
		h0, l0 := bits.Mul32(0xD2511F53, c[0])
		h1, l1 := bits.Mul32(0xCD9E8D57, c[2])
		c = [4]uint32{h1 ^ c[1] ^ k.hi, l1, h0 ^ c[3] ^ k.lo, l0}
		k.hi += 0x9E3779B9
		k.lo += 0xBB67AE85
	}
	return c
}
