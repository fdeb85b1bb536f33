// Package op holds the coarse tensor operations that doob's networks and optimiser are made of.
//
// Most of them are, on a backend that has a kernel for them, named functions of the graph (see [Kernels]): a body of plain
// operations that every backend can run, under a name that says which operation this is and with which attributes. Any
// other backend gets the body alone. The name is
//
//	<op>__<key><value>__…__n<serial>
//
// where integers are decimal and shorter than eight digits, floats are the eight hexadecimal digits of their float32 bits,
// and the serial number only makes names unique within a graph. The ops, with inputs → outputs:
//
//	group_norm__g_e_s         x, scale, bias → y                        see [GroupNorm]
//	group_norm_grad__g_e_s    dy, x, scale, bias → dx, dscale, dbias
//	layer_norm__e             x, scale, bias → y                        see [LayerNorm]
//	layer_norm_grad__e        dy, x, scale → dx, dscale, dbias
//	silu                      x → y                                     see [SiLU]
//	silu_grad                 dy, x → dx
//	gelu                      x → y                                     see [GELU]
//	gelu_grad                 dy, x → dx
//	quick_gelu                x → y                                     see [QuickGELU]
//	quick_gelu_grad           dy, x → dx
//	geglu                     x → y                                     see [GEGLU]
//	geglu_grad                dy, x → dx
//	softmax                   x → y                                     see [Softmax]
//	softmax_grad              dy, y → dx
//	attention                 q, k, v → y                               see [Attention]
//	attention_grad            dy, y, q, k, v → dq, dk, dv
//	causal_attention          q, k, v → y                               see [CausalAttention]
//	causal_attention_grad     dy, y, q, k, v → dq, dk, dv
//	biased_attention          q, k, v, bias → y                         see [BiasedAttention]
//	biased_attention_grad     dy, y, q, k, v, bias → dq, dk, dv, dbias
//	upsample__f               x → y                                     see [Upsample]
//	upsample_grad__f          dy → dx
//	convolution__s_t_b_l_r    x, weights → y                            see [Conv]
//	sum_squares               x₁, x₂, … → Σᵢ Σ xᵢ²                      see [GlobalNorm]
//	adamw__p_q_e_w            p, grad, m, v, rate, fix1, fix2, scale → p, m, v    see [AdamW]
//	ema                       average, value, decay → average           see [EMA]
//
// Gradients are functions of the same kind, with the same attributes, and recompute what they need of the forward pass
// from its inputs. They have no gradients of their own. An inlined body is followed by a function that returns it,
// named differentiated__<name>, to which its gradient belongs.
package op
