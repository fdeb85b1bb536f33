package smallworld

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/doob-diffusion/doob/data/world"
	"github.com/doob-diffusion/doob/tokenizer"
)

// words are all that occur in captions, sorted.
func words() []string {
	seen := map[string]bool{}
	for k := range world.Kinds {
		for c := range world.Colours {
			for p := range world.Places {
				for _, two := range []bool{false, true} {
					caption := world.Caption{Kind: k, Two: two, Colour: c, Place: p}.String()
					for _, w := range strings.Fields(strings.TrimSuffix(strings.ToLower(caption), ".")) {
						seen[w] = true
					}
				}
			}
		}
	}
	var all []string
	for w := range seen {
		all = append(all, w)
	}
	slices.Sort(all)
	return all
}

// merges joins the letters of every word from left to right, so that each is one token of CLIP's.
func merges() [][2]string {
	var all [][2]string
	seen := map[[2]string]bool{}
	for _, w := range words() {
		for end := 2; end <= len(w); end++ {
			pair := [2]string{w[:end-1], w[end-1 : end]}
			if end == len(w) {
				pair[1] += "</w>"
			}
			if !seen[pair] {
				seen[pair], all = true, append(all, pair)
			}
		}
	}
	return all
}

// clipSettings are what transformers must be told of a tokenizer of CLIP.
const clipSettings = `{
  "tokenizer_class": "CLIPTokenizer",
  "model_max_length": 77,
  "do_lower_case": true,
  "bos_token": "<|startoftext|>",
  "eos_token": "<|endoftext|>",
  "pad_token": "<|endoftext|>",
  "unk_token": "<|endoftext|>"
}
`

// writeCLIPWords writes the files of a tokenizer of CLIP.
func writeCLIPWords(dir string) error {
	text := strings.Builder{}
	text.WriteString("#version: 0.2\n")
	for _, m := range merges() {
		fmt.Fprintf(&text, "%s %s\n", m[0], m[1])
	}
	vocabulary, err := json.Marshal(tokenizer.Vocabulary(merges()))
	if err != nil {
		return err
	}
	return writeFiles(dir, map[string][]byte{"merges.txt": []byte(text.String()), "vocab.json": vocabulary, "tokenizer_config.json": []byte(clipSettings)})
}

// wordPieces are the tokens of ImageReward's tokenizer, in the order of their numbers: padding, what is not known, the marks, the full stop, the words.
// Their places are those of the published vocabulary's marks, whose numbers its tokenizer takes for granted, only closer together.
func wordPieces() []string {
	return append([]string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."}, words()...)
}

func writeWordPieces(dir string) error {
	return writeFiles(dir, map[string][]byte{"vocab.txt": []byte(strings.Join(wordPieces(), "\n") + "\n")})
}

// clipIDs returns the tokens of captions for CLIP's text encoders, [captions, 77].
func clipIDs(c *tokenizer.CLIP, captions []string) *tensors.Tensor {
	var ids []int32
	for _, text := range captions {
		for _, id := range c.Encode(text).IDs {
			ids = append(ids, int32(id))
		}
	}
	return tensors.FromFlatDataAndDimensions(ids, len(captions), tokenizer.CLIPLength)
}

// writeFiles writes files of a folder, which it makes.
func writeFiles(dir string, files map[string][]byte) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return err
		}
	}
	return nil
}
