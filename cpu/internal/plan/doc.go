// Package plan turns a recorded graph into a list of steps and decides where every tensor lives.
//
// The passes run in this order, each in a file of its own:
//
//   - lower: view operations become views, everything else a node; what is not used is dropped
//   - epilogue: a bias and a residual move into the product or convolution that they follow
//   - chain: elementwise nodes join into chains that are evaluated in one pass over memory
//   - memory: the lifetime of every tensor, an arena that tensors share, results in the place of dead operands
//
// Nothing here computes; package exec runs the steps.
package plan
