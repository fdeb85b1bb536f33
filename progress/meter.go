package progress

import (
	"math"
	"time"
)

// memory is how far back the rate looks, as the time constant of an exponential average.
const memory = 15 * time.Second

// meter measures units per second. Old intervals fade by the time that has passed, not by the number of updates, so
// slow and fast loops settle alike; and since units and seconds fade together, a constant rate is exact at once.
type meter struct {
	last           time.Time
	done           int
	units, seconds float64
}

func (m *meter) start(now time.Time, done int) { *m = meter{last: now, done: done} }

func (m *meter) add(now time.Time, done int) {
	dt := now.Sub(m.last).Seconds()
	if dt <= 0 || done == m.done {
		return // wait: the time counts once work has been done in it
	}
	fade := math.Exp(-dt / memory.Seconds())
	m.units = m.units*fade + float64(done-m.done)
	m.seconds = m.seconds*fade + dt
	m.last, m.done = now, done
}

// rate returns units per second, or 0 while unknown.
func (m *meter) rate() float64 {
	if m.seconds == 0 {
		return 0
	}
	return m.units / m.seconds
}
