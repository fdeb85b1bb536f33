package sd

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"github.com/doob-diffusion/doob/checkpoint"
	"github.com/doob-diffusion/doob/checkpoint/statedict"
)

// ImageReward is the sizes of the network of Xu et al. (2023) that says how much people like a picture for a text: a transformer of pictures, one of
// texts that attends to the picture, and linear maps from the state of the whole text to a number.
type ImageReward struct {
	Picture PictureEncoder
	Text    MatchEncoder
	Joint   int   // width of two projections that are in the file and have no use here
	Head    []int // widths of the linear maps, from that of the text to 1
}

// MatchEncoder is the sizes of a BERT with cross-attention.
type MatchEncoder struct {
	Vocabulary   int
	Positions    int
	Width        int
	Intermediate int // width of the perceptrons
	Layers       int
	Heads        int
	Epsilon      float64
}

// OpenImageReward opens ImageReward.safetensors or ImageReward.pt in a folder. Sizes are those of the tensors. The numbers of attention heads cannot
// be seen there: they are those of the published model, 16 for pictures and, if no med_config.json is beside it, 12 for texts.
func OpenImageReward(dir string) (ImageReward, *Weights, error) {
	r, err := openReward(dir)
	if err != nil {
		return ImageReward{}, nil, fmt.Errorf("ImageReward %s: %w", dir, err)
	}
	c, err := readReward(dir, r)
	if err == nil {
		var w *Weights
		if w, err = newWeights(r, c.Tensors(), func(name string) string { return name }); err == nil {
			return c, w, nil
		}
	}
	return ImageReward{}, nil, errors.Join(fmt.Errorf("%s: %w", r.Path(), err), r.Close())
}

func openReward(dir string) (checkpoint.Source, error) {
	const safe, pickled = "ImageReward.safetensors", "ImageReward.pt"
	if hasFile(dir, safe) {
		return checkpoint.Open(filepath.Join(dir, safe))
	}
	if hasFile(dir, pickled) {
		return statedict.Open(filepath.Join(dir, pickled))
	}
	return nil, instead(fmt.Errorf("%w: there is neither %s nor %s", ErrWeights, safe, pickled), dir)
}

func readReward(dir string, r checkpoint.Source) (ImageReward, error) {
	// size returns the length of an axis, 1 where there is none: then the tensor is missing or of another shape, and is named for it.
	size := func(name string, axis int) int {
		if info, ok := r.Info(name); ok && axis < len(info.Shape) {
			return max(1, info.Shape[axis])
		}
		return 1
	}
	count := func(format string) (n int) {
		for {
			if _, ok := r.Info(at(format, n)); !ok {
				return n
			}
			n++
		}
	}
	c := ImageReward{
		Picture: PictureEncoder{
			Width:        size(rewardPicture+"cls_token", 2),
			Intermediate: size(rewardPicture+"blocks.0.mlp.fc1.weight", 0),
			Layers:       count(rewardPicture + "blocks.%d.norm1.weight"),
			Heads:        16,
			Patch:        size(rewardPicture+"patch_embed.proj.weight", 2),
			Epsilon:      1e-6,
		},
		Text: MatchEncoder{
			Vocabulary:   size(rewardText+"embeddings.word_embeddings.weight", 0),
			Positions:    size(rewardText+"embeddings.position_embeddings.weight", 0),
			Width:        size(rewardText+"embeddings.word_embeddings.weight", 1),
			Intermediate: size(rewardText+"encoder.layer.0.intermediate.dense.weight", 0),
			Layers:       count(rewardText + "encoder.layer.%d.attention.self.query.weight"),
			Heads:        12,
			Epsilon:      1e-12,
		},
		Joint: size("blip.vision_proj.weight", 0),
	}
	c.Picture.Side = int(math.Sqrt(float64(size(rewardPicture+"pos_embed", 1)-1))) * c.Picture.Patch
	c.Head = []int{c.Text.Width}
	for _, i := range rewardHead {
		c.Head = append(c.Head, size(at("mlp.layers.%d.weight", i), 0))
	}
	if hasFile(dir, "med_config.json") {
		s, err := readSettings(filepath.Join(dir, "med_config.json"))
		if err != nil {
			return c, err
		}
		c.Text.Heads = s.positive("num_attention_heads", 12)
		if err := s.err(); err != nil {
			return c, err
		}
	}
	if c.Text.Width%c.Text.Heads != 0 || c.Picture.Width%c.Picture.Heads != 0 {
		return c, fmt.Errorf("%w: widths of %d for pictures and %d for texts, expected multiples of %d and %d attention heads",
			ErrWeights, c.Picture.Width, c.Text.Width, c.Picture.Heads, c.Text.Heads)
	}
	return c, nil
}
