// Package attention computes softmax(q·kᵀ/√Dim + bias)·v and its gradients, head by head, without ever holding the scores of all
// queries with all keys: a block of queries meets one block of keys after the other (Dao et al. 2022, "FlashAttention").
//
// Results do not depend on the number of workers: blocks, parts and the order of every sum follow from the shapes and the
// instruction set alone.
package attention
