package progress

import (
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
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

// terminal measures text in cells; by itself the library would ask the environment for its locale.
var terminal = &runewidth.Condition{StrictEmojiNeutral: true}

// columns is the number of terminal cells s takes.
func columns(s string) int { return terminal.StringWidth(s) }

// cut shortens s to at most n columns, the last of them an ellipsis when something is left out.
func cut(s string, n int) string {
	if n <= 0 {
		return ""
	}
	return terminal.Truncate(s, n, "…")
}
