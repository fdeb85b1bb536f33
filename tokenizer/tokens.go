// Package tokenizer turns texts into the numbers that text encoders take: [CLIP] is the byte-pair encoding of CLIP and Stable Diffusion,
// [WordPiece] that of BERT and ImageReward. Both follow the fast tokenizers of the library transformers 5, token for token.
//
// A vocabulary is not part of the program: it is read from the files beside a model.
package tokenizer

import (
	"fmt"
	"strings"
)

// Tokens is a text as an encoder takes it.
type Tokens struct {
	IDs  []int  // padded to the encoder's length
	Used int    // how many of them are not padding: the text and the marks around it
	Lost string // the end of the text that did not fit, as it was after cleaning; mostly empty, else worth a warning
}

// Warning says what of a text an encoder does not see, "" if it sees all of it.
func (t Tokens) Warning() string {
	if t.Lost == "" {
		return ""
	}
	return fmt.Sprintf("the prompt has more than %d tokens, all that the model takes; it does not see the end: %q", len(t.IDs)-2, t.Lost)
}

// piece is a token of a text before it is cut to length.
type piece struct {
	id   int
	text string // what it stands for
	last bool   // of its word: a space follows
}

// fit puts pieces between the marks first and last, cut to a length that the marks are part of, and fills up with pad.
func fit(pieces []piece, length, first, last, pad int) Tokens {
	kept, lost := pieces, []piece(nil)
	if room := length - 2; len(pieces) > room {
		kept, lost = pieces[:room], pieces[room:]
	}
	t := Tokens{IDs: make([]int, 0, length), Used: len(kept) + 2}
	t.IDs = append(t.IDs, first)
	for _, p := range kept {
		t.IDs = append(t.IDs, p.id)
	}
	t.IDs = append(t.IDs, last)
	for len(t.IDs) < length {
		t.IDs = append(t.IDs, pad)
	}
	var b strings.Builder
	for _, p := range lost {
		b.WriteString(p.text)
		if p.last {
			b.WriteByte(' ')
		}
	}
	// A token may be part of a character, and the cut before it.
	t.Lost = strings.TrimSpace(strings.ToValidUTF8(b.String(), "\uFFFD"))
	return t
}

// parts calls text and special for the stretches of s that are plain text and for the literal special tokens between them, in order. Where
// several could begin, the longest does.
func parts(s string, specials []string, text, special func(string)) {
	from := 0
	for i := 0; i < len(s); {
		found := ""
		for _, token := range specials {
			if len(token) > len(found) && strings.HasPrefix(s[i:], token) {
				found = token
			}
		}
		if found == "" {
			i++
			continue
		}
		text(s[from:i])
		special(found)
		i += len(found)
		from = i
	}
	text(s[from:])
}
