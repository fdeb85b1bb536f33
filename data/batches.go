package data

import (
	"fmt"

	"github.com/doob-diffusion/doob/noise"
)

// Batches draws indices 0 … n−1 in shuffled epochs: every index once an epoch, a new order each time. A batch that
// reaches the end of an epoch takes the rest from the next, so no example is dropped and all batches have one size.
//
// The order of epoch e is a function of (key, n, e) alone, so a Position is all it takes to continue.
type Batches struct {
	key   noise.Key
	order []int // [n], a permutation: the current epoch's, once made
	made  int   // the epoch of order, or -1
	at    Position
}

// Position is a place in the sequence: the next index is number Offset of epoch Epoch, 0 ≤ Offset < n.
type Position struct {
	Epoch  int `json:"epoch"`
	Offset int `json:"offset"`
}

// NewBatches returns the sequence of key over n examples, at its beginning. It panics unless n is positive.
func NewBatches(key noise.Key, n int) *Batches {
	if n <= 0 {
		panic(fmt.Sprintf("data: batches of %d examples", n))
	}
	return &Batches{key: key, order: make([]int, n), made: -1}
}

// Next fills dst with the next len(dst) indices. A dst longer than an epoch holds indices more than once.
func (b *Batches) Next(dst []int) {
	for len(dst) > 0 {
		if b.made != b.at.Epoch {
			b.shuffle()
		}
		k := copy(dst, b.order[b.at.Offset:])
		dst = dst[k:]
		if b.at.Offset += k; b.at.Offset == len(b.order) {
			b.at = Position{Epoch: b.at.Epoch + 1}
		}
	}
}

func (b *Batches) shuffle() {
	// From the identity, not from the epoch before, so that Seek need not replay history.
	for i := range b.order {
		b.order[i] = i
	}
	b.key.At(b.at.Epoch).Rand().Shuffle(len(b.order), func(i, j int) { b.order[i], b.order[j] = b.order[j], b.order[i] })
	b.made = b.at.Epoch
}

// Position returns where Next will continue.
func (b *Batches) Position() Position { return b.at }

// Seek makes Next continue at p. It returns an error for a p that is no position of this sequence.
func (b *Batches) Seek(p Position) error {
	if p.Epoch < 0 || p.Offset < 0 || p.Offset >= len(b.order) {
		return fmt.Errorf("batches of %d examples: got position epoch %d, offset %d, expected an epoch from 0 and an offset from 0 to %d",
			len(b.order), p.Epoch, p.Offset, len(b.order)-1)
	}
	b.at = p
	return nil
}

// StepBatches returns the indices of a step's batch of n examples, in shuffled epochs, as a function of the step alone. The slice that it
// returns is valid until the next call.
func StepBatches(key noise.Key, n, size int) func(step int) []int {
	b, index := NewBatches(key, n), make([]int, size)
	return func(step int) []int {
		if err := b.Seek(Position{Epoch: step * size / n, Offset: step * size % n}); err != nil {
			panic(err) // it is a position by construction
		}
		b.Next(index)
		return index
	}
}

// Source says what networks are trained on.
type Source struct{ Name, SHA256 string }
