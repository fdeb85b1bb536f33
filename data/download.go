package data

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	neturl "net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// published is a file that mirrors offer.
type published struct {
	name string // also the end of its address
	size int64
	sum  string // SHA-256, or of 40 digits the name that Git has for the content
}

var (
	errStalled = errors.New("no data for too long")
	errAddress = errors.New("not the published file")
)

// Download fetches the files of the set into the folder to, which is made if need be, unless they are there. Each file
// is taken from the first mirror that has it. What has come of a file stays beside its place as NAME.part, and another
// call continues there. A file appears under its own name only whole and with the published SHA-256.
//
// Where the set is not what is published but made of it, all this happens in the folder SET.originals in to. From there
// the set is checked and copied, by [Set.Copy], and then that folder goes; until then another call continues in it.
func (s Set) Download(ctx context.Context, to string, observe func(Progress)) error {
	originals := filepath.Join(to, s.Name+".originals")
	if s.Check(to) == nil {
		return os.RemoveAll(originals) // of a call that ended before it could do so itself
	}
	dir := to
	if s.derive != nil {
		dir = originals
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	d := download{client: http.DefaultClient, mirrors: s.mirrors, patience: 30 * time.Second, suffix: ".part", observe: observe}
	var files []verified
	for _, f := range s.published {
		path := filepath.Join(dir, f.name)
		if err := d.fetch(ctx, f, path); err != nil {
			return fmt.Errorf("download %s: %w", s.Name, err)
		}
		files = append(files, verified{path, f.sum})
	}
	if s.derive == nil {
		return writeSums(to, files)
	}
	if err := s.derive(ctx, dir, observe); err != nil {
		return fmt.Errorf("make %s: %w", s.Name, err)
	}
	if err := s.Copy(ctx, dir, to, func(Progress) {}); err != nil {
		return err
	}
	return os.RemoveAll(originals)
}

// download fetches files from mirrors that may be slow, wrong, or not there.
type download struct {
	client   *http.Client
	mirrors  []string      // addresses that end in a slash
	patience time.Duration // without a byte, until another mirror is asked
	suffix   string        // of the names of parts
	observe  func(Progress)
}

// fetch puts f at path, unless it is there.
func (d download) fetch(ctx context.Context, f published, path string) error {
	if hashes(path, f.sum) == nil {
		d.observe(Progress{f.name, f.size, f.size})
		return nil
	}
	part := path + d.suffix
	var failures []error
	for _, mirror := range d.mirrors {
		err := d.fetchFrom(ctx, mirror+f.name, f, part)
		if err == nil {
			return os.Rename(part, path)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s: %w", f.name, ctx.Err())
		}
		err = fmt.Errorf("%s: %w", mirror+f.name, err)
		if local := (*fs.PathError)(nil); errors.As(err, &local) {
			return err // a full disk will not be less full for another mirror
		}
		failures = append(failures, err)
	}
	return fmt.Errorf("no mirror gave %s:\n%w", f.name, errors.Join(failures...))
}

// fetchFrom completes part with what url has. While connections break but bring something, it asks for the rest.
func (d download) fetchFrom(ctx context.Context, url string, f published, part string) error {
	const connections = 20
	begun := sizeOf(part)
	for i := 1; ; i++ {
		before := sizeOf(part)
		err := d.request(ctx, url, f, part)
		if err == nil {
			break
		}
		local := (*fs.PathError)(nil) // of a disk that is full
		if ctx.Err() != nil || errors.Is(err, errAddress) || errors.As(err, &local) || sizeOf(part) <= before || i == connections {
			return err
		}
	}
	err := hashes(part, f.sum)
	if !errors.Is(err, ErrChecksum) {
		return err
	}
	if err := os.Remove(part); err != nil {
		return err
	}
	if begun > 0 { // the wrong bytes may be those from another time or mirror
		return d.fetchFrom(ctx, url, f, part)
	}
	return err
}

// request appends the rest of f to part, in one connection. It leaves part alone if the answer cannot be that rest.
func (d download) request(ctx context.Context, url string, f published, part string) (err error) {
	have := sizeOf(part)
	switch {
	case have == f.size:
		return nil
	case have > f.size: // no part of f
		have = 0
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(d.patience, func() { cancel(errStalled) })
	defer watch.Stop()
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("%w (%v)", errStalled, d.patience)
		}
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept-Encoding", "identity") // the sum is that of the file as it is kept
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		if wrapped := (*neturl.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err // the address is known
		}
		return err
	}
	defer resp.Body.Close()
	start, err := f.answered(resp, have)
	if err != nil {
		return err
	}
	file, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(start); err != nil {
		return err
	}
	if _, err := file.Seek(start, io.SeekStart); err != nil {
		return err
	}
	p := Progress{f.name, start, f.size}
	d.observe(p)
	_, err = io.Copy(file, readFunc(func(b []byte) (int, error) {
		n, err := resp.Body.Read(b)
		watch.Reset(d.patience)
		if p.Done += int64(n); p.Done > f.size {
			return 0, fmt.Errorf("%w: it goes on after the expected %d bytes", errAddress, f.size)
		}
		if n > 0 {
			d.observe(p)
		}
		return n, err
	}))
	if err == nil && p.Done < f.size {
		err = fmt.Errorf("got %d of %d bytes: %w", p.Done, f.size, io.ErrUnexpectedEOF)
	}
	if errors.Is(err, errAddress) {
		err = errors.Join(err, file.Truncate(start))
	}
	if err != nil {
		return err
	}
	return file.Sync()
}

// answered returns where the body of an answer begins in f, of which have bytes are there, if it can be f.
func (f published) answered(resp *http.Response, have int64) (start int64, err error) {
	switch resp.StatusCode {
	case http.StatusPartialContent:
		start = have
		if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have); !strings.HasPrefix(got, want) {
			return 0, fmt.Errorf("%w: got Content-Range %q, expected %s…", errAddress, got, want)
		}
	case http.StatusOK: // all of it, whatever was asked for
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, fmt.Errorf("%w: it ends before byte %d of %d", errAddress, have, f.size)
	default:
		return 0, fmt.Errorf("%w: got status %w", errAddress, statusError(resp.StatusCode))
	}
	if n := resp.ContentLength; n >= 0 && start+n != f.size {
		return 0, fmt.Errorf("%w: it has %d bytes, expected %d", errAddress, start+n, f.size)
	}
	return start, nil
}

// statusError is the status of an answer that is not the file.
type statusError int

func (s statusError) Error() string { return fmt.Sprintf("%d %s", int(s), http.StatusText(int(s))) }

// sizeOf returns the bytes of a file, 0 if there is none.
func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
