// Package external has rewards that are no part of doob: a program that is started once, or a server that is asked by HTTP. What scores samples may so be
// written in any language.
//
// A program gets one line of JSON a request on its standard input, and answers it by one line of JSON on its standard output, until its input ends:
//
//	{"file":"/tmp/doob-123.safetensors","offset":72,"shape":[2,28,28,1],"id":1,"metadata":{"prompt":"a red rose"}}
//	{"rewards":[0.25,-1.5]}
//
// The file is of safetensors, with one tensor x of float32 and that shape, the number of samples first, row-major, little endian; it is gone once the
// request is answered. Its data begin at the offset, so that a program reads them without a library for the format, as
// numpy.fromfile(file, "<f4", offset=offset).reshape(shape) or with od. Metadata are what else the reward shall know, and stand in the file too. An answer
// may repeat the id, which is then compared. What a program has to tell people belongs to its standard error; errors here show the end of it.
//
// A server gets the safetensors file as the body of a POST, and answers with status 200 and the same JSON.
//
// A reward is a number, or −∞ (-Infinity, as Python writes it, or the text "-Infinity"), which forbids the sample. What is missing is never 0: null, NaN,
// +∞ and a wrong number of rewards are errors that name the sample. {"error":"…"} says that the samples cannot be scored. Samples that are not finite,
// because their simulation diverged, are not sent, and get −∞.
//
// A program that dies, an answer that is late, connections that break and the statuses 429 and 5xx are tried again, after 1, 2, 4 … seconds. All else would
// come out the same, and is an error at once.
//
// A reward must depend on the sample alone, neither on the order of requests nor on chance: else a run that is resumed is not the run that never stopped.
//
// There are no gradients. Importance fine-tuning needs none; what an h that takes one would cost is in docs/adr/0014-rewards-from-outside.md: the program would be asked for every
// step of every path, and for every sample that is learned from, and not once a path. Methods that differentiate through the reward need it inside of a graph
// ([reward.Differentiable]), and GoMLX has no operation that calls back.
package external
