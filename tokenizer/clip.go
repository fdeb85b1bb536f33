package tokenizer

import (
	"errors"
	"fmt"
	"strings"
)

// ErrVocabulary says that files are no vocabulary of their kind.
var ErrVocabulary = errors.New("unusable vocabulary")

// CLIPLength is the number of tokens that CLIP's text encoders take.
const CLIPLength = 77

const (
	clipStart = "<|startoftext|>"
	clipEnd   = "<|endoftext|>"
	wordEnd   = "</w>" // what the last symbol of a word ends in
)

// CLIP is the byte-pair encoding of CLIP's text encoders, which Stable Diffusion 1.x and 2.x use. [OpenCLIP] reads one from a folder.
//
// It does what the fast tokenizer of transformers does. The older ones, OpenAI's own too, clean texts differently: ftfy makes curly quotes
// straight, folds ligatures and full width, and mends mojibake; OpenAI's unescapes HTML. Prompts of plain ASCII without HTML entities are the
// same in all of them. The marks <|startoftext|> and <|endoftext|> in a text are their tokens, if they are in lower case.
//
// Methods may be called at the same time.
type CLIP struct {
	encoding        encoding
	start, end, pad int
}

// NewCLIP returns the tokenizer of a vocabulary, symbols by rank of merging, and the token that texts are padded with: <|endoftext|> in Stable
// Diffusion 1.x, "!" in 2.x.
//
// The vocabulary has an id for every byte symbol, with and without </w> at its end, for every merged pair, for both marks, and for the padding.
// It may have more. Two tokens of one id give ErrVocabulary, as does all that is missing.
func NewCLIP(vocabulary map[string]int, merges [][2]string, pad string) (*CLIP, error) {
	e, err := newEncoding(vocabulary, merges)
	if err != nil {
		return nil, err
	}
	c := &CLIP{encoding: e}
	for _, m := range []struct {
		to    *int
		token string
	}{{&c.start, clipStart}, {&c.end, clipEnd}, {&c.pad, pad}} {
		id, ok := vocabulary[m.token]
		if !ok {
			return nil, fmt.Errorf("%w: got no token %q in a vocabulary of %d, expected it to be there", ErrVocabulary, m.token, len(vocabulary))
		}
		*m.to = id
	}
	return c, nil
}

// Size returns one more than the largest id: the rows that an encoder's table of embeddings must have.
func (c *CLIP) Size() int { return c.encoding.size }

// Pad returns the id that texts are padded with. Nothing masks it: encoders see it.
func (c *CLIP) Pad() int { return c.pad }

// Encode returns the 77 tokens of a text: the start mark, at most 75 of the text, the end mark, and padding. Bytes that are no UTF-8 count as
// U+FFFD.
func (c *CLIP) Encode(text string) Tokens {
	return fit(c.pieces(text), CLIPLength, c.start, c.end, c.pad)
}

// IDs returns the tokens of a text without marks and padding, however many there are.
func (c *CLIP) IDs(text string) []int {
	pieces := c.pieces(text)
	ids := make([]int, len(pieces))
	for i, p := range pieces {
		ids[i] = p.id
	}
	return ids
}

func (c *CLIP) pieces(text string) (out []piece) {
	parts(strings.ToValidUTF8(text, "\uFFFD"), []string{clipStart, clipEnd},
		func(s string) {
			for word := range words(clean(s)) {
				out = c.encoding.word(out, word)
			}
		},
		func(mark string) {
			id := c.start
			if mark == clipEnd {
				id = c.end
			}
			out = append(out, piece{id, mark, true})
		})
	return out
}
