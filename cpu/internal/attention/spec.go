package attention

import "fmt"

// Spec is the shape of an attention of q [Batch, Queries, Heads, Dim] to k and v [Batch, Keys, Heads, Dim].
type Spec struct {
	Batch, Queries, Keys, Heads, Dim int
	// Causal lets query i see the keys up to i only.
	Causal bool
	// Biased adds a bias [Batch, Keys] to the scores of a key.
	Biased bool
}

func (s Spec) check() error {
	if min(s.Batch, s.Queries, s.Keys, s.Heads, s.Dim) < 1 {
		return fmt.Errorf("attention of q [%d, %d, %d, %d] to %d keys: want positive sizes", s.Batch, s.Queries, s.Heads, s.Dim, s.Keys)
	}
	return nil
}

// pairs returns the number of pairs of an image and a head, each of which is an attention of its own.
func (s Spec) pairs() int { return s.Batch * s.Heads }

// origin returns where the rows of a pair begin in q, or with Keys in k, and stride how far they are apart.
func (s Spec) origin(pair, rows int) int {
	return (pair/s.Heads*rows*s.Heads + pair%s.Heads) * s.Dim
}

func (s Spec) stride() int { return s.Heads * s.Dim }

// blockQueries are the queries of a block: whole tiles of every instruction set.
const blockQueries = 96

// blockKeys returns the keys of a block: what a part works on, some six times blockKeys·Dim floats and twice
// blockQueries·blockKeys, should stay in the second-level cache.
func (s Spec) blockKeys() int {
	const floats, step, least, most = 40960, 32, 64, 256
	return min(max(ceil(floats/s.Dim, step)*step, least), most)
}

// seen returns how many of n keys from the given one on a query sees.
func (s Spec) seen(query, key, n int) int {
	if s.Causal {
		return min(max(query+1-key, 0), n)
	}
	return n
}

// keysFor returns how many keys the queries before the given one see.
func (s Spec) keysFor(query int) int {
	if s.Causal {
		return min(s.Keys, query)
	}
	return s.Keys
}

// ceil is a/b rounded up.
func ceil(a, b int) int { return (a + b - 1) / b }
