package tokenizer

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"unicode/utf8"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// wordPieceLimit is the number of characters from which on a word is not looked up any more.
const wordPieceLimit = 100

// WordPiece is the tokenizer of bert-base-uncased (Devlin et al. 2018), which ImageReward's text encoder uses. Its vocabulary, vocab.txt, is
// no part of ImageReward.
//
// Methods may be called at the same time.
type WordPiece struct {
	ids                map[string]int
	specials           []string
	start, end, u, pad int
}

// NewWordPiece reads a vocabulary, one token a line, and gives the tokens in added the ids after it, in order: ImageReward's vocabulary has
// [DEC] and [ENC] there. Lines must differ, and [PAD], [UNK], [CLS], [SEP] and [MASK] be among them.
func NewWordPiece(vocabulary io.Reader, added ...string) (*WordPiece, error) {
	w := &WordPiece{ids: map[string]int{}}
	add := func(token string) error {
		if id, ok := w.ids[token]; ok {
			return fmt.Errorf("%w: token %q stands on lines %d and %d", ErrVocabulary, token, id+1, len(w.ids)+1)
		}
		w.ids[token] = len(w.ids)
		return nil
	}
	lines := bufio.NewScanner(vocabulary)
	for lines.Scan() {
		if err := add(lines.Text()); err != nil {
			return nil, err
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrVocabulary, len(w.ids)+1, err)
	}
	for _, m := range []struct {
		token string
		to    *int
	}{{"[PAD]", &w.pad}, {"[UNK]", &w.u}, {"[CLS]", &w.start}, {"[SEP]", &w.end}, {"[MASK]", new(int)}} {
		id, ok := w.ids[m.token]
		if !ok {
			return nil, fmt.Errorf("%w: got no token %s in %d lines, expected the vocabulary of bert-base-uncased", ErrVocabulary, m.token, len(w.ids))
		}
		*m.to = id
		w.specials = append(w.specials, m.token)
	}
	for _, token := range added {
		if err := add(token); err != nil {
			return nil, err
		}
		w.specials = append(w.specials, token)
	}
	return w, nil
}

// OpenWordPiece reads a file vocab.txt.
func OpenWordPiece(path string, added ...string) (*WordPiece, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("tokenizer: %w", err)
	}
	defer f.Close()
	text, err := textfile.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w: %w", path, ErrVocabulary, err)
	}
	w, err := NewWordPiece(text, added...)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", path, err)
	}
	return w, nil
}

// Size returns the number of tokens, those that were added too.
func (w *WordPiece) Size() int { return len(w.ids) }

// Encode returns the tokens of a text, cut or padded to a length of at least 2: [CLS], at most length − 2 of the text, [SEP], and [PAD], which
// encoders mask. ImageReward's length is 35. Bytes that are no UTF-8 are left out.
func (w *WordPiece) Encode(text string, length int) Tokens {
	return fit(w.pieces(text), length, w.start, w.end, w.pad)
}

func (w *WordPiece) pieces(text string) (out []piece) {
	parts(text, w.specials,
		func(s string) {
			for word := range uncasedWords(s) {
				out = w.word(out, word)
			}
		},
		func(mark string) { out = append(out, piece{w.ids[mark], mark, true}) })
	return out
}

// word appends the tokens of a word: the longest one that it begins with, then the longest continuation, ##…, of the rest, and so on. A word that
// this leaves a rest of is [UNK].
func (w *WordPiece) word(out []piece, word string) []piece {
	unknown := piece{w.u, word, true}
	if utf8.RuneCountInString(word) > wordPieceLimit {
		return append(out, unknown)
	}
	begin, prefix := len(out), ""
	for rest := word; rest != ""; prefix = "##" {
		n := len(rest)
		for ; n > 0; n-- {
			if id, ok := w.ids[prefix+rest[:n]]; ok && utf8.ValidString(rest[:n]) {
				out = append(out, piece{id, rest[:n], n == len(rest)})
				break
			}
		}
		if n == 0 {
			return append(out[:begin], unknown)
		}
		rest = rest[n:]
	}
	return out
}
