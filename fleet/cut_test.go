package fleet

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// cable lies between a worker and a server, and can be cut: what is sent meanwhile arrives when it is whole again.
type cable struct {
	net.Listener
	whole sync.RWMutex // held to cut it
}

// lay lays a cable to an address until the test ends.
func lay(t *testing.T, address string) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	c := &cable{Listener: l}
	go func() {
		for {
			here, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", address)
			if err != nil {
				here.Close()
				continue
			}
			go c.carry(here, there)
			go c.carry(there, here)
		}
	}()
	return c
}

func (c *cable) carry(from, to net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		c.whole.RLock()
		if n > 0 {
			_, err = to.Write(buffer[:n])
		}
		c.whole.RUnlock()
		if err != nil {
			if err != io.EOF {
				from.Close()
			}
			return
		}
	}
}

// A worker whose cable is cut in the middle of a task, for longer than the task is left to it, works on once it is whole; what it answers too late
// changes nothing. Another has done its task.
func TestCut(t *testing.T) {
	s := listen(t, ServerOptions{})
	trainer := open(t, s.URL())
	line := lay(t, strings.TrimPrefix(s.URL(), "nats://"))
	begun, answers := make(chan struct{}), make(chan int, 100)
	work(t, "nats://"+line.Addr().String(), func(from int) {
		if answers <- from; len(answers) == 2 {
			close(begun)
			time.Sleep(soon / 2)
		}
	})
	first := assign(t, trainer, 1)
	<-begun
	line.whole.Lock()
	work(t, s.URL(), nil)
	first()
	time.Sleep(soon)
	line.whole.Unlock()
	before := len(answers)
	for seed := uint64(2); len(answers) == before; seed++ {
		assign(t, trainer, seed)()
		if seed == 50 {
			t.Fatal("the worker does not come back")
		}
	}
}

// Who connects to a server that is about to stop, at whatever moment, finds the one that comes after it.
func TestConnectsLater(t *testing.T) {
	s := listen(t, ServerOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const hello = `INFO {"server_id":"doob","version":"2.15.2","proto":1,"max_payload":1048576}` + "\r\n"
	stops := []func(net.Conn){
		func(net.Conn) {},
		func(c net.Conn) { io.WriteString(c, hello) },
		func(c net.Conn) { io.WriteString(c, hello); c.(*net.TCPConn).SetLinger(0) }, // what is sent then breaks the pipe, or is reset
		func(c net.Conn) { io.WriteString(c, hello); c.Read(make([]byte, 10)) },
	}
	go func() {
		for i := 0; ; i++ {
			here, err := l.Accept()
			if err != nil {
				return
			}
			if i < len(stops) {
				stops[i](here)
				here.Close()
				continue
			}
			there, err := net.Dial("tcp", s.nats.Addr().String())
			if err != nil {
				t.Error(err)
				return
			}
			line := &cable{}
			go line.carry(here, there)
			go line.carry(there, here)
		}
	}()
	waits := 0
	c, err := reach(t.Context(), Options{URL: "nats://" + l.Addr().String()}, "test", time.Minute, func() { waits++ })
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if waits != 1 {
		t.Errorf("it was told %d times that it waits, want once", waits)
	}
}

// What passes is waited for, and what will be there again is told at once.
func TestAway(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, true},
		{&net.OpError{Op: "dial", Err: syscall.ENETUNREACH}, true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "trainer.example", IsTimeout: true}}, true},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "trainer.example", IsNotFound: true}}, false},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: protocol version not supported")}, false},
		{x509.UnknownAuthorityError{}, false},
		{nats.ErrAuthorization, false},
	} {
		if got := away(fmt.Errorf("connect: %w", c.err)); got != c.want {
			t.Errorf("%v: %t, want %t", c.err, got, c.want)
		}
	}
}
