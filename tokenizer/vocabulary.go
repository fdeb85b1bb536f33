package tokenizer

import (
	"fmt"
	"strings"
)

// byteSymbols writes every byte as a printable character: those that are one in Latin-1, but for the space and the soft hyphen, stand for
// themselves, and the others are U+0100, U+0101 … in rising order. byteOrder has the bytes in the order of the vocabulary: first those that
// stand for themselves.
var byteSymbols, byteOrder = func() (symbols [256]string, order []byte) {
	var others []byte
	for b := range 256 {
		if b >= 33 && b <= 126 || b >= 161 && b <= 172 || b >= 174 {
			symbols[b] = string(rune(b))
			order = append(order, byte(b))
		} else {
			symbols[b] = string(rune(0x100 + len(others)))
			others = append(others, byte(b))
		}
	}
	return symbols, append(order, others...)
}()

// Vocabulary returns the ids that merges determine, as in all published models of CLIP: byte symbols, those at the end of a word, merged pairs,
// and the marks <|startoftext|> and <|endoftext|>.
func Vocabulary(merges [][2]string) map[string]int {
	v := make(map[string]int, 2*256+len(merges)+2)
	add := func(token string) { v[token] = len(v) }
	for _, end := range []string{"", wordEnd} {
		for _, b := range byteOrder {
			add(byteSymbols[b] + end)
		}
	}
	for _, m := range merges {
		add(m[0] + m[1])
	}
	add(clipStart)
	add(clipEnd)
	return v
}

// ParseMerges reads a file merges.txt: a line "#version…", and one pair a line. Of later lines, some that begin with # are real merges.
func ParseMerges(text string) ([][2]string, error) {
	var merges [][2]string
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if i == 0 && strings.HasPrefix(line, "#version") || line == "" {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || left == "" || right == "" || strings.Contains(right, " ") {
			return nil, fmt.Errorf("%w: line %d of the merges is %q, expected two symbols with a space between", ErrVocabulary, i+1, line)
		}
		merges = append(merges, [2]string{left, right})
	}
	return merges, nil
}
