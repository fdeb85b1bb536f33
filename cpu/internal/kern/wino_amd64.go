//go:build amd64 && !noasm

package kern

var (
	avx512Wino = Wino{
		Input: winoInputAVX512, OutputGrad: winoOutputGradAVX512, Output: winoOutputAVX512,
		Weight: winoWeightAVX512, WeightGrad: winoWeightGradAVX512,
	}
	avx2Wino = Wino{
		Input: winoInputAVX2, OutputGrad: winoOutputGradAVX2, Output: winoOutputAVX2,
		Weight: winoWeightAVX2, WeightGrad: winoWeightGradAVX2,
	}
)
