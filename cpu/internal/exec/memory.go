package exec

// Bytes returns what the instance takes besides parameters and outputs: its arena, its constants, and the scratch memory in which factors are packed,
// which all steps share.
func (i *Instance) Bytes() int {
	bytes := i.layout.Bytes + 4*(i.shared+i.rounding)
	for _, v := range i.layout.Consts {
		bytes += v.DType.SizeForDimensions(v.Dims...)
	}
	return bytes
}
