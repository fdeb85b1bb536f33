package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// With TLS only those connect who trust the certificate.
func TestTLS(t *testing.T) {
	cert, key := certificate(t, "127.0.0.1")
	s := listen(t, ServerOptions{Cert: cert, Key: key})
	trainer, err := Open(t.Context(), Options{URL: s.URL(), CA: cert}, Announcement{}, soon)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	ctx, end := context.WithTimeout(t.Context(), 5*time.Second)
	defer end()
	if _, err := Ask(ctx, Options{URL: s.URL()}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the certificate: %v", err)
	}
}

// A server whose certificate is of a name is found by that name, and by its own process without it.
func TestNamed(t *testing.T) {
	const token = "0123456789abcdef"
	cert, key := certificate(t, "localhost")
	s := listen(t, ServerOptions{Address: "localhost:0", Token: token, Cert: cert, Key: key})
	trainer, err := Open(t.Context(), s.Options(), Announcement{Run: "a run"}, soon)
	if err != nil {
		t.Fatal(err)
	}
	defer trainer.Close()
	if status, err := Ask(t.Context(), Options{URL: s.URL(), Token: token, CA: cert}); err != nil || status.Run != "a run" {
		t.Errorf("at %s there is %q: %v", s.URL(), status.Run, err)
	}
	everywhere := listen(t, ServerOptions{Address: "0.0.0.0:0", Token: token})
	if host, err := os.Hostname(); err != nil || !strings.HasPrefix(everywhere.URL(), "nats://"+host+":") {
		t.Errorf("reached by all it is at %s, want the machine's name %s: %v", everywhere.URL(), host, err)
	}
}

// certificate makes one of a name or an address, for an hour.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	if address := net.ParseIP(name); address != nil {
		about.IPAddresses = []net.IP{address}
	} else {
		about.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", secret)
}
