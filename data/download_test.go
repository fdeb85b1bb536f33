package data

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// bytesOf is content for a download: 5,000 bytes that do not repeat.
func bytesOf(seed int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < 5000; i++ {
		fmt.Fprintf(&b, "%d:%d;", seed, i)
	}
	return b.Bytes()[:5000]
}

// mirror serves name as the standard library serves files, and records what it was asked for.
type mirror struct {
	content []byte
	asked   []string // Range headers
	// answer, if not nil, answers in place of the mirror; true leaves it to the mirror after all.
	answer func(w http.ResponseWriter, r *http.Request) bool
}

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	m.asked = append(m.asked, r.Header.Get("Range"))
	if r.Header.Get("Accept-Encoding") != "identity" { // a mirror may then unpack what it serves
		http.Error(w, "not as it is kept", http.StatusNotAcceptable)
		return
	}
	if r.URL.Path != "/sub/f.gz" {
		http.NotFound(w, r)
		return
	}
	if m.answer == nil || m.answer(w, r) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.content))
	}
}

// cut sends n bytes from where it is asked to start, promises all, and breaks the connection.
func (m *mirror) cut(n int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err == nil {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(m.content)-1, len(m.content)))
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(m.content)-from))
		if from > 0 {
			w.WriteHeader(http.StatusPartialContent)
		}
		w.Write(m.content[from:min(from+n, len(m.content))])
		if from+n < len(m.content) {
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		return false
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "a page of the server", code)
		return false
	}
}

func TestDownload(t *testing.T) {
	content := bytesOf(1)
	part := func(n int) []byte { return content[:n] }
	for _, c := range []struct {
		name   string
		part   []byte // that is there from another time
		first  mirror
		answer func(m *mirror) func(http.ResponseWriter, *http.Request) bool
		asked  []string // of the first mirror
		second []string // asked of the second, which always works
		want   []string // parts of the error if there is only the first
	}{
		{name: "whole", asked: []string{""}},
		{name: "resumed", part: part(1234), asked: []string{"bytes=1234-"}},
		{name: "complete part", part: part(5000)},
		{name: "part of something else", part: bytesOf(2)[:700], asked: []string{"bytes=700-", ""}},
		{name: "complete part of something else", part: bytesOf(2), asked: []string{""}},
		{name: "part of something longer", part: append(bytesOf(1), 0), asked: []string{""}},
		{name: "ranges ignored", part: part(1234), asked: []string{"bytes=1234-"}, answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool { w.Write(m.content); return false }
		}},
		{name: "no length told", asked: []string{""}, answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.Write(m.content[:100])
				w.(http.Flusher).Flush()
				w.Write(m.content[100:])
				return false
			}
		}},
		{name: "breaks and goes on", asked: []string{"", "bytes=2000-", "bytes=4000-"}, answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool { return m.cut(2000) }},
		{name: "breaks at once", asked: []string{""}, second: []string{""}, want: []string{"unexpected EOF"},
			answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool { return m.cut(0) }},
		{name: "ends early without a length", asked: []string{"", "bytes=100-"}, second: []string{"bytes=100-"}, want: []string{"it ends before byte 100 of 5000", "no mirror"},
			answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					if r.Header.Get("Range") != "" {
						return status(http.StatusRequestedRangeNotSatisfiable)(w, r)
					}
					w.Write(m.content[:50])
					w.(http.Flusher).Flush()
					w.Write(m.content[50:100])
					return false
				}
			}},
		{name: "not found", part: part(300), asked: []string{"bytes=300-"}, second: []string{"bytes=300-"}, want: []string{"404 Not Found", "/sub/f.gz"},
			answer: func(*mirror) func(http.ResponseWriter, *http.Request) bool { return status(404) }},
		{name: "broken", asked: []string{""}, second: []string{""}, want: []string{"503 Service Unavailable"},
			answer: func(*mirror) func(http.ResponseWriter, *http.Request) bool { return status(503) }},
		{name: "a page in place of the file", part: part(300), asked: []string{"bytes=300-"}, second: []string{"bytes=300-"}, want: []string{"it has 21 bytes, expected 5000"},
			answer: func(*mirror) func(http.ResponseWriter, *http.Request) bool { return status(200) }},
		{name: "another range", part: part(300), asked: []string{"bytes=300-"}, second: []string{"bytes=300-"}, want: []string{`Content-Range "bytes 0-4999/5000"`},
			answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, _ *http.Request) bool {
					w.Header().Set("Content-Range", "bytes 0-4999/5000")
					w.WriteHeader(http.StatusPartialContent)
					return false
				}
			}},
		{name: "endless", asked: []string{""}, second: []string{""}, want: []string{"goes on after the expected 5000 bytes"},
			answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, _ *http.Request) bool {
					for {
						if _, err := w.Write(m.content); err != nil {
							return false
						}
					}
				}
			}},
		{name: "stalls", asked: []string{"", "bytes=100-"}, second: []string{"bytes=100-"}, want: []string{"no data for too long"},
			answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
				return func(w http.ResponseWriter, r *http.Request) bool {
					if r.Header.Get("Range") == "" {
						w.Header().Set("Content-Length", "5000")
						w.Write(m.content[:100])
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
					return false
				}
			}},
		{name: "slow but steady", asked: []string{""}, answer: func(m *mirror) func(http.ResponseWriter, *http.Request) bool {
			return func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Content-Length", "5000")
				for i := range 5 {
					time.Sleep(150 * time.Millisecond)
					w.Write(m.content[1000*i : 1000*(i+1)])
					w.(http.Flusher).Flush()
				}
				return false
			}
		}},
		{name: "altered", first: mirror{content: bytesOf(3)}, asked: []string{""}, second: []string{""}, want: []string{"checksum mismatch", sum(bytesOf(3)), sum(content)}},
		{name: "altered, resumed", part: part(300), first: mirror{content: bytesOf(3)}, asked: []string{"bytes=300-", ""}, second: []string{""}, want: []string{"checksum mismatch"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, second := c.first, mirror{content: content}
			if first.content == nil {
				first.content = content
			}
			if c.answer != nil {
				first.answer = c.answer(&first)
			}
			var addresses []string
			for _, m := range []*mirror{&first, &second} {
				server := httptest.NewServer(m)
				defer server.Close()
				addresses = append(addresses, server.URL+"/sub/")
			}
			f, patience := published{"f.gz", 5000, sum(content)}, time.Minute
			switch c.name {
			case "stalls":
				patience = 100 * time.Millisecond
			case "slow but steady": // in all longer than that
				patience = 600 * time.Millisecond
			}
			for n := 1; n <= 2; n++ {
				dir := t.TempDir()
				path := filepath.Join(dir, "f.gz")
				if c.part != nil {
					write(t, dir, "f.gz.part", c.part)
				}
				first.asked, second.asked = nil, nil
				last := Progress{Done: -1}
				d := download{client: http.DefaultClient, mirrors: addresses[:n], patience: patience, suffix: ".part", observe: func(p Progress) {
					if p.File != "f.gz" || p.Total != 5000 || p.Done > p.Total {
						t.Errorf("progress %+v", p)
					}
					last = p
				}}
				err := d.fetch(t.Context(), f, path)
				if d := cmp.Diff(c.asked, first.asked); d != "" {
					t.Errorf("%d mirrors: asked of the first (-want +got):\n%s", n, d)
				}
				if n == 1 && c.want != nil {
					if err == nil {
						t.Fatal("no error")
					}
					for _, want := range append(c.want, addresses[0]+"f.gz") {
						if !strings.Contains(err.Error(), want) {
							t.Errorf("err = %v, want %q in it", err, want)
						}
					}
					if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
						t.Error("a file that is not the published one is there under its name")
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(map[string]string{"f.gz": string(content)}, folder(t, dir)); d != "" {
					t.Errorf("%d mirrors: folder (-want +got):\n%s", n, d)
				}
				if n == 2 {
					if d := cmp.Diff(c.second, second.asked); d != "" {
						t.Errorf("asked of the second (-want +got):\n%s", d)
					}
				}
				if last.Done != 5000 && c.asked != nil {
					t.Errorf("the last progress is %+v", last)
				}
			}
		})
	}
}

// A download that is interrupted goes on where it was.
func TestDownloadInterrupted(t *testing.T) {
	content := bytesOf(1)
	ctx, cancel := context.WithCancel(t.Context())
	m := &mirror{content: content}
	m.answer = func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Length", "5000")
		w.Write(content[:2000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return false
	}
	server := httptest.NewServer(m)
	defer server.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "f.gz")
	d := download{client: http.DefaultClient, mirrors: []string{server.URL + "/sub/", server.URL + "/other/"}, patience: time.Minute, suffix: ".part", observe: func(p Progress) {
		if p.Done == 2000 {
			cancel()
		}
	}}
	f := published{"f.gz", 5000, sum(content)}
	if err := d.fetch(ctx, f, path); !errors.Is(err, context.Canceled) {
		t.Fatalf("err = %v, want Canceled", err)
	}
	if got := folder(t, dir); got["f.gz.part"] != string(content[:2000]) || len(got) != 1 {
		t.Errorf("%d files, the part has %d bytes, want 2000", len(got), len(got["f.gz.part"]))
	}
	m.answer = nil
	if err := d.fetch(t.Context(), f, path); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"", "bytes=2000-"}, m.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
}

// A set is fetched file by file, what is there is left alone, and what is damaged is fetched anew.
func TestDownloadSet(t *testing.T) {
	s, content := tinyMNIST()
	asked := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path]++
		for i, f := range s.published {
			if r.URL.Path == "/own/"+f.name || r.URL.Path == "/given/"+f.name && i == 0 {
				w.Write(content[i])
				return
			}
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	s.mirrors = []string{server.URL + "/given/", server.URL + "/own/"}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	get := func(want map[string]int) {
		t.Helper()
		clear(asked)
		if err := s.Download(t.Context(), dir, func(Progress) {}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, asked); d != "" {
			t.Errorf("asked (-want +got):\n%s", d)
		}
		if err := s.Check(dir); err != nil {
			t.Error(err)
		}
	}
	all := map[string]int{}
	for i, f := range s.published {
		all["/given/"+f.name]++
		if i > 0 {
			all["/own/"+f.name]++
		}
	}
	get(all)
	get(map[string]int{})
	write(t, dir, s.published[2].name, content[2][:20])
	get(map[string]int{"/given/" + s.published[2].name: 1, "/own/" + s.published[2].name: 1})

	s.mirrors = []string{server.URL + "/nowhere/"}
	err := s.Download(t.Context(), t.TempDir(), func(Progress) {})
	if err == nil || !strings.Contains(err.Error(), "download tiny: no mirror gave "+s.published[0].name) {
		t.Errorf("err = %v", err)
	}
}

// A part that cannot be written is no fault of the mirror: the next one is not asked.
func TestDownloadWithoutPlace(t *testing.T) {
	m := &mirror{content: bytesOf(1)}
	server := httptest.NewServer(m)
	defer server.Close()
	d := download{client: http.DefaultClient, mirrors: []string{server.URL + "/sub/", server.URL + "/sub/"}, patience: time.Minute, suffix: ".part", observe: func(Progress) {}}
	err := d.fetch(t.Context(), published{"f.gz", 5000, sum(m.content)}, filepath.Join(t.TempDir(), "missing", "f.gz"))
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "no mirror") || len(m.asked) != 1 {
		t.Errorf("err = %v after asking %d times", err, len(m.asked))
	}
}
