package progress

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// cleaned returns a printable copy of u that shares nothing with the caller.
func (u Update) cleaned() Update {
	u.Stage, u.Unit = clean(u.Stage), clean(u.Unit)
	u.Fields = slices.Clone(u.Fields)
	for i, f := range u.Fields {
		u.Fields[i] = Field{clean(f.Name), clean(f.Value)}
	}
	return u
}

// stage follows one stage from its first update to its last.
type stage struct {
	Update
	begun, now time.Time // of the first and the latest update
	meter      meter
}

func newStage(u Update, now time.Time) *stage {
	s := &stage{begun: now}
	s.meter.start(now, u.Done)
	s.update(u, now)
	return s
}

// continues reports whether u is another update of s.
func (s *stage) continues(u Update) bool { return s != nil && u.Stage == s.Stage && u.Done >= s.Done }

func (s *stage) update(u Update, now time.Time) {
	s.Update, s.now = u, now
	s.meter.add(now, u.Done)
}

func (s *stage) complete() bool { return s.Total > 0 && s.Done >= s.Total }

func (s *stage) rate() float64 {
	if s.Total == 1 {
		return 0 // the time of a single step says it better
	}
	if s.Rate > 0 {
		return s.Rate
	}
	return s.meter.rate()
}

// count is "12/40", with Done as wide as Total so that what follows stays in its column.
func (s *stage) count() string {
	if s.Total <= 0 {
		return fmt.Sprint(s.Done)
	}
	total := fmt.Sprint(s.Total)
	return fmt.Sprintf("%*d/%s", len(total), s.Done, total)
}

// eta is the time left at the present rate, or "" while that is unknown.
func (s *stage) eta() string {
	rate := s.rate()
	if rate <= 0 || s.Total <= s.Done {
		return ""
	}
	seconds := float64(s.Total-s.Done) / rate
	if seconds > (1000 * time.Hour * 24).Seconds() {
		return "" // a guess of years says nothing, and may not fit a Duration
	}
	return "ETA " + formatDuration(time.Duration(seconds*float64(time.Second)))
}

// elapsed is how long the stage took.
func (s *stage) elapsed() string {
	d := s.now.Sub(s.begun)
	if d < 10*time.Second {
		return fmt.Sprintf("in %.1fs", d.Truncate(100*time.Millisecond).Seconds())
	}
	return "in " + formatDuration(d)
}

// line is s without a bar; the last one of a stage says how long it took in place of how long it will take. It lacks the rate where it fits
// into width columns, 0 for any, without that only.
func (s *stage) line(last bool, width int) string {
	parts := []string{s.Stage, s.count()}
	for _, f := range s.Fields {
		parts = append(parts, f.part().render(false))
	}
	time := s.eta()
	if last || s.complete() {
		time = s.elapsed()
	}
	join := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), gap)
	}
	text, short := join(append(slices.Clone(parts), formatRate(s.rate(), s.unit()), time)...), join(append(parts, time)...)
	if width > 0 && columns(text) > width && columns(short) <= width {
		return short
	}
	return text
}

// unit is what the rate counts.
func (s *stage) unit() string {
	if s.Unit == "" {
		return "it"
	}
	return s.Unit
}

func formatRate(rate float64, unit string) string {
	switch {
	case rate <= 0 || math.IsInf(rate, 0) || math.IsNaN(rate):
		return ""
	case rate >= 99.95: // not 100: the next line would round up to 100.0
		return fmt.Sprintf("%.0f %s/s", rate, unit)
	case rate >= 1:
		return fmt.Sprintf("%.1f %s/s", rate, unit)
	}
	return fmt.Sprintf("%.1f s/%s", 1/rate, unit)
}

// formatDuration gives "8s", "1m05s", "2h03m", "3d04h": two units at most.
func formatDuration(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 24*3600:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}
