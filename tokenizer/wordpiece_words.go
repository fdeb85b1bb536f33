package tokenizer

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// uncasedWords splits a text into the words that WordPiece looks up: without control characters, accents and upper case, at white space, and
// at punctuation and CJK ideographs, each of which is a word.
func uncasedWords(text string) iter.Seq[string] {
	var b strings.Builder
	for _, r := range text {
		switch {
		case unicode.IsSpace(r) && (r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x85):
			// Space to Unicode, but a control character first.
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case r == utf8.RuneError || unreadable(r):
		case ideograph(r):
			b.WriteString(" " + string(r) + " ")
		default:
			b.WriteRune(r)
		}
	}
	plain := b.String()
	b.Reset()
	for _, r := range norm.NFD.String(plain) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case punctuation(unicode.ToLower(r)):
			b.WriteString(" " + string(r) + " ")
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return strings.FieldsSeq(b.String())
}

// unreadable reports categories C*: control, format, surrogate, private use, and unassigned.
func unreadable(r rune) bool {
	return unicode.Is(unicode.C, r) || !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z)
}

// punctuation reports categories P*, and what ASCII has of other signs.
func punctuation(r rune) bool {
	return r > ' ' && r < 0x7f && !unicode.IsLetter(r) && !unicode.IsDigit(r) || unicode.IsPunct(r)
}

// ideographs are the blocks of CJK ideographs; kana and hangul are written in words.
var ideographs = [][2]rune{{0x4e00, 0x9fff}, {0x3400, 0x4dbf}, {0x20000, 0x2a6df}, {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf},
	{0xf900, 0xfaff}, {0x2f800, 0x2fa1f}}

func ideograph(r rune) bool {
	for _, block := range ideographs {
		if r >= block[0] && r <= block[1] {
			return true
		}
	}
	return false
}
