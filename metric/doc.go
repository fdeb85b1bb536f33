// Package metric measures how far a set of samples is from its target.
//
// Everything runs on the host in float64. Samples are flat row-major float32 slices of shape [n, dim]. A set without
// samples has no metric: its value is NaN, never a misleading 0. A slice that is no whole number of rows, or two slices
// that must pair up and do not, are programmer errors and panic.
//
// Results do not depend on the number of threads: work is cut into fixed pieces whose results are added in a fixed order.
package metric
