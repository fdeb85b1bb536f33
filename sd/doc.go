// Package sd has the networks of Stable Diffusion 1.x and 2.x, read from a folder in the layout of the library diffusers.
//
//	model_index.json                      the classes of the parts
//	unet/          config.json  diffusion_pytorch_model[.fp16].safetensors, or shards with an index
//	vae/           config.json  diffusion_pytorch_model[.fp16].safetensors
//	text_encoder/  config.json  model[.fp16].safetensors
//	tokenizer/     vocab.json  merges.txt  special_tokens_map.json, or tokenizer.json
//	scheduler/     scheduler_config.json
//
// [Open] reads and checks the configuration of all parts and what the headers of their weights say: each tensor that the configuration asks for is
// there with its shape, and no other. Whatever would compute something else than diffusers does is refused by name, value and what is supported.
// Weights are read one tensor at a time, in the precision of the file.
//
// [Weights.Load] makes variables of them, in the precision of the file or another one, see [Weights.Precision]. [Weights.Declare] makes them without
// values, so that [engine.Engine.Memory] can tell what a program will take. [TextEncoder.Apply], [UNet.Apply], [VAE.Encode] and [VAE.Decode] are the
// networks: graph functions of these variables, see [Modules]. They are tested against what diffusers 0.42 and transformers 5.24 compute.
//
// [Guided] is the U-Net under classifier-free guidance as a model of package diffusion, for texts that [Folder.Encode] has encoded, and [LowRank] a low-rank
// adapter of a network.
//
// [Unguided] is the U-Net of an [Unconditional] model, of pictures without texts or latents, see [OpenUnconditional].
//
// Tested too, against transformers and image-reward 1.5, are the networks that judge pictures: [CLIP], see [OpenCLIP], and [ImageReward], see
// [OpenImageReward].
//
// [Describe] says what a folder has, and all at once that would be refused. [Folder.Merge] copies a model with low-rank adapters in its weights.
//
// [Weights] keep PyTorch's layouts: convolutions [out, in, height, width], linear maps [out, in]. Variables and values have pictures as
// [batch, height, width, channels].
//
// [engine.Engine.Memory]: https://pkg.go.dev/github.com/doob-diffusion/doob/engine#Engine.Memory
package sd

import "errors"

var (
	// ErrUnsupported says that a model is none that this package computes: of another family, or with a part or setting that it has not.
	ErrUnsupported = errors.New("unsupported model")
	// ErrConfig says that a configuration cannot be read, or contradicts itself.
	ErrConfig = errors.New("bad configuration")
	// ErrWeights says that weights are not those that the configuration asks for, or not finite.
	ErrWeights = errors.New("unusable weights")
)
