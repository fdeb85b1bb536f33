package fleet

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/doob-diffusion/doob/internal/atomicfile"
)

// Files are those of a run, by their SHA-256.
type Files struct {
	store jetstream.ObjectStore
	cache string // folder with those that were asked for with keep; "" for none
}

var sums = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Get returns a file. With keep it is kept on this machine, for the next time.
func (f *Files) Get(ctx context.Context, sum string, keep bool) (data []byte, err error) {
	if !sums.MatchString(sum) {
		return nil, fmt.Errorf("fleet: file %q: want a SHA-256 in hexadecimal digits", sum)
	}
	local := ""
	if keep && f.cache != "" {
		local = filepath.Join(f.cache, sum)
		if data, err := os.ReadFile(local); err == nil && sumOf(data) == sum {
			return data, nil
		}
	}
	err = persist(ctx, "file "+sum, forFile, func(ctx context.Context) error {
		data, err = f.read(ctx, sum)
		return err
	})
	if err != nil {
		return nil, err
	}
	if sumOf(data) != sum {
		return nil, fmt.Errorf("fleet: file %s has the SHA-256 %s", sum, sumOf(data))
	}
	if local != "" {
		err := os.MkdirAll(f.cache, 0o777)
		if err == nil {
			err = atomicfile.Write(local, data)
		}
		if err != nil {
			return nil, fmt.Errorf("fleet: keep file %s: %w", sum, err)
		}
	}
	return data, nil
}

func (f *Files) read(ctx context.Context, sum string) ([]byte, error) {
	object, err := f.store.Get(ctx, sum)
	if err != nil {
		return nil, err
	}
	defer object.Close()
	info, err := object.Info()
	if err != nil {
		return nil, err
	}
	if info.Size > mostFile {
		return nil, fmt.Errorf("it has %d bytes, want at most %d", info.Size, int64(mostFile))
	}
	return io.ReadAll(io.LimitReader(object, int64(info.Size)))
}

// put places a file, unless it is there, and returns its SHA-256.
func (f *Files) put(ctx context.Context, data []byte) (string, error) {
	sum := sumOf(data)
	return sum, persist(ctx, "place file "+sum, forFile, func(ctx context.Context) error {
		if _, err := f.store.GetInfo(ctx, sum); !errors.Is(err, jetstream.ErrObjectNotFound) {
			return err
		}
		_, err := f.store.PutBytes(ctx, sum, data)
		return err
	})
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
