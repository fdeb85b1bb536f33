package kern

// Numbers are the values of a factor that stays as it is, such as weights: float32, or numbers of 16 bits that are widened
// where they are read, a few at a time. One of the two slices is nil.
type Numbers struct {
	Single []float32
	Half   []uint16
	Brain  bool // Half holds bfloat16, not IEEE 754's binary16
}

// From returns the numbers from index i on.
func (n Numbers) From(i int) Numbers {
	if n.Half == nil {
		return Numbers{Single: n.Single[i:]}
	}
	return Numbers{Half: n.Half[i:], Brain: n.Brain}
}

// Widen writes the first len(dst) numbers of 16 bits to dst.
func (t *Table) Widen(dst []float32, n Numbers) {
	if len(dst) == 0 {
		return
	}
	f := t.Half.Float16
	if n.Brain {
		f = t.Half.BFloat16
	}
	f(&dst[0], &n.Half[:len(dst)][0], len(dst))
}
