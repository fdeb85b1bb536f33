package tokenizer

import (
	"container/heap"
	"fmt"
)

// encoding is a byte-pair encoding (Sennrich et al. 2016) of words: bytes that pairs are merged of, by rank. Symbols go by their ids.
type encoding struct {
	bytes, last [256]int // of a byte inside a word, and at its end
	merges      map[[2]int]merge
	size        int
}

type merge struct{ rank, id int }

func newEncoding(vocabulary map[string]int, merges [][2]string) (encoding, error) {
	e := encoding{merges: make(map[[2]int]merge, len(merges))}
	tokens := make(map[int]string, len(vocabulary))
	for token, id := range vocabulary {
		if id < 0 || id > 1<<24 {
			return encoding{}, fmt.Errorf("%w: token %q has id %d, expected one from 0 to 2²⁴", ErrVocabulary, token, id)
		}
		if twin, ok := tokens[id]; ok {
			return encoding{}, fmt.Errorf("%w: tokens %q and %q both have id %d", ErrVocabulary, min(token, twin), max(token, twin), id)
		}
		tokens[id] = token
		e.size = max(e.size, id+1)
	}
	find := func(token string) (int, error) {
		id, ok := vocabulary[token]
		if !ok {
			return 0, fmt.Errorf("%w: got no token %q in a vocabulary of %d, expected every byte symbol, alone and with %s, and all that merges make of them",
				ErrVocabulary, token, len(vocabulary), wordEnd)
		}
		return id, nil
	}
	var err error
	for b := range 256 {
		if e.bytes[b], err = find(byteSymbols[b]); err != nil {
			return encoding{}, err
		}
		if e.last[b], err = find(byteSymbols[b] + wordEnd); err != nil {
			return encoding{}, err
		}
	}
	for rank, m := range merges {
		var ids [3]int
		for i, token := range []string{m[0], m[1], m[0] + m[1]} {
			if ids[i], err = find(token); err != nil {
				return encoding{}, fmt.Errorf("merge %d, %q and %q: %w", rank+1, m[0], m[1], err)
			}
		}
		pair := [2]int{ids[0], ids[1]}
		if twin, ok := e.merges[pair]; ok {
			return encoding{}, fmt.Errorf("%w: merges %d and %d are both of %q and %q", ErrVocabulary, twin.rank+1, rank+1, m[0], m[1])
		}
		e.merges[pair] = merge{rank, ids[2]}
	}
	return e, nil
}

// word appends the tokens of a word: of all adjacent pairs, that of lowest rank is merged, the first if there are several, until none is left.
// Pairs wait in a heap, so that a word of n bytes takes n·log n steps and not n².
func (e encoding) word(out []piece, word string) []piece {
	n := len(word)
	w := symbols{encoding: e, id: make([]int, n), end: make([]int, n), start: make([]int, n+1)}
	for i := range n {
		w.id[i], w.end[i], w.start[i+1] = e.bytes[word[i]], i+1, i
	}
	w.id[n-1] = e.last[word[n-1]]
	for i := range n {
		w.offer(i)
	}
	for len(w.waiting) > 0 {
		p := heap.Pop(&w.waiting).(pair)
		if m, ok := w.at(p.left); ok && m.rank == p.rank { // else one of the two has been merged with another
			w.join(p.left, m.id)
		}
	}
	for i := 0; i < n; i = w.end[i] {
		out = append(out, piece{w.id[i], word[i:w.end[i]], w.end[i] == n})
	}
	return out
}

// symbols is a word while its pairs are merged. A symbol goes by the place of its first byte.
type symbols struct {
	encoding
	id, end []int // of the symbol that begins at a byte; end is 0 where none begins any more
	start   []int // of the symbol that ends at a byte
	waiting pairs
}

// at returns the merge of the symbol at byte i with the next one.
func (w *symbols) at(i int) (merge, bool) {
	if w.end[i] == 0 || w.end[i] == len(w.id) {
		return merge{}, false
	}
	m, ok := w.merges[[2]int{w.id[i], w.id[w.end[i]]}]
	return m, ok
}

func (w *symbols) offer(i int) {
	if m, ok := w.at(i); ok {
		heap.Push(&w.waiting, pair{m.rank, i})
	}
}

// join makes one symbol of that at byte i and the next one.
func (w *symbols) join(i, id int) {
	next := w.end[i]
	w.id[i], w.end[i] = id, w.end[next]
	w.end[next] = 0
	w.start[w.end[i]] = i
	w.offer(i)
	if i > 0 {
		w.offer(w.start[i])
	}
}

// pair is two adjacent symbols that may be merged.
type pair struct{ rank, left int }

// pairs is a heap, lowest rank first and leftmost among equals.
type pairs []pair

func (p pairs) Len() int { return len(p) }
func (p pairs) Less(i, j int) bool {
	return p[i].rank < p[j].rank || p[i].rank == p[j].rank && p[i].left < p[j].left
}
func (p pairs) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pairs) Push(x any)   { *p = append(*p, x.(pair)) }
func (p *pairs) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}
