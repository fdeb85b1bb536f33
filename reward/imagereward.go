package reward

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/doob-diffusion/doob/engine"
	"github.com/doob-diffusion/doob/sd"
	"github.com/doob-diffusion/doob/tokenizer"
)

// rewardTokens is the length of texts that ImageReward was trained on, marks included.
const rewardTokens = 35

// ImageReward says how much people like a picture for a text (Xu et al. 2023), in standard deviations over the pictures that it was trained on.
type ImageReward struct {
	engine  *engine.Engine
	network sd.ImageReward
	modules sd.Modules
	words   *tokenizer.WordPiece
}

// OpenImageReward loads ImageReward.safetensors or ImageReward.pt from a folder, into a scope of an engine such as "/imagereward". Vocabulary is the
// vocab.txt of bert-base-uncased, which is no part of what ImageReward's authors publish; "" means the one in the folder.
func OpenImageReward(e *engine.Engine, scope, dir, vocabulary string) (*ImageReward, error) {
	network, weights, err := sd.OpenImageReward(dir)
	if err != nil {
		return nil, err
	}
	words, err := openWords(dir, vocabulary)
	if err != nil {
		return nil, errors.Join(err, weights.Close())
	}
	r, err := newImageReward(e, scope, network, weights, words)
	return r, errors.Join(err, weights.Close())
}

func openWords(dir, vocabulary string) (*tokenizer.WordPiece, error) {
	if vocabulary == "" {
		vocabulary = filepath.Join(dir, "vocab.txt")
	}
	words, err := tokenizer.OpenWordPiece(vocabulary, "[DEC]", "[ENC]")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; ImageReward reads texts by the vocabulary of bert-base-uncased, which is no part of it: put that model's vocab.txt there, or say where it is", err)
	}
	return words, err
}

func newImageReward(e *engine.Engine, scope string, network sd.ImageReward, w *sd.Weights, words *tokenizer.WordPiece) (*ImageReward, error) {
	if n := network.Text.Vocabulary; words.Size() != n {
		return nil, fmt.Errorf("reward: vocab.txt has %d tokens, expected %d, of which the network has embeddings, without [DEC] and [ENC]", words.Size()-2, n-2)
	}
	modules, err := w.Load(e.Scope(scope), nil)
	if err != nil {
		return nil, err
	}
	return &ImageReward{e, network, modules, words}, nil
}

// For returns the reward of pictures [height, width, 3] for a text, and what [tokenizer.Tokens.Warning] says.
func (r *ImageReward) For(text string, height, width int) (*Pictured, string, error) {
	tokens := r.words.Encode(text, rewardTokens)
	ids, used := make([]int32, rewardTokens), make([]int32, rewardTokens)
	for i, id := range tokens.IDs {
		ids[i] = int32(id)
		if i < tokens.Used {
			used[i] = 1
		}
	}
	p, err := newPictured(r.engine, height, width, r.network.Picture.Side, func(x *graph.Node) *graph.Node {
		row := func(v []int32) *graph.Node {
			return graph.BroadcastToDims(graph.Const(x.Graph(), [][]int32{v}), x.Shape().Dimensions[0], rewardTokens)
		}
		return r.network.Score(r.modules, x, row(ids), row(used))
	})
	return p, tokens.Warning(), err
}
