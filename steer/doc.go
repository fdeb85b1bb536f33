// Package steer holds the methods that change only how a diffusion model is sampled, not what it has learned:
// classifier guidance, best-of-K, and sequential Monte Carlo. They share the sampler, its path weights and its counter
// of network calls with fine-tuning, and may start from a fine-tuned control.
package steer
