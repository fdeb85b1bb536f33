"""The parts of a transformer block in PyTorch, as in kernels.py."""

import torch
import torch.nn.functional as F


def attention(variant, batch, heads, queries, keys, dim, gradients=0):
    """Scaled dot-product attention of heads that lie side by side, as linear maps leave them: PyTorch's flash attention."""
    shape = {"q": queries, "k": keys, "v": keys}
    q, k, v = (torch.randn(batch, n, heads, dim).transpose(1, 2) for n in shape.values())
    return steps(variant, F.scaled_dot_product_attention, [q, k, v], torch.randn(batch, queries, heads, dim).transpose(1, 2), gradients)


def layer_norm(variant, rows, width, gradients=0):
    x, scale, bias, dy = torch.randn(rows, width), torch.randn(width), torch.randn(width), torch.randn(rows, width)
    return steps(variant, lambda x, s, b: F.layer_norm(x, (width,), s, b), [x, scale, bias], dy, gradients)


def geglu(variant, rows, width, gradients=0):
    def gate(x):
        value, gate = x.chunk(2, dim=-1)
        return value * F.gelu(gate)

    return steps(variant, gate, [torch.randn(rows, 2 * width)], torch.randn(rows, width), gradients)


def steps(variant, fn, inputs, dy, gradients):
    """fn of the inputs, and with gradients set, their gradients for that of its result."""
    if "compile" in variant:
        fn = torch.compile(fn)
    if not gradients:

        def forward():
            with torch.inference_mode():
                fn(*inputs)

        return forward
    leaves = [x.detach().requires_grad_() for x in inputs]

    def both():
        torch.autograd.grad(fn(*leaves), leaves, dy)

    return both
