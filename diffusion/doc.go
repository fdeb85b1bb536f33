// Package diffusion is the process that everything else tilts: a Gaussian path from data to noise, its reverse-time
// transition kernels, the sampler that carries the path weight along, Tweedie's estimate, and the score-matching loss.
//
// The data flow of one simulation is
//
//	noise → x_1 → [ network: ε_θ, ε_h ] → visitor → x' = a·x + k·(ε_θ + ε_h) + s·z → … → x_0, log dP/dP^h
//
// A transition kernel is a table of [Step] values, a control h is handled as a noise prediction ε_h = −σ·h, and so one
// line of [Sampler.Run] gives the log ratio of every kernel. Times run from 1 (noise) to 0 (data). Equation numbers are
// those of Denker, Padhy, Vargas, Hertrich, "Iterative Importance Fine-tuning of Diffusion Models" (arXiv 2502.04468).
package diffusion
