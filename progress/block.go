package progress

import "strings"

const gap = "  "

// block is s as a line of at most width columns:
//
//	importance  ━━━━━━━╸─────────  12/40  loss 0.412  acceptance 0.30  3.1 it/s  ETA 1m05s
//
// What does not fit is left out whole, since half a number misleads: first the rate, then the fields from the right,
// then ETA and bar. Nothing less important takes the place, or parts would come and go.
func (s *stage) block(width int, color bool) string {
	free := width + len(gap) // the first part has no gap before it
	fit := func(p part) part {
		if p.columns() == 0 {
			return nil
		}
		if free -= p.columns() + len(gap); free < 0 {
			return nil
		}
		return p
	}
	name := fit(part{{text: s.Stage}})
	if free < 0 {
		return cut(s.Stage, width)
	}
	count := fit(part{{text: s.count()}})
	bar := fit(s.bar(max(6, min(30, width/4-9)))) // by the width alone: it must not change with the numbers
	eta := fit(part{{s.eta(), dim}})
	if s.complete() {
		eta = fit(part{{s.elapsed(), dim}})
	}
	var fields []part
	for _, f := range s.Fields {
		fields = append(fields, fit(f.part()))
	}
	rate := fit(part{{formatRate(s.rate(), s.unit()), dim}})

	var shown []string
	for _, p := range append(append([]part{name, bar, count}, fields...), rate, eta) {
		if p != nil {
			shown = append(shown, p.render(color))
		}
	}
	return strings.Join(shown, gap)
}

// bar is width columns long and advances by half columns. It is empty while Total is unknown.
func (s *stage) bar(width int) part {
	if s.Total <= 0 {
		return nil
	}
	done := max(0, min(s.Done, s.Total))
	halves := int(float64(2*width) * float64(done) / float64(s.Total))
	return part{
		{strings.Repeat("━", halves/2) + strings.Repeat("╸", halves%2), cyan},
		{strings.Repeat("─", width-(halves+1)/2), dim},
	}
}

func (f Field) part() part {
	if f.Name == "" {
		return part{{text: f.Value}}
	}
	return part{{f.Name + " ", dim}, {text: f.Value}}
}

// part is a piece of a line that is shown whole or not at all, in spans of one style each.
type part []span

type span struct {
	text  string
	style style
}

// style is a Select Graphic Rendition parameter of ECMA-48; the empty one is the terminal's own.
type style string

const (
	dim  style = "2"
	cyan style = "36"
)

func (p part) columns() int {
	n := 0
	for _, s := range p {
		n += columns(s.text)
	}
	return n
}

func (p part) render(color bool) string {
	var b strings.Builder
	for _, s := range p {
		if color && s.style != "" && s.text != "" {
			b.WriteString("\x1b[" + string(s.style) + "m" + s.text + "\x1b[0m")
		} else {
			b.WriteString(s.text)
		}
	}
	return b.String()
}
