package progress

import (
	"io"
	"strings"
	"sync"
	"time"
)

var _ Display = (*live)(nil)

// frameTime keeps the block below ten redraws a second.
const frameTime = 100 * time.Millisecond

// Control sequences of ECMA-48, and the cursor's visibility of the VT220.
const (
	eraseBelow = "\x1b[J"
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
)

// live keeps one line up to date at the bottom of a terminal; lines that stay scroll away above it.
//
// The cursor rests in the first column of the line. A terminal that becomes narrower folds the line into several rows,
// and the cursor stays with its first: erasing from there on removes all of them, without counting rows that only some
// terminals fold.
type live struct {
	mu     sync.Mutex
	w      io.Writer
	width  func() int
	color  bool
	opt    Options
	stage  *stage    // nil before the first and after the last
	drawn  time.Time // the latest frame
	hidden bool      // the cursor is
	closed bool
}

func newLive(w io.Writer, width func() int, color bool, o Options) *live {
	return &live{w: w, width: width, color: color, opt: o.withDefaults()}
}

func (l *live) Update(u Update) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	u, now := u.cleaned(), l.opt.Now()
	if !l.stage.continues(u) {
		last := l.lastLine()
		l.stage = newStage(u, now)
		l.draw(now, last)
		return
	}
	was := l.stage.complete()
	l.stage.update(u, now)
	if l.stage.complete() && !was || now.Sub(l.drawn) >= frameTime {
		l.draw(now, nil)
	}
}

func (l *live) Log(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draw(l.opt.Now(), lines(text))
}

func (l *live) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.lastLine()
	l.stage, l.closed = nil, true
	l.draw(l.opt.Now(), last)
}

// lastLine is what stays of the present stage.
func (l *live) lastLine() []string {
	if l.stage == nil {
		return nil
	}
	return []string{l.stage.line(true, l.width())}
}

// draw writes the lines that stay and the block below them. It is one write, so that nothing else lands inside and no
// half-drawn block is seen.
func (l *live) draw(now time.Time, stay []string) {
	var b strings.Builder
	if l.stage != nil && !l.hidden {
		b.WriteString(hideCursor)
		l.hidden = true
	}
	for i, line := range stay {
		if i == 0 && l.hidden {
			b.WriteString("\r" + eraseBelow)
		}
		b.WriteString(line + "\n")
	}
	if l.stage != nil {
		// One column stays free: after a full row, terminals differ in where the cursor is.
		b.WriteString("\r" + l.stage.block(l.width()-1, l.color) + eraseBelow + "\r")
	} else if l.hidden {
		b.WriteString(showCursor)
		l.hidden = false
	}
	l.drawn = now
	if b.Len() > 0 {
		io.WriteString(l.w, b.String())
	}
}
