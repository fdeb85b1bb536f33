"""Training and sampling steps of doob's networks, rewritten in PyTorch."""

import math

import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from torch import nn

TIME_FEATURES = 32


def sinusoids(t, dim):
    half = dim // 2
    frequency = torch.exp(torch.arange(half) * (-math.log(1e4) / max(half - 1, 1)))
    phase = 1000 * t[:, None] * frequency
    return torch.cat([torch.sin(phase), torch.cos(phase)], -1)


class MLP(nn.Module):
    """nn.MLP of doob: hidden layers with SiLU, residual between layers of equal width, the embedding of the time added
    before every activation, sines and cosines of the inputs at `octaves` frequencies."""

    def __init__(self, inputs, outputs, width, depth, timed=True, octaves=0):
        super().__init__()
        self.octaves = octaves
        inputs *= 1 + 2 * octaves
        self.hidden = nn.ModuleList(nn.Linear(width if i else inputs, width) for i in range(depth))
        self.time = nn.ModuleList(nn.Linear(TIME_FEATURES, width) for _ in range(depth)) if timed else None
        self.out = nn.Linear(width, outputs)

    def forward(self, x, t=None):
        if self.octaves:
            phases = [x * (math.pi / 4 * 2**k) for k in range(self.octaves)]
            x = torch.cat([x, *(f(p) for p in phases for f in (torch.sin, torch.cos))], -1)
        if self.time is not None:
            embedding = sinusoids(t, TIME_FEATURES)
        for i, layer in enumerate(self.hidden):
            y = layer(x)
            if self.time is not None:
                y = y + self.time[i](embedding)
            y = F.silu(y)
            x = x + y if i else y
        return self.out(x)


class Adaptive(nn.Module):
    """SiLU of normalised channels, with scale and bias made of the time embedding."""

    def __init__(self, channels, embedding):
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.made = nn.Linear(embedding, 2 * channels)

    def forward(self, x, e):
        scale, bias = self.made(e)[:, :, None, None].chunk(2, 1)
        return F.silu(torch.addcmul(bias, self.norm(x), 1 + scale))


class Block(nn.Module):
    """Residual block: two 3×3 convolutions, each after an adaptive normalisation."""

    def __init__(self, inputs, outputs, embedding):
        super().__init__()
        self.norm_0, self.norm_1 = Adaptive(inputs, embedding), Adaptive(outputs, embedding)
        self.conv_0 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_1 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x, e):
        h = self.conv_0(self.norm_0(x, e))
        return self.skip(x) + self.conv_1(self.norm_1(h, e))


class Attention(nn.Module):
    """Self-attention over the pixels, with one projection for query, key and value."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x)).permute(0, 2, 3, 1).reshape(b, h * w, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v)
        return x + self.out(y.transpose(1, 2).reshape(b, h, w, c).permute(0, 3, 1, 2))


class UNet(nn.Module):
    """nn.UNet of doob, with one block per level but the lowest, and attention there, after every block."""

    def __init__(self, width, heads=1, multipliers=(1, 2, 4), inputs=1, outputs=1, patch=1, bottom=1):
        super().__init__()
        c, e = [width * m for m in multipliers], 4 * width
        levels = range(len(c) - 1)  # but the lowest
        self.width, self.patch = width, patch
        self.time_0, self.time_1 = nn.Linear(width, e), nn.Linear(e, e)
        self.input = conv3(inputs * patch**2, c[0])
        self.down = nn.ModuleList(Block(c[max(i - 1, 0)], c[i], e) for i in levels)
        self.shrink = nn.ModuleList(conv3(c[i], c[i], 2) for i in levels)
        self.bottom = nn.ModuleList(Block(c[-1 if i else -2], c[-1], e) for i in range(bottom))
        self.attention = nn.ModuleList(Attention(c[-1], heads) for _ in range(bottom))
        self.grow = nn.ModuleList(conv3(c[i + 1], c[i]) for i in levels)
        self.up = nn.ModuleList(Block(2 * c[i], c[i], e) for i in levels)
        self.norm, self.output = Adaptive(c[0], e), conv3(c[0], outputs * patch**2)

    def forward(self, x, t):
        e = F.silu(self.time_1(F.silu(self.time_0(sinusoids(t, self.width)))))
        x = self.input(F.pixel_unshuffle(x, self.patch) if self.patch > 1 else x)
        kept = []
        for block, shrink in zip(self.down, self.shrink):
            kept.append(block(x, e))
            x = shrink(kept[-1])
        for block, attention in zip(self.bottom, self.attention):
            x = attention(block(x, e))
        for grow, block, skip in reversed(list(zip(self.grow, self.up, kept))):
            x = block(torch.cat([grow(double(x)), skip], 1), e)
        x = self.output(self.norm(x, e))
        return F.pixel_shuffle(x, self.patch) if self.patch > 1 else x


def group_norm(channels, affine=True):
    groups = 32
    while channels % groups or channels // groups < 4:
        groups //= 2
    return nn.GroupNorm(groups, channels, affine=affine)


def conv3(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


def double(x):
    return F.interpolate(x, scale_factor=2, mode="nearest")


def training_step(variant, net, optimizer, inputs, target, clip=None):
    """Forward, mean squared error, backward, clipping, optimiser step, averages of what is trained, the loss as a number."""
    parameters = [p for p in net.parameters() if p.requires_grad]
    averages = [p.detach().clone() for p in parameters]

    def loss_of(*args):
        return F.mse_loss(net(*args[:-1]), args[-1])

    loss_of = compiled(variant, loss_of)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(*inputs, target)
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip, foreach=True)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(averages, parameters, 1e-3)
        return loss.item()

    return step


def compiled(variant, fn):
    if "autotune" in variant:
        return torch.compile(fn, mode="max-autotune-no-cudagraphs")
    return torch.compile(fn) if "compile" in variant else fn


def mlp_train(variant, batch, width, depth):
    net = MLP(2, 2, width, depth)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    x, t, target = torch.randn(batch, 2), torch.rand(batch), torch.randn(batch, 2)
    return training_step(variant, net, optimizer, [x, t], target)


def layout_of(variant):
    return torch.channels_last if "nhwc" in variant else torch.contiguous_format


def unet(variant, width, heads, batch, size):
    """The network and a batch of images, times and targets, in the layout that the variant names."""
    layout = layout_of(variant)
    net = UNet(width, heads).to(memory_format=layout)
    image, target = torch.randn(2, batch, 1, size, size)
    return net, image.contiguous(memory_format=layout), torch.rand(batch), target.contiguous(memory_format=layout)


def unet_train(variant, width, heads, batch, size):
    net, x, t, target = unet(variant, width, heads, batch, size)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.0, fused=True)
    return training_step(variant, net, optimizer, [x, t], target, clip=1.0)


def unet_sample(variant, width, heads, batch, size):
    """One evaluation of the network, as in every step of a sampler. "freeze" lets the compiler repack the weights."""
    net, x, t, _ = unet(variant, width, heads, batch, size)
    net.eval().requires_grad_(False)
    if "freeze" in variant:
        inductor.freezing = True
    fn = compiled(variant, net)

    def step():
        with torch.inference_mode():
            fn(x, t)

    return step
