package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Suggest returns `, did you mean "x"?` with the names that are most like one that is not known, or nothing if none is like it.
func Suggest(got string, known []string) string {
	near, least := []string(nil), max(1, len([]rune(got))/3) // so many letters may differ
	for _, k := range known {
		last := k[strings.LastIndexByte(k, '.')+1:]
		switch d := distance(strings.ToLower(got), strings.ToLower(last)); {
		case d < least:
			near, least = []string{k}, d
		case d == least && !slices.Contains(near, k):
			near = append(near, k)
		}
	}
	if len(near) == 0 {
		return ""
	}
	const most = 3
	for i := range near {
		near[i] = fmt.Sprintf("%q", near[i])
	}
	return fmt.Sprintf(", did you mean %s?", strings.Join(near[:min(most, len(near))], " or "))
}

// Unknown says of a name that is none of those known which may be meant, and what there is. Some more may be meant that are not listed.
func Unknown(got string, known []string, more ...string) string {
	return fmt.Sprintf("%q%s: want one of %s", got, strings.TrimSuffix(Suggest(got, slices.Concat(known, more)), "?"), strings.Join(known, ", "))
}

// distance is how many letters one changes, adds, leaves out or swaps with the next to make b of a.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1) // rows[i][j] is that of x[:i] to y[:j]
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			case x[i-1] == y[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
			}
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}

// keys lists the keys that a destination knows, those below others with a point between.
func keys(of reflect.Type, before string, depth int) (out []string) {
	for of != nil && (of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice) {
		of = of.Elem()
	}
	if of == nil || of.Kind() != reflect.Struct || depth > 5 {
		return nil
	}
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case !f.IsExported() && !f.Anonymous || name == "-":
		case strings.Contains(options, "inline"):
			out = append(out, keys(f.Type, before, depth+1)...)
		default:
			if name == "" {
				name = strings.ToLower(f.Name)
			}
			out = append(append(out, before+name), keys(f.Type, before+name+".", depth+1)...)
		}
	}
	return out
}
