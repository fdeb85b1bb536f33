// Package report turns results into files for people: aligned text tables, PNG figures, image grids and one
// self-contained HTML page.
//
// Every file is written whole or not at all, see internal/atomicfile. Figures are drawn by gonum/plot at two
// pixels per CSS pixel and say so in the PNG, so that the page shows them at their natural size. In all of them blue is
// what was sampled and orange is what is exact.
//
// The fonts hold Latin, Greek and the common signs; a character that they lack is drawn as a box.
package report
