// Package exec runs the steps of a plan: it binds every step to a kernel and to the memory of its operands, once, and
// then executes the list again and again without allocating.
package exec
