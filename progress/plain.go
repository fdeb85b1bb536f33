package progress

import (
	"io"
	"sync"
	"time"
)

var _ Display = (*plain)(nil)

// plain writes lines for logs and pipes: the first and last of every stage, and one per interval between.
type plain struct {
	mu      sync.Mutex
	w       io.Writer
	opt     Options
	stage   *stage    // nil before the first and after the last
	printed time.Time // the latest line of the stage
	stale   bool      // the latest update is not printed
	closed  bool
}

func newPlain(w io.Writer, o Options) *plain { return &plain{w: w, opt: o.withDefaults()} }

func (p *plain) Update(u Update) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	u, now := u.cleaned(), p.opt.Now()
	if !p.stage.continues(u) {
		p.end()
		p.stage = newStage(u, now)
		p.print(false)
		return
	}
	was := p.stage.complete()
	p.stage.update(u, now)
	p.stale = true
	if p.stage.complete() && !was || now.Sub(p.printed) >= p.opt.Interval {
		p.print(false)
	}
}

func (p *plain) Log(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range lines(text) {
		io.WriteString(p.w, line+"\n")
	}
}

func (p *plain) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	p.closed = true
}

// end closes the stage, if there is one, with a line for what it has reached.
func (p *plain) end() {
	if p.stage != nil && p.stale {
		p.print(true)
	}
	p.stage = nil
}

func (p *plain) print(last bool) {
	io.WriteString(p.w, p.stage.line(last, 0)+"\n")
	p.printed, p.stale = p.stage.now, false
}
