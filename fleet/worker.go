package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/doob-diffusion/doob/diffusion"
)

// Worker is one that simulates for trainers, one task at a time.
type Worker struct {
	Name    string // "" means the machine's and the process's
	Numbers Numbers
	Cache   string // folder for files that are needed again; "" for none
	// Open prepares the simulations of a run. Its error ends the worker: what is wrong with the machine will not pass.
	Open func(ctx context.Context, about Announcement, files *Files) (Simulator, error)
	// Tell, if set, hears what happens, for people.
	Tell func(format string, args ...any)
}

// Simulator does the tasks of a run.
type Simulator interface {
	// Simulate returns the paths [from, from+n) that an order describes, and the network calls that they have taken.
	Simulate(ctx context.Context, order json.RawMessage, from, n int) (diffusion.Piece, int64, error)
	Close() error
}

// mostFaults is the number of tasks that may fail one after the other.
const mostFaults = 5

// Work works for one trainer after the other, until the context ends or this machine cannot do what is asked.
func Work(ctx context.Context, o Options, w Worker) error {
	if w.Name == "" {
		host, _ := os.Hostname()
		w.Name = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), strings.ToLower(rand.Text()[:4]))
	}
	if w.Tell == nil {
		w.Tell = func(string, ...any) {}
	}
	c, err := reach(ctx, o, w.Name, math.MaxInt64, func() { w.Tell("waits for a server at %s", o.URL) })
	if err != nil {
		return err
	}
	defer c.Close()
	for waits := false; ; {
		var hi welcome
		switch err := c.ask(ctx, joinSubject, hello{w.Name, w.Numbers}, &hi); {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (c.IsClosed() || errors.Is(err, nats.ErrAuthorization)):
			return fmt.Errorf("fleet: %s: %w", o.URL, err)
		case err != nil:
			if !waits {
				w.Tell("waits for a trainer at %s", o.URL)
			}
			waits = true
			if err := sleep(ctx, time.Second); err != nil {
				return err
			}
			continue
		case hi.Refused != "":
			return fmt.Errorf("fleet: %w by the trainer at %s: %s", ErrRefused, o.URL, hi.Refused)
		}
		waits = false
		w.Tell("works for %s", hi.Run)
		s := &shift{Worker: w, nats: c, session: hi.Session, patient: hi.Patient}
		if err := s.run(ctx, hi.Announcement); !errors.Is(err, errEnded) {
			return err
		}
		w.Tell("%s has ended", hi.Run)
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}
