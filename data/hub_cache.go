package data

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/doob-diffusion/doob/internal/atomicfile"
	"github.com/doob-diffusion/doob/internal/machine"
)

// hubCache is the folder of a repository in the cache, as Python's library lays it out:
//
//	blobs/SUM                 contents, by SHA-256 or by Git's name; SUM.incomplete is a part of one
//	snapshots/COMMIT/NAME     links to them
//	refs/REVISION             the commit that a branch was when it was last asked for
type hubCache struct{ dir string }

func (c hubCache) blob(sum string) string { return filepath.Join(c.dir, "blobs", sum) }

func (c hubCache) snapshot(commit string) string { return filepath.Join(c.dir, "snapshots", commit) }

var sumName = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// fetch puts a file into the snapshot of a commit, unless it is there. A blob of the right size is taken to be right: it got its name when its sum was.
func (c hubCache) fetch(ctx context.Context, d download, address, commit string, f hubFile) error {
	p := f.published()
	local, err := filepath.Localize(f.Name)
	if err != nil || !sumName.MatchString(p.sum) || p.size < 0 {
		return fmt.Errorf("%w: got a file %q of %d bytes with sum %q, expected a name inside of the repository, and a SHA-256 or Git's SHA-1", ErrHub, f.Name, p.size, p.sum)
	}
	blob, link := c.blob(p.sum), filepath.Join(c.snapshot(commit), local)
	for _, dir := range []string{filepath.Dir(blob), filepath.Dir(link)} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
	}
	if info, err := os.Stat(blob); err != nil || info.Size() != p.size {
		part := blob + d.suffix
		if err := d.fetchFrom(ctx, address+p.name, p, part); err != nil {
			return fmt.Errorf("%s: %w", address+p.name, err)
		}
		if err := os.Rename(part, blob); err != nil {
			return err
		}
	}
	if a, err := os.Stat(link); err == nil {
		if b, err := os.Stat(blob); err == nil && os.SameFile(a, b) {
			return nil
		}
	}
	target, err := filepath.Rel(filepath.Dir(link), blob)
	if err != nil {
		return err
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Symlink(target, link) == nil {
		return nil
	}
	return os.Link(blob, link) // where links need rights that few have
}

// remember notes which commit a revision was.
func (c hubCache) remember(revision, commit string) error {
	if revision == commit {
		return nil
	}
	path := filepath.Join(c.dir, "refs", filepath.FromSlash(revision))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	return atomicfile.Write(path, []byte(commit))
}

// room reports an error if the disk has not the bytes that are still to come.
func (c hubCache) room(files []hubFile) error {
	var missing int64
	for _, f := range files {
		p := f.published()
		if blob := c.blob(p.sum); sizeOf(blob) != p.size {
			missing += p.size - min(p.size, sizeOf(blob+".incomplete"))
		}
	}
	if err := os.MkdirAll(c.dir, 0o777); err != nil {
		return err
	}
	if free, ok := machine.Disk(c.dir); ok && float64(missing) > free {
		return fmt.Errorf("%.2f GB are to be fetched, and %s has %.2f GB free: HF_HUB_CACHE names another place", float64(missing)/1e9, c.dir, free/1e9)
	}
	return nil
}
