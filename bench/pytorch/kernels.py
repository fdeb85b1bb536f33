"""Matrix products and convolutions in PyTorch. Every function returns one step, a function without arguments."""

import torch
import torch.nn.functional as F

FORMATS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


def gemm(variant, m, n, k, trans_a=0, trans_b=0):
    """C [m,n] = A [m,k] · B [k,n], A and B stored transposed where said.

    "mm" is torch.mm, which calls MKL. "onednn" is the same product as a 1×1 convolution of a channels-last image of 1×m
    pixels, which calls oneDNN, on some processors the faster library: with B stored as oneDNN likes it whatever trans_b
    says, and with a copy of A made each time if A is stored transposed.
    """
    a = torch.randn(k, m).t() if trans_a else torch.randn(m, k)
    if "onednn" in variant:
        kernel = torch.randn(n, k)[:, :, None, None]

        def product(a, kernel):
            return F.conv2d(a.contiguous().view(1, 1, m, k).permute(0, 3, 1, 2), kernel)

        return inference(product, a, kernel)
    b = torch.randn(n, k).t() if trans_b else torch.randn(k, n)
    c = torch.empty(m, n)
    return inference(lambda a, b: torch.mm(a, b, out=c), a, b)


def conv(variant, batch, inputs, outputs, size, kernel=3, stride=1, gradients=0, direct=0):
    """A convolution [batch, inputs, size, size] → outputs with padding kernel // 2, and with gradients set also its
    gradients with respect to image and kernel, without the overhead of autograd. oneDNN chooses the method."""
    del direct
    layout = next(f for name, f in FORMATS.items() if name in variant)
    x = torch.randn(batch, inputs, size, size).contiguous(memory_format=layout)
    w = torch.randn(outputs, inputs, kernel, kernel).contiguous(memory_format=layout)
    pad = kernel // 2
    side = (size + 2 * pad - kernel) // stride + 1
    dy = torch.randn(batch, outputs, side, side).contiguous(memory_format=layout)

    def forward(x, w, dy):
        return F.conv2d(x, w, stride=stride, padding=pad)

    def both(x, w, dy):
        y = F.conv2d(x, w, stride=stride, padding=pad)
        dx, dw, _ = torch.ops.aten.convolution_backward(
            dy, x, w, None, [stride, stride], [pad, pad], [1, 1], False, [0, 0], 1, [True, True, False]
        )
        return y, dx, dw

    fn = both if gradients else forward
    if "compile" in variant:
        fn = torch.compile(fn)
    return inference(fn, x, w, dy)


def inference(fn, *args):
    def step():
        with torch.inference_mode():
            fn(*args)

    return step
