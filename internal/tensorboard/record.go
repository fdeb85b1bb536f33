package tensorboard

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the CRC-32C of data as these files have it: rotated and shifted, so that the sum of data which contain sums is none of theirs.
func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// frame appends a record: its length as 8 bytes, their sum, the data, and theirs; all numbers little-endian.
func frame(to, data []byte) []byte {
	start := len(to)
	to = binary.LittleEndian.AppendUint64(to, uint64(len(data)))
	to = binary.LittleEndian.AppendUint32(to, masked(to[start:]))
	to = append(to, data...)
	return binary.LittleEndian.AppendUint32(to, masked(data))
}

// unframe returns the data of the records of a file, up to the first that is torn or damaged.
func unframe(file []byte) (records [][]byte) {
	const head, tail = 12, 4
	for len(file) >= head+tail {
		n, sum := binary.LittleEndian.Uint64(file), binary.LittleEndian.Uint32(file[8:])
		if sum != masked(file[:8]) || n > uint64(len(file)-head-tail) {
			break
		}
		data := file[head : head+int(n)]
		if binary.LittleEndian.Uint32(file[head+int(n):]) != masked(data) {
			break
		}
		records, file = append(records, bytes.Clone(data)), file[head+int(n)+tail:]
	}
	return records
}
