package tokenizer

import (
	"errors"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"

	"github.com/doob-diffusion/doob/internal/golden"
)

func bert(t testing.TB) *WordPiece {
	t.Helper()
	w, err := OpenWordPiece(golden.Path("imagereward/vocab.txt"), "[DEC]", "[ENC]")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWordPieceGoldens(t *testing.T) {
	w := bert(t)
	if w.Size() != 215 {
		t.Errorf("size %d, want 215", w.Size())
	}
	for _, want := range golden.JSON[[]encoded](t, "imagereward/tokens.json") {
		got := w.Encode(want.Text, 35)
		if d := cmp.Diff(want.IDs, got.IDs); d != "" {
			t.Errorf("%q (-want +got):\n%s", want.Text, d)
		}
		if got.Used != min(want.Untruncated, 35) || (got.Lost != "") != (want.Untruncated > 35) {
			t.Errorf("%q: %d used, lost %q; want %d", want.Text, got.Used, got.Lost, want.Untruncated)
		}
	}
}

func TestWordPieceLostPart(t *testing.T) {
	if got := bert(t).Encode("A dog and the Rest, Ünlost", 6); got.Lost != "rest , unlost" {
		t.Errorf("lost %q", got.Lost)
	}
}

func TestUnusableWordPieces(t *testing.T) {
	for text, want := range map[string]string{
		"[PAD]\n[UNK]\n[CLS]\n[SEP]\n":                "[MASK]",
		"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[CLS]\n": "lines 3 and 6",
		"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[ENC]":   "[ENC]",
		strings.Repeat("x", 1<<17):                    "line 1",
		"":                                            "[PAD]",
	} {
		if _, err := NewWordPiece(strings.NewReader(text), "[ENC]"); !errors.Is(err, ErrVocabulary) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: err = %v, want ErrVocabulary and %s", text, err, want)
		}
	}
	if _, err := OpenWordPiece(t.TempDir() + "/vocab.txt"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v, want fs.ErrNotExist", err)
	}
}

var (
	slowSpecials = regexp.MustCompile(`\[(PAD|UNK|CLS|SEP|MASK|DEC|ENC)\]`)
	slowDropped  = regexp.MustCompile(`[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\x{fffd}\p{Cf}\p{Co}]`)
	slowChinese  = regexp.MustCompile(`[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{20000}-\x{2a6df}\x{2a700}-\x{2b73f}\x{2b740}-\x{2b81f}\x{2b820}-\x{2ceaf}\x{f900}-\x{faff}\x{2f800}-\x{2fa1f}]`)
	slowPieces   = regexp.MustCompile(`[!-/:-@\[-` + "`" + `{-~\p{P}]|[^\s\p{Z}!-/:-@\[-` + "`" + `{-~\p{P}]+`)
)

// slowWordPiece is the tokenizer of BERT in regular expressions, one rule after the other, and a search through all prefixes.
func slowWordPiece(w *WordPiece, text string) (ids []int) {
	text = strings.ToValidUTF8(text, "\ufffd") // which is dropped between the special tokens, not within one
	for text != "" {
		stretch, mark := text, ""
		if at := slowSpecials.FindStringIndex(text); at != nil {
			stretch, mark = text[:at[0]], text[at[0]:at[1]]
		}
		text = text[len(stretch)+len(mark):]
		stretch = slowDropped.ReplaceAllString(stretch, "")
		stretch = strings.Map(func(r rune) rune {
			if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z) && !strings.ContainsRune("\t\n\r", r) {
				return -1 // not assigned
			}
			return r
		}, stretch)
		stretch = slowChinese.ReplaceAllString(stretch, " $0 ")
		stretch = strings.Map(func(r rune) rune {
			if unicode.Is(unicode.Mn, r) {
				return -1
			}
			return unicode.ToLower(r)
		}, norm.NFD.String(stretch))
	word:
		for _, word := range slowPieces.FindAllString(stretch, -1) {
			runes, found := []rune(word), []int(nil)
			for from := 0; from < len(runes); {
				longest := 0
				for to := from + 1; to <= len(runes); to++ {
					if _, ok := w.ids[map[bool]string{true: "##"}[from > 0]+string(runes[from:to])]; ok {
						longest = to
					}
				}
				if longest == 0 || len(runes) > 100 {
					ids = append(ids, w.u)
					continue word
				}
				found = append(found, w.ids[map[bool]string{true: "##"}[from > 0]+string(runes[from:longest])])
				from = longest
			}
			ids = append(ids, found...)
		}
		if mark != "" {
			ids = append(ids, w.ids[mark])
		}
	}
	return ids
}

func wordPieceIDs(w *WordPiece, text string) (ids []int) {
	for _, p := range w.pieces(text) {
		ids = append(ids, p.id)
	}
	return ids
}

func TestWordPieceAgainstSlow(t *testing.T) {
	w := bert(t)
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringMatching(`[a-eTHing]{0,12}`), rapid.StringN(0, 10, -1), rapid.StringMatching(`[a-z]{95,105}`),
			rapid.SampledFrom([]string{"[CLS]", "[DEC]", "[dec]", "É", "e\u0301\u0301", "日本", "\u00ad", "\xff", "a\x85b", "\u2028", "don't", "①", "ﬁ", "\U0001fae8", "\U000f0000"}))
		text := strings.Join(rapid.SliceOfN(word, 0, 6).Draw(t, "words"), rapid.SampledFrom([]string{"", " "}).Draw(t, "between"))
		if got, want := wordPieceIDs(w, text), slowWordPiece(w, text); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
	})
}

func FuzzWordPiece(f *testing.F) {
	for _, s := range []string{"", "The dog's [SEP]", "日本 é", "\xff\x00\ufffd", "[S\x98EP]", strings.Repeat("a", 101)} {
		f.Add(s, 35)
	}
	w := bert(f)
	f.Fuzz(func(t *testing.T, text string, length int) {
		if length < 2 || length > 512 {
			t.Skip()
		}
		got, want := wordPieceIDs(w, text), slowWordPiece(w, text)
		if !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", text, got, want)
		}
		e := w.Encode(text, length)
		if len(e.IDs) != length || e.Used != min(len(got)+2, length) {
			t.Fatalf("%q: %d ids, %d used, of %d tokens", text, len(e.IDs), e.Used, len(got))
		}
		for _, id := range append(e.IDs, got...) {
			if id < 0 || id >= w.Size() {
				t.Fatalf("%q: id %d, want one below %d", text, id, w.Size())
			}
		}
	})
}
