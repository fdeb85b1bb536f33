package fleet

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Trainer hands out simulations. All its methods may be called at the same time.
type Trainer struct {
	patient time.Duration
	session string
	about   Announcement
	nats    connection
	files   Files
	tasks   jetstream.Consumer
	results jetstream.ConsumeContext
	answers []*nats.Subscription
	start   time.Time

	mutex   sync.Mutex
	jobs    map[string]*Job
	workers map[string]*seen
	refused []string
}

// Open makes a server that of this run: what an earlier one has left there is deleted. It is refused while another trainer works with it. A
// task that no worker says he is at for as long as patient is given to another; 0 means 10 s.
func Open(ctx context.Context, o Options, about Announcement, patient time.Duration) (*Trainer, error) {
	if patient == 0 {
		patient = 10 * time.Second
	}
	if len(about.Config) > mostWelcome/2 { // JSON may double it
		return nil, fmt.Errorf("fleet: the configuration of the run has %d bytes, of which workers take at most %d", len(about.Config), mostWelcome/2)
	}
	c, err := reach(ctx, o, "trainer", 10*time.Second, func() {})
	if err != nil {
		return nil, err
	}
	t := &Trainer{patient: patient, session: rand.Text(), about: about, nats: c, start: time.Now(), jobs: map[string]*Job{}, workers: map[string]*seen{}}
	if err := t.open(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

func (t *Trainer) open(ctx context.Context) error {
	if err := persist(ctx, "look for another trainer", forMessage, func(ctx context.Context) error {
		var other Status
		switch err := t.nats.ask(ctx, statusSubject, struct{}{}, &other); {
		case err == nil:
			return fmt.Errorf("%w: %s works with this server already: want a server, or an account, for each run", ErrRefused, other.Run)
		case !errors.Is(err, nats.ErrNoResponders):
			return err
		}
		return nil
	}); err != nil {
		return err
	}
	if err := persist(ctx, "make streams (is JetStream on, and its store large enough?)", forMessage, t.streams); err != nil {
		return err
	}
	for subject, answer := range map[string]func([]byte) any{joinSubject: t.join, beatSubject: t.beat, statusSubject: func([]byte) any { return t.Status() }} {
		s, err := t.nats.Subscribe(subject, func(m *nats.Msg) {
			if text, err := json.Marshal(answer(m.Data)); err == nil {
				m.Respond(text) // who gets no answer asks again
			}
		})
		if err != nil {
			return fmt.Errorf("fleet: %w", err)
		}
		t.answers = append(t.answers, s)
	}
	return persist(ctx, "answer workers", forMessage, t.nats.FlushWithContext) // from here on the next trainer is turned away
}

// streams makes all that lies on the server, anew: what an earlier trainer's tasks have left would be taken for copies of new ones.
func (t *Trainer) streams(ctx context.Context) error {
	consumer := jetstream.ConsumerConfig{Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: t.patient, MaxDeliver: -1, MaxAckPending: 1 << 16}
	var consumers []jetstream.Consumer
	for _, s := range []struct{ name, subject string }{{tasksName, tasksSubject}, {resultsName, resultsSubject}} {
		if err := t.nats.js.DeleteStream(ctx, s.name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return err
		}
		stream, err := t.nats.js.CreateStream(ctx, jetstream.StreamConfig{Name: s.name, Subjects: []string{s.subject + t.session}, Retention: jetstream.WorkQueuePolicy,
			Storage: jetstream.FileStorage})
		if err != nil {
			return err
		}
		c, err := stream.CreateConsumer(ctx, consumer)
		if err != nil {
			return err
		}
		consumers = append(consumers, c)
	}
	if err := t.nats.js.DeleteObjectStore(ctx, filesName); err != nil && !errors.Is(err, jetstream.ErrBucketNotFound) && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	store, err := t.nats.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{Bucket: filesName, Storage: jetstream.FileStorage})
	if err != nil {
		return err
	}
	results, err := consumers[1].Consume(t.place, jetstream.PullMaxMessages(64))
	if err != nil {
		return err
	}
	t.tasks, t.results, t.files = consumers[0], results, Files{store: store}
	return nil
}

// Put places a file, and returns the SHA-256 that orders name it by.
func (t *Trainer) Put(ctx context.Context, data []byte) (string, error) {
	return t.files.put(ctx, data)
}

// Drop removes a file that no job needs any more.
func (t *Trainer) Drop(ctx context.Context, sum string) error {
	return persist(ctx, "drop file "+sum, forMessage, func(ctx context.Context) error {
		if err := t.files.store.Delete(ctx, sum); !errors.Is(err, jetstream.ErrObjectNotFound) {
			return err
		}
		return nil
	})
}

// Close ends the session: workers wait for the next.
func (t *Trainer) Close() {
	for _, s := range t.answers {
		s.Unsubscribe()
	}
	t.results.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	t.nats.js.DeleteStream(ctx, tasksName) // so that workers see at once that it has ended; the next trainer deletes what is left
	t.nats.js.DeleteStream(ctx, resultsName)
	t.nats.js.DeleteObjectStore(ctx, filesName)
	t.nats.Close()
}
