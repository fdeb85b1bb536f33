package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/doob-diffusion/doob/internal/textfile"
)

// OpenCLIP reads the folder tokenizer of a diffusers model, or one that has the same files: vocab.json and merges.txt, or tokenizer.json with both
// in it. The padding is the pad_token of special_tokens_map.json, else that of tokenizer_config.json, else <|endoftext|>. The order matters: in
// Stable Diffusion 2.x the two files disagree, and the former is right.
func OpenCLIP(dir string) (*CLIP, error) {
	c, err := openCLIP(dir)
	if err != nil {
		return nil, fmt.Errorf("tokenizer %s: %w", dir, err)
	}
	return c, nil
}

func openCLIP(dir string) (*CLIP, error) {
	vocabulary, merges, err := clipVocabulary(dir)
	if err != nil {
		return nil, err
	}
	pad := clipEnd
	for _, name := range []string{"special_tokens_map.json", "tokenizer_config.json"} {
		var settings struct {
			Pad *tokenName `json:"pad_token"`
		}
		if err := readJSON(filepath.Join(dir, name), &settings); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if settings.Pad != nil {
			pad = string(*settings.Pad)
			break
		}
	}
	return NewCLIP(vocabulary, merges, pad)
}

func clipVocabulary(dir string) (map[string]int, [][2]string, error) {
	var vocabulary map[string]int
	err := readJSON(filepath.Join(dir, "vocab.json"), &vocabulary)
	if errors.Is(err, fs.ErrNotExist) {
		return wholeTokenizer(filepath.Join(dir, "tokenizer.json"))
	}
	if err != nil {
		return nil, nil, err
	}
	text, err := textfile.Read(filepath.Join(dir, "merges.txt"))
	if err != nil {
		return nil, nil, err
	}
	merges, err := ParseMerges(string(text))
	return vocabulary, merges, err
}

// wholeTokenizer reads a tokenizer.json.
func wholeTokenizer(path string) (map[string]int, [][2]string, error) {
	var file struct {
		Added []struct {
			ID      int    `json:"id"`
			Content string `json:"content"`
		} `json:"added_tokens"`
		Model struct {
			Type       string         `json:"type"`
			Vocabulary map[string]int `json:"vocab"`
			Merges     []mergeLine    `json:"merges"`
			Suffix     string         `json:"end_of_word_suffix"`
		} `json:"model"`
	}
	err := readJSON(path, &file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("got neither vocab.json with merges.txt nor tokenizer.json, expected one of them: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	if file.Model.Type != "BPE" || file.Model.Suffix != wordEnd {
		return nil, nil, fmt.Errorf("%w: %s has a model of type %q with end_of_word_suffix %q, expected CLIP's, \"BPE\" with %q",
			ErrVocabulary, path, file.Model.Type, file.Model.Suffix, wordEnd)
	}
	vocabulary, merges := file.Model.Vocabulary, make([][2]string, len(file.Model.Merges))
	if vocabulary == nil {
		vocabulary = map[string]int{}
	}
	for i, m := range file.Model.Merges {
		merges[i] = m
	}
	for _, a := range file.Added {
		if id, ok := vocabulary[a.Content]; ok && id != a.ID {
			return nil, nil, fmt.Errorf("%w: %s gives %q the id %d in the vocabulary and %d in added_tokens", ErrVocabulary, path, a.Content, id, a.ID)
		}
		vocabulary[a.Content] = a.ID
	}
	return vocabulary, merges, nil
}

// tokenName is a token as settings have it: a string, or an object with content.
type tokenName string

func (t *tokenName) UnmarshalJSON(b []byte) error {
	var object struct{ Content *string }
	if err := json.Unmarshal(b, (*string)(t)); err == nil {
		return nil
	}
	if err := json.Unmarshal(b, &object); err != nil || object.Content == nil {
		return fmt.Errorf("got token %s, expected a string or an object with content", b)
	}
	*t = tokenName(*object.Content)
	return nil
}

// mergeLine is a merge as tokenizer.json has it: two strings, or both in one.
type mergeLine [2]string

func (m *mergeLine) UnmarshalJSON(b []byte) error {
	var line string
	if json.Unmarshal(b, &line) == nil {
		merges, err := ParseMerges("#version\n" + line)
		if err != nil || len(merges) != 1 {
			return fmt.Errorf("got merge %q, expected two symbols with a space between", line)
		}
		*m = merges[0]
		return nil
	}
	var two []string
	if err := json.Unmarshal(b, &two); err != nil || len(two) != 2 {
		return fmt.Errorf("got merge %s, expected two symbols", b)
	}
	*m = mergeLine(two)
	return nil
}

func readJSON(path string, to any) error {
	b, err := textfile.Read(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrVocabulary, path, err)
	}
	return nil
}
