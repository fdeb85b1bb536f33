package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// clean composes characters (NFC), makes every run of white space one space, and lower-cases character by character: a final Σ becomes σ, and İ
// becomes i with a dot above, as Unicode has it and Go's ToLower has not.
func clean(text string) string {
	var b strings.Builder
	space := false
	for _, r := range compose(text) {
		if unicode.IsSpace(r) {
			if !space {
				b.WriteByte(' ')
			}
			space = true
			continue
		}
		space = false
		if r == 'İ' {
			b.WriteString("i\u0307")
			continue
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// joiner is the combining grapheme joiner, with which package norm breaks rows of more than 30 combining marks.
const joiner = "\u034F"

// compose returns the normal form NFC. Nothing composes with, or moves past, the joiners that a text has itself.
func compose(text string) string {
	stretches := strings.Split(text, joiner)
	for i, s := range stretches {
		stretches[i] = strings.ReplaceAll(norm.NFC.String(s), joiner, "")
	}
	return strings.Join(stretches, joiner)
}

// contractions are words of their own where a word may begin.
var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// words splits clean text: contractions, runs of letters, single digits, and runs of what is none of these and no space.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			n := wordLen(text)
			if n > 0 && !yield(text[:n]) {
				return
			}
			if n == 0 {
				_, n = utf8.DecodeRuneInString(text)
			}
			text = text[n:]
		}
	}
}

// wordLen returns the length of the word that text begins with, 0 if that is a space.
func wordLen(text string) int {
	for _, c := range contractions {
		if strings.HasPrefix(text, c) {
			return len(c)
		}
	}
	r, size := utf8.DecodeRuneInString(text)
	switch kind := kindOf(r); kind {
	case space:
		return 0
	case number:
		return size
	default:
		for i, r := range text {
			if kindOf(r) != kind {
				return i
			}
		}
		return len(text)
	}
}

type kind int

const (
	other kind = iota
	space
	letter
	number
)

func kindOf(r rune) kind {
	switch {
	case unicode.IsSpace(r):
		return space
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	}
	return other
}
