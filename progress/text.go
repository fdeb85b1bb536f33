package progress

import (
	"strings"
	"unicode"
)

// clean makes s one line of printable text: a tab, an escape sequence or a bad byte would break the block's width.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// lines cleans text that may have several lines.
func lines(text string) []string {
	list := strings.Split(strings.TrimRight(text, "\r\n"), "\n")
	for i, line := range list {
		list[i] = strings.TrimRight(clean(line), " ")
	}
	return list
}

// columns is the number of terminal cells s takes.
func columns(s string) int {
	n := 0
	for _, r := range s {
		n += cells(r)
	}
	return n
}

// cells approximates Unicode's East Asian Width (UAX #11): two for wide letters and emoji, none for marks that join
// the letter before.
func cells(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case r >= 0x1100 && r <= 0x115f, r >= 0x2e80 && r <= 0xa4cf, r >= 0xac00 && r <= 0xd7a3, r >= 0xf900 && r <= 0xfaff,
		r >= 0xfe30 && r <= 0xfe6f, r >= 0xff00 && r <= 0xff60, r >= 0xffe0 && r <= 0xffe6, r >= 0x1f300 && r <= 0x1faff,
		r >= 0x20000 && r <= 0x3fffd:
		return 2
	}
	return 1
}

// cut shortens s to at most n columns, the last of them an ellipsis when something is left out.
func cut(s string, n int) string {
	if columns(s) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	used := 0
	for i, r := range s {
		if used += cells(r); used >= n {
			return s[:i] + "…"
		}
	}
	return s
}
