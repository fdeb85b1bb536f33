// Package world draws a small world with captions: pictures of one or two things of a kind and a colour in a place, and sentences in the manner of the
// prompts by which the paper fine-tunes Stable Diffusion (section 4.4). There is no data set: picture i is a function of a key and i.
//
// Unlike of photographs, it is known what a picture shows ([Scene]), and whether it is what a caption says ([Caption.Shows]).
//
// The [Wanted] captions fail in a model that is trained on it, as the paper's prompts do in Stable Diffusion. What they ask for is under no other caption,
// and most pictures under them show something else that is under no other caption either: a white rabbit on a green ground for a green rabbit, a rose with
// a star for two roses, a dog with a cat for two dogs.
package world
