// Package finetune is Algorithm 1: iterative importance fine-tuning of a diffusion model toward a reward.
//
// [FineTuning.Run] is the loop: simulate, weigh, select, fit. What differs between methods is two small values. A
// [Selector] says which simulated endpoints to keep, from their path weights and rewards: relaxed rejection (14) is the
// paper's method; reward-only, elite (cross-entropy method), threshold (ReST) and best-of-K (RAFT) are the others. An
// [Objective] turns an iteration into gradient steps on h: the supervised loss (15) on what was kept, or VarGrad (57),
// adjoint matching, and online fine-tuning by backpropagation through the chain (10) on the paths themselves, or policy gradients, [DPOK] and [DDPO], on
// steps of them that were recorded. [Weighted.Accepted] rejects once more among samples of
// the h that was learned. Batches may be of an older h, see [Flight]. [Certify] says how far the paths are from the target, in what they reach, and whether that may be believed.
package finetune
