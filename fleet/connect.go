package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Options say how to reach a server.
type Options struct {
	URL   string // nats://HOST:PORT, or tls:// for TLS
	Token string
	CA    string // file with the certificates to trust, for TLS; "" means the system's

	inside nats.InProcessConnProvider // the server, if it is of this process
}

// connection is one to a server, and to its streams.
type connection struct {
	*nats.Conn
	js jetstream.JetStream
}

// connect makes a connection that comes back after a server that restarts.
func connect(o Options, name string) (connection, error) {
	options := []nats.Option{nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(200 * time.Millisecond), nats.Timeout(5 * time.Second),
		nats.PingInterval(10 * time.Second), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})} // the default prints
	if o.Token != "" {
		options = append(options, nats.Token(o.Token))
	}
	if o.CA != "" {
		options = append(options, nats.RootCAs(o.CA))
	}
	url := o.URL
	if o.inside != nil {
		url, options = "", append(options, nats.InProcessServer(o.inside))
	}
	nc, err := nats.Connect(url, options...)
	if err != nil {
		if errors.Is(err, nats.ErrAuthorization) {
			err = fmt.Errorf("%w: %w: want the token that the server was started with (--token-file)", ErrRefused, err)
		}
		if errors.Is(err, nats.ErrNoServers) {
			err = fmt.Errorf("%w: nothing answers there: doob run --serve-workers begins a server with a run", err)
		}
		return connection{}, fmt.Errorf("fleet: connect to %s: %w", o.URL, err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return connection{}, fmt.Errorf("fleet: %w", err)
	}
	return connection{nc, js}, nil
}

// reach connects to a server that may not be there yet, for so long; waits is told so. Who is turned away need not wait.
func reach(ctx context.Context, o Options, name string, patience time.Duration, waits func()) (connection, error) {
	for start, told := time.Now(), false; ; {
		c, err := connect(o, name)
		if err == nil || !away(err) || time.Since(start) > patience {
			return c, err
		}
		if !told {
			told = true
			waits()
		}
		if err := sleep(ctx, 300*time.Millisecond); err != nil {
			return connection{}, err
		}
	}
}

// away reports whether an error is of a server that starts, stops or is cut off while one connects to it: and not of a name, token or certificate.
func away(err error) bool {
	if name := (*net.DNSError)(nil); errors.As(err, &name) {
		return !name.IsNotFound
	}
	op := (*net.OpError)(nil)
	return oneOf(err, nats.ErrNoServers, nats.ErrTimeout, io.EOF, net.ErrClosed) || errors.As(err, &op) && slices.Contains([]string{"dial", "read", "write"}, op.Op)
}

// ask sends a request as JSON and reads the answer.
func (c connection) ask(ctx context.Context, subject string, question, answer any) error {
	text, err := json.Marshal(question)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m, err := c.RequestWithContext(ctx, subject, text)
	if err != nil {
		return err
	}
	if len(m.Data) > mostWelcome {
		return fmt.Errorf("fleet: an answer of %d bytes from %s, want at most %d", len(m.Data), subject, mostWelcome)
	}
	return json.Unmarshal(m.Data, answer)
}

// patience is how long a server may be away.
const patience = 2 * time.Minute

var errAway = fmt.Errorf("the server has been away for %s; once it is back, doob run --resume goes on", patience)

// How long one attempt may take.
const forMessage, forFile = 10 * time.Second, 10 * time.Minute

// persist does something with the server, again and again where it is away for a while.
func persist(ctx context.Context, what string, each time.Duration, do func(ctx context.Context) error) error {
	for end := time.Now().Add(patience); ; {
		attempt, cancel := context.WithTimeout(ctx, each)
		err := do(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if lasting(err) {
			return fmt.Errorf("fleet: %s: %w", what, err)
		}
		if time.Now().After(end) {
			return fmt.Errorf("fleet: %s: %w: %w", what, errAway, err)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// lasting reports whether an error will be there again.
func lasting(err error) bool {
	return lost(err) || oneOf(err, ErrRefused, nats.ErrMaxPayload, nats.ErrAuthorization, jetstream.ErrObjectNotFound)
}

// lost reports whether an error says that what a trainer has made on the server is not there.
func lost(err error) bool {
	return oneOf(err, jetstream.ErrStreamNotFound, jetstream.ErrConsumerNotFound, jetstream.ErrConsumerDeleted, jetstream.ErrBucketNotFound)
}

func oneOf(err error, known ...error) bool {
	return slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) })
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// ReadToken reads a token from a file; "" for no file.
func ReadToken(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("fleet: token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < leastToken {
		return "", fmt.Errorf("fleet: the token in %s has %d characters, want at least %d", file, len(token), leastToken)
	}
	return token, nil
}
