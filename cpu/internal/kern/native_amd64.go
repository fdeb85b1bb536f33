//go:build amd64 && !noasm

package kern

import "golang.org/x/sys/cpu"

// native lists the assembly tables that this processor and operating system can run, the fastest first.
func native() []*Table {
	var tables []*Table
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512DQ {
		table := &Table{Name: "avx512", Gemm: avx512Gemm, Wino: avx512Wino, Vec: avx512Vec, Half: avx512Half}
		if cpu.X86.HasAVX512BF16 {
			table.Brain = &avx512Brain
		}
		tables = append(tables, table)
	}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		tables = append(tables, &Table{Name: "avx2", Gemm: avx2Gemm, Wino: avx2Wino, Vec: avx2Vec, Half: avx2Half})
	}
	return tables
}
