package fleet

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ServerOptions are those of a server inside of this process.
type ServerOptions struct {
	Address   string // host:port; without a host it is 127.0.0.1, and port 0 is any that is free
	Folder    string // of streams and files
	Token     string // needed beyond this machine
	Cert, Key string // files, for TLS; none without
	Payload   int    // bytes of a message; 0 means 8 MB
}

const leastToken = 16 // characters

// Server is a NATS server with JetStream and nothing else: no cluster, no gateways, no monitoring.
type Server struct {
	nats *server.Server
	host string // and port
	o    ServerOptions
}

// Listen starts a server. What it acknowledges is on disk.
func Listen(o ServerOptions) (*Server, error) {
	fail := func(err error) (*Server, error) { return nil, fmt.Errorf("fleet: serve at %s: %w", o.Address, err) }
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fail(fmt.Errorf("%w: want HOST:PORT, or :PORT for this machine only", err))
	}
	number, err := strconv.Atoi(port)
	if err != nil || number < 0 || number > 65535 {
		return fail(fmt.Errorf("port %q: want a number up to 65535", port))
	}
	switch {
	case host == "":
		host = "127.0.0.1"
	case !loopback(host) && len(o.Token) < leastToken:
		return fail(fmt.Errorf("%w: other machines could reach it: want a token of at least %d characters (--token-file), or the host 127.0.0.1", ErrRefused, leastToken))
	}
	if number == 0 {
		number = server.RANDOM_PORT
	}
	if o.Payload == 0 {
		o.Payload = 8 << 20
	}
	options := &server.Options{ServerName: "doob", Host: host, Port: number, Authorization: o.Token, NoSigs: true, NoLog: true, NoSystemAccount: true,
		JetStream: true, StoreDir: o.Folder, SyncAlways: true, MaxPayload: int32(o.Payload), MaxPending: int64(max(64<<20, 2*o.Payload))}
	if (o.Cert == "") != (o.Key == "") {
		return fail(errors.New("TLS takes both a certificate and its key"))
	}
	if o.Cert != "" {
		pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
		if err != nil {
			return fail(err)
		}
		options.TLSConfig, options.TLSTimeout = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, 5
	}
	s, err := server.NewServer(options)
	if err != nil {
		return fail(err)
	}
	go s.Start()
	if !s.ReadyForConnections(20*time.Second) || !s.JetStreamEnabled() {
		s.Shutdown()
		return fail(errors.New("it does not start: is the port free, and can " + o.Folder + " be written?"))
	}
	if address, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && address.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			host = address.String()
		}
	}
	_, port, _ = net.SplitHostPort(s.Addr().String())
	return &Server{s, net.JoinHostPort(strings.Trim(host, "[]"), port), o}, nil
}

// URL is where workers find it: by the name that it was given, which its certificate is of; by the machine's if it is to be reached by all.
func (s *Server) URL() string {
	if s.o.Cert != "" {
		return "tls://" + s.host
	}
	return "nats://" + s.host
}

// Options reach the server from this process, past network and TLS.
func (s *Server) Options() Options {
	return Options{URL: s.URL(), Token: s.o.Token, inside: s.nats}
}

// Close stops the server.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && address.IsLoopback()
}
