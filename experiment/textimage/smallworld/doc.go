// Package smallworld is a text-to-image model of the small captioned world (package data/world), in Stable Diffusion's formats: a folder in diffusers'
// layout, two preference models in ImageReward's, an encoder in CLIP's, and a checker that says what a picture shows.
//
//	model/       text encoder, U-Net and autoencoder, with their tokenizer
//	reward/      the preference model that is trained on
//	held-out/    another one, of other comparisons and another seed, that is only measured with
//	clip/        what the diversity of pictures is measured in
//	checker/     which things, which colour and which place a picture shows
//
// [Train] makes all of it from nothing but code: pictures, captions and preferences are drawn.
package smallworld
