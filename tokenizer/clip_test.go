package tokenizer

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/internal/golden"
)

type encoded struct {
	Text        string
	IDs         []int
	Untruncated int
}

func tiny(t testing.TB) *CLIP {
	t.Helper()
	c, err := OpenCLIP(golden.Path("pipeline/tokenizer"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// published has CLIP's own merges and the vocabulary that follows from them.
var published = sync.OnceValue(func() *CLIP {
	b, err := os.ReadFile(golden.Path("clip-bpe/merges.txt.gz"))
	if err != nil {
		panic(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		panic(err)
	}
	if b, err = io.ReadAll(z); err != nil {
		panic(err)
	}
	merges, err := ParseMerges(string(b))
	if err != nil {
		panic(err)
	}
	c, err := NewCLIP(Vocabulary(merges), merges, clipEnd)
	if err != nil {
		panic(err)
	}
	return c
})

func TestCLIPGoldens(t *testing.T) {
	c := tiny(t)
	for _, want := range golden.JSON[[]encoded](t, "text/tokens.json") {
		got := c.Encode(want.Text)
		if d := cmp.Diff(want.IDs, got.IDs); d != "" {
			t.Errorf("%q (-want +got):\n%s", want.Text, d)
		}
		if n := len(c.IDs(want.Text)) + 2; n != want.Untruncated || got.Used != min(n, 77) || (got.Lost != "") != (n > 77) {
			t.Errorf("%q: %d tokens, %d used, lost %q; want %d", want.Text, n, got.Used, got.Lost, want.Untruncated)
		}
	}
}

func TestPublishedMerges(t *testing.T) {
	c := published()
	if c.Size() != 49408 || c.start != 49406 || c.end != 49407 || c.Pad() != 49407 {
		t.Errorf("size %d, marks %d and %d, padding %d", c.Size(), c.start, c.end, c.Pad())
	}
	for _, want := range golden.JSON[[]encoded](t, "clip-bpe/tokens.json") {
		if d := cmp.Diff(want.IDs, c.IDs(want.Text)); d != "" {
			t.Errorf("%q (-want +got):\n%s", want.Text, d)
		}
	}
}

// The vocabulary of the folder follows from its merges too, as do all published ones.
func TestVocabularyFollowsFromMerges(t *testing.T) {
	merges, err := ParseMerges(string(golden.Read(t, "pipeline/tokenizer/merges.txt")))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(golden.JSON[map[string]int](t, "pipeline/tokenizer/vocab.json"), Vocabulary(merges)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestLostPart(t *testing.T) {
	c := published()
	text := strings.Repeat("A photo, ", 25) + "日本 and the Rest\tis lost"
	got := c.Encode(text)
	if want := "日本 and the rest is lost"; got.Lost != want || got.Used != 77 || got.IDs[76] != c.end {
		t.Errorf("lost %q of %d used, want %q of 77", got.Lost, got.Used, want)
	}
	// A word that is cut.
	if got := c.Encode(strings.Repeat("x ", 74) + "zqjxzqjx"); got.Lost == "" || !strings.HasSuffix("zqjxzqjx", got.Lost) {
		t.Errorf("lost %q, want the end of the last word", got.Lost)
	}
}

// Stable Diffusion 2.x pads with "!": special_tokens_map.json says so, and tokenizer_config.json has something else.
func TestPadding(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int
	}{
		"2.x":               {map[string]string{"special_tokens_map.json": `{"pad_token": "!"}`, "tokenizer_config.json": `{"pad_token": "<|endoftext|>"}`}, 0},
		"an object":         {map[string]string{"special_tokens_map.json": `{"pad_token": {"content": "!", "lstrip": false}}`}, 0},
		"the settings only": {map[string]string{"special_tokens_map.json": `{}`, "tokenizer_config.json": `{"pad_token": "!"}`}, 0},
		"null":              {map[string]string{"special_tokens_map.json": `{"pad_token": null}`}, 748},
		"none":              {nil, 748},
	} {
		dir := t.TempDir()
		for _, file := range []string{"vocab.json", "merges.txt"} {
			write(t, dir, file, string(golden.Read(t, "pipeline/tokenizer/"+file)))
		}
		for file, text := range c.files {
			write(t, dir, file, text)
		}
		got, err := OpenCLIP(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got.Pad() != c.want || got.Encode("a").IDs[76] != c.want {
			t.Errorf("%s: padding %d, want %d", name, got.Pad(), c.want)
		}
	}
}

// A folder that has tokenizer.json alone gives the same.
func TestWholeTokenizer(t *testing.T) {
	whole := golden.JSON[map[string]any](t, "pipeline/tokenizer/tokenizer.json")
	joined := func() []any {
		var lines []any
		for _, m := range whole["model"].(map[string]any)["merges"].([]any) {
			lines = append(lines, m.([]any)[0].(string)+" "+m.([]any)[1].(string))
		}
		return lines
	}
	for _, merges := range []any{whole["model"].(map[string]any)["merges"], joined()} { // today's way, and that of older versions
		whole["model"].(map[string]any)["merges"] = merges
		b, err := json.Marshal(whole)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir, "tokenizer.json", string(b))
		c, err := OpenCLIP(dir)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tiny(t), c, cmp.AllowUnexported(CLIP{}, encoding{}, merge{})); d != "" {
			t.Errorf("(-files +tokenizer.json):\n%s", d)
		}
	}
}

func TestUnusableVocabulary(t *testing.T) {
	merges := [][2]string{{"a", "b</w>"}}
	good := Vocabulary(merges)
	with := func(change func(v map[string]int)) map[string]int {
		v := maps.Clone(good)
		change(v)
		return v
	}
	for name, c := range map[string]struct {
		vocabulary map[string]int
		merges     [][2]string
		pad, want  string
	}{
		"two of one id": {with(func(v map[string]int) { v["zz"] = 3 }), merges, "!", "both have id 3"},
		"negative":      {with(func(v map[string]int) { v["zz"] = -1 }), merges, "!", "-1"},
		"huge":          {with(func(v map[string]int) { v["zz"] = 1 << 40 }), merges, "!", "expected one from 0"},
		"no byte":       {with(func(v map[string]int) { delete(v, "Ġ") }), merges, "!", `"Ġ"`},
		"no last byte":  {with(func(v map[string]int) { delete(v, "Ġ</w>") }), merges, "!", `"Ġ</w>"`},
		"no merged":     {good, [][2]string{{"a", "b</w>"}, {"a", "c"}}, "!", `merge 2, "a" and "c"`},
		"merge twice":   {good, [][2]string{{"a", "b</w>"}, {"a", "b</w>"}}, "!", "merges 1 and 2"},
		"no end":        {with(func(v map[string]int) { delete(v, clipEnd) }), merges, "!", clipEnd},
		"no padding":    {good, merges, "[PAD]", "[PAD]"},
	} {
		if _, err := NewCLIP(c.vocabulary, c.merges, c.pad); !errors.Is(err, ErrVocabulary) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: err = %v, want ErrVocabulary and %s", name, err, c.want)
		}
	}
	if _, err := NewCLIP(good, merges, "!"); err != nil {
		t.Error(err)
	}
	for text, want := range map[string]string{"#version: 0.2\na b\na\n": "line 3", "a b c": "line 1", "#version\n\n b": "line 3"} {
		if _, err := ParseMerges(text); !errors.Is(err, ErrVocabulary) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: err = %v, want %s", text, err, want)
		}
	}
	if got, err := ParseMerges("#version: 0.2\r\n# #\r\n#version #\n\n"); err != nil || !slices.Equal(got, [][2]string{{"#", "#"}, {"#version", "#"}}) {
		t.Errorf("merges %q, err = %v", got, err)
	}
	dir := t.TempDir()
	if _, err := OpenCLIP(dir); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "tokenizer.json") || !strings.Contains(err.Error(), dir) {
		t.Errorf("empty folder: err = %v", err)
	}
	write(t, dir, "tokenizer.json", `{"model": {"type": "Unigram"}}`)
	if _, err := OpenCLIP(dir); !errors.Is(err, ErrVocabulary) || !strings.Contains(err.Error(), "Unigram") {
		t.Errorf("another kind: err = %v", err)
	}
	write(t, dir, "vocab.json", `{"a": "b"}`)
	if _, err := OpenCLIP(dir); !errors.Is(err, ErrVocabulary) || !strings.Contains(err.Error(), "vocab.json") {
		t.Errorf("no numbers: err = %v", err)
	}
}

// slowly is the tokenizer as [CLIP] describes it, with a regular expression, symbols as strings, and a
// search for the best pair after every merge.
func slowly(vocabulary map[string]int, merges [][2]string, text string) (ids []int) {
	text = strings.ToValidUTF8(text, "\uFFFD")
	for text != "" {
		stretch, mark := text, ""
		if at := regexp.MustCompile(`<\|(start|end)oftext\|>`).FindStringIndex(text); at != nil {
			stretch, mark = text[:at[0]], text[at[0]:at[1]]
		}
		text = text[len(stretch)+len(mark):]
		var runes []rune
		for _, r := range norm.NFC.String(stretch) {
			if r == 'İ' {
				runes = append(runes, 'i', 0x307)
			} else {
				runes = append(runes, unicode.ToLower(r))
			}
		}
		for _, word := range slowWords.FindAllString(string(runes), -1) {
			ids = append(ids, slowMerge(vocabulary, merges, word)...)
		}
		if mark != "" {
			ids = append(ids, vocabulary[mark])
		}
	}
	return ids
}

// White space that only Unicode has is written out: \s is ASCII's in Go.
var slowWords = regexp.MustCompile(`'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\v\x{85}\p{Z}\p{L}\p{N}]+`)

func slowMerge(vocabulary map[string]int, merges [][2]string, word string) (ids []int) {
	var parts []string
	for _, b := range []byte(word) {
		parts = append(parts, byteSymbols[b])
	}
	parts[len(parts)-1] += wordEnd
	for {
		best, at := len(merges), -1
		for i := range len(parts) - 1 {
			if r := slices.Index(merges, [2]string{parts[i], parts[i+1]}); r >= 0 && r < best {
				best, at = r, i
			}
		}
		if at < 0 {
			break
		}
		parts = slices.Concat(parts[:at], []string{parts[at] + parts[at+1]}, parts[at+2:])
	}
	for _, p := range parts {
		ids = append(ids, vocabulary[p])
	}
	return ids
}

// slowRules are few and overlap, so that the order of merging matters.
var slowRules = [][2]string{{"a", "a"}, {"aa", "a</w>"}, {"b", "a"}, {"aa", "aa"}, {"t", "h"}, {"th", "e</w>"}, {"Ã", "©"}, {"a", "ba"}, {"ba", "ba"},
	{"'", "s</w>"}, {"l", "l</w>"}, {"i", "Ì"}, {"<", "|</w>"}, {"a", "b</w>"}, {"baba", "baba"}, {"aaaa", "aaaa"}}

func checkAgainstSlow(t testing.TB, c *CLIP, text string) {
	t.Helper()
	got, want := c.IDs(text), slowly(Vocabulary(slowRules), slowRules, text)
	if !slices.Equal(got, want) {
		t.Fatalf("%q: %v, want %v", text, got, want)
	}
	e := c.Encode(text)
	if len(e.IDs) != 77 || e.Used != min(len(got)+2, 77) || (e.Lost != "") != (len(got) > 75) {
		t.Fatalf("%q: %d ids, %d used, lost %q, of %d tokens", text, len(e.IDs), e.Used, e.Lost, len(got))
	}
	for _, id := range append(e.IDs, got...) {
		if id < 0 || id >= c.Size() {
			t.Fatalf("%q: id %d, want one below %d", text, id, c.Size())
		}
	}
}

func slowCLIP(t testing.TB) *CLIP {
	t.Helper()
	c, err := NewCLIP(Vocabulary(slowRules), slowRules, "!")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCLIPAgainstSlow(t *testing.T) {
	c := slowCLIP(t)
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringMatching(`[ab]{0,40}`), rapid.StringMatching(`[ \ta-eTHE0-9é'!<|>]{0,20}`), rapid.StringN(0, 10, -1),
			rapid.SampledFrom([]string{clipStart, clipEnd, "<|STARTOFTEXT|>", "İ", "ΑΣ", "e\u0301", "\u0344", "'LL", "\xff", "\u00a0\u2028", "½", "\u034f"}))
		text := strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
		got, want := c.IDs(text), slowly(Vocabulary(slowRules), slowRules, text)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	})
}

func FuzzCLIP(f *testing.F) {
	for _, s := range []string{"", "the baab aaaa", "it's", "İ ΑΣ", clipEnd + clipStart, "e\u0301\u0301", "\xff\xc3", "aabbaaabababababab"} {
		f.Add(s)
	}
	c := slowCLIP(f)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 || crowded(text) {
			t.Skip()
		}
		checkAgainstSlow(t, c, text)
	})
}

// crowded reports whether a text may have more marks in a row than package norm keeps together, which only compose can do.
func crowded(text string) bool { return strings.Contains(norm.NFC.String(text), joiner) }

// A word of 200 kB would take minutes if every merge looked at all of it.
func TestLongWord(t *testing.T) {
	c, begin := published(), time.Now()
	e := c.Encode(strings.Repeat("ab", 100_000))
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("200 kB took %v", took)
	}
	if e.Used != 77 || e.Lost == "" {
		t.Errorf("%d used, lost %d bytes", e.Used, len(e.Lost))
	}
}

func write(t testing.TB, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
