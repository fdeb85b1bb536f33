package report

import "math"

// span is the range of an axis.
type span struct {
	lo, hi float64
	log    bool
}

func newSpan(log bool) span { return span{math.Inf(1), math.Inf(-1), log} }

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// shows reports whether v has a place on the axis.
func (s span) shows(v float64) bool { return finite(v) && (!s.log || v > 0) }

// add widens the span to hold what has a place.
func (s *span) add(values ...float64) {
	for _, v := range values {
		if s.shows(v) {
			s.lo, s.hi = min(s.lo, v), max(s.hi, v)
		}
	}
}

// room widens the span by a twentieth at either end, on the axis' own scale. One that comes close to 0 starts there.
func (s span) room() (lo, hi float64) {
	if s.log {
		by := max(math.Pow(s.hi/s.lo, 0.05), 1.1)
		return s.lo / by, s.hi * by
	}
	by := 0.05 * (s.hi - s.lo)
	if by == 0 {
		by = max(0.1*math.Abs(s.hi), 1e-3)
	}
	if s.lo >= 0 && s.lo < 0.3*s.hi {
		return 0, s.hi + by
	}
	return s.lo - by, s.hi + by
}

// at returns error i, 0 where there is none.
func at(errs []float64, i int) float64 {
	if errs == nil || !finite(errs[i]) {
		return 0
	}
	return errs[i]
}
