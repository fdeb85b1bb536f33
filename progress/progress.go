// Package progress shows how far a long computation is: a block redrawn in place on a terminal, plain lines elsewhere.
// It knows nothing of what is computed.
package progress

import (
	"os"
	"runtime"
	"time"

	"golang.org/x/term"
)

// Display shows progress. Its methods may be called from several goroutines, and none of them fails: a display that
// cannot be written must not stop what it displays.
type Display interface {
	// Update shows the state of a stage. Another Stage, or a smaller Done, begins a new stage and ends the one before.
	Update(Update)
	// Log writes a line that stays.
	Log(line string)
	// Close ends the current stage and gives the terminal back. Afterwards Log still writes, Update does nothing.
	Close()
}

// Update is the state of a stage. A stage's first update belongs before its work, with Done where it starts: the time
// of the stage and its rate count from there.
type Update struct {
	Stage  string  // such as "importance · seed 1/3"
	Done   int     // units of work finished
	Total  int     // units of work in the stage; 0 when unknown, which leaves out bar and ETA
	Unit   string  // of work, in the rate; "" means it, for iterations
	Fields []Field // in order of importance: a narrow terminal drops the last ones first
	Rate   float64 // units per second; 0 lets the display measure it
}

// Field is a named value, already formatted.
type Field struct{ Name, Value string }

// Options are what a display takes beside its file. The zero Options is ready to use.
type Options struct {
	Interval time.Duration    // between plain lines of a stage; 0 means 5 s
	Now      func() time.Time // the clock; nil means time.Now
}

func (o Options) withDefaults() Options {
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// New returns a live display when w is a terminal that understands escape sequences, and a plain one otherwise. It
// follows TERM=dumb and NO_COLOR (https://no-color.org).
func New(w *os.File, o Options) Display {
	if !isLive(w) {
		return newPlain(w, o)
	}
	return newLive(w, func() int { return width(w) }, os.Getenv("NO_COLOR") == "", o)
}

func isLive(w *os.File) bool {
	// A Windows console shows escape sequences as text unless told otherwise, which other programs in it would see.
	return term.IsTerminal(int(w.Fd())) && os.Getenv("TERM") != "dumb" && runtime.GOOS != "windows"
}

// width returns the columns of a terminal now; it changes when somebody resizes the window.
func width(w *os.File) int {
	if columns, _, err := term.GetSize(int(w.Fd())); err == nil && columns > 0 {
		return columns
	}
	return 80
}
