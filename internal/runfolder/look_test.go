package runfolder

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Who follows a run sees every whole line once, all of them anew where others have taken their place, and not those of a file that has gone.
func TestTail(t *testing.T) {
	f := started(t)
	tail := NewTail(os.DirFS(f.Path))
	next := func(what, want string, wantAgain bool) {
		t.Helper()
		lines, again, err := tail.Next()
		var b strings.Builder
		for _, l := range lines {
			b.Write(l)
		}
		if b.String() != want || again != wantAgain || err != nil {
			t.Errorf("%s: %q, again %v, error %v, want %q and %v", what, b.String(), again, err, want, wantAgain)
		}
	}
	one, two := text(t, step("base", 1)), text(t, ended("base"))
	next("of nothing", "", false)
	f.Event(step("base", 1))
	f.Event(ended("base"))
	next("two", one+two, false)
	next("no more", "", false)
	f.events.WriteString(`{"seed":1,"sta`)
	next("a torn one", "", false)
	f, _ = reopened(t, f)
	f.Event(step("cem", 1))
	next("of the process that goes on", text(t, step("cem", 1)), false)
	f.Event(step("cem", 2))
	f, _ = reopened(t, f)
	f.Event(step("cem", 7)) // cem goes back to its beginning
	f.Event(step("cem", 8))
	f.Event(step("cem", 9))
	next("other ones, and more", one+two+text(t, step("cem", 7))+text(t, step("cem", 8))+text(t, step("cem", 9)), true)
	if err := os.Truncate(f.File("events.jsonl"), int64(len(one))); err != nil {
		t.Fatal(err)
	}
	next("fewer", one, true)
	if err := os.Remove(f.File("events.jsonl")); err != nil {
		t.Fatal(err)
	}
	next("none", "", true)
	next("still none", "", false)
}

// A process works in a folder while it holds it, and then no more; if it was killed, no more when it is seen that it has gone.
func TestWorking(t *testing.T) {
	f := started(t)
	if !Working(os.DirFS(f.Path)) {
		t.Error("nobody works in a folder that is held")
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if Working(os.DirFS(f.Path)) {
		t.Error("somebody works in a folder that is closed")
	}
	write := func(pid int) {
		if err := os.WriteFile(f.File("LOCK"), []byte(fmt.Sprint(pid)), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 1 << 30 // more than any system gives
	write(nobody)
	if !Working(os.DirFS(f.Path)) {
		t.Error("events have just come, but nobody works there")
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(f.File("events.jsonl"), old, old); err != nil {
		t.Fatal(err)
	}
	if Working(os.DirFS(f.Path)) {
		t.Error("a process that has gone works there")
	}
	write(os.Getpid())
	if !Working(os.DirFS(f.Path)) {
		t.Error("this process does not work there")
	}
}
