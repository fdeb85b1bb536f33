"""What doob has learned, in PyTorch: problems as `go run ./bench/problems` writes them, networks from checkpoints."""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file


class Problem:
    """problem.json and tensors.safetensors of a folder."""

    def __init__(self, folder):
        folder = Path(folder)
        self.settings = json.loads((folder / "problem.json").read_text())
        self.tensors = load_file(folder / "tensors.safetensors")
        vp = self.settings["process"]["VP"]
        self.process = VP(vp["Beta0"], vp["Beta1"])

    def __getitem__(self, name):
        return self.tensors[name]


class VP:
    """X_t = α_t X_0 + σ_t ε with α_t² = exp(−∫β) and σ_t² = 1 − α_t²."""

    def __init__(self, beta0, beta1):
        self.beta0, self.beta1 = beta0, beta1

    def integral(self, t):
        return t * (0.5 * t * (self.beta1 - self.beta0) + self.beta0)

    def alpha_sigma(self, t):
        s = self.integral(t)
        return torch.exp(-0.5 * s), torch.sqrt(-torch.expm1(-s))

    def time(self, ratio):
        """The time at which σ_t/α_t has a value."""
        integral = torch.log1p(ratio**2)
        return 2 * integral / (self.beta0 + torch.sqrt(self.beta0**2 + 2 * (self.beta1 - self.beta0) * integral))


def sinusoids(t, dim):
    half = dim // 2
    frequency = torch.exp(torch.arange(half, dtype=t.dtype) * (-math.log(1e4) / max(half - 1, 1)))
    phase = 1000 * t[:, None] * frequency
    return torch.cat([torch.sin(phase), torch.cos(phase)], -1)


class Base(torch.nn.Module):
    """ε_θ(x, t) = σ·x + α·F(x, t), and how often it was evaluated on one sample. x is [batch, …, channels]."""

    def __init__(self, checkpoint, process, network, dtype=torch.float32):
        super().__init__()
        prefix = "ema/base/"
        held = {k[len(prefix) :]: v for k, v in load_file(checkpoint).items() if k.startswith(prefix)}
        self.names = {name: name.replace("/", "__") for name in held}
        for name, value in held.items():
            self.register_parameter(self.names[name], torch.nn.Parameter(value.to(dtype)))
        self.process, self.network, self.calls = process, network, 0

    def p(self, name):
        return getattr(self, self.names[name])

    def dense(self, name, x):
        return x @ self.p(name + "/weights") + self.p(name + "/bias")

    def forward(self, x, t):
        self.calls += len(x)
        t = t.reshape(-1).expand(len(x))
        alpha, sigma = (v.reshape(-1, *[1] * (x.dim() - 1)) for v in self.process.alpha_sigma(t))
        return sigma * x + alpha * self.velocity(x, t)


class MLP(Base):
    """nn.MLP, as the base model of the toy."""

    def velocity(self, x, t):
        n = self.network
        phases = [x * (math.pi / 4 * 2**k) for k in range(n["Octaves"])]
        x = torch.cat([x, *(f(p) for p in phases for f in (torch.sin, torch.cos))], -1)
        embedding = sinusoids(t, 32)
        for i in range(n["Depth"]):
            y = F.silu(self.dense(f"hidden_{i}", x) + self.dense(f"hidden_{i}/time", embedding))
            x = x + y if i else y
        return self.dense("out", x)


class UNet(Base):
    """nn.UNet. Inside, images are [batch, channels, height, width]."""

    def velocity(self, x, t):
        n = self.network
        levels = len(n["Multipliers"] or [1, 2, 4])
        blocks = max(n["Blocks"], 1)
        patch = max(n["Patch"], 1)
        b, h, w, c = x.shape
        # Space to depth: the channels of a patch are (row, column, channel), where pixel_unshuffle has (channel, row, column).
        x = x.reshape(b, h // patch, patch, w // patch, patch, c).permute(0, 2, 4, 5, 1, 3)
        x = x.reshape(b, patch * patch * c, h // patch, w // patch)
        e = sinusoids(t, n["Width"])
        for i in range(2):
            e = F.silu(self.dense(f"time_{i}", e))
        x = self.conv("in", x)
        kept = []
        for level in range(levels - 1):
            for i in range(blocks):
                x = self.block(f"down_{level}", i, x, e)
                kept.append(x)
            x = self.conv(f"down_{level}/resample", x, 2)
        for i in range(n.get("Bottom") or blocks):
            x = self.block("bottom", i, x, e)
        for level in reversed(range(levels - 1)):
            x = self.conv(f"up_{level}/resample", F.interpolate(x, scale_factor=2, mode="nearest"))
            for i in range(blocks):
                x = self.block(f"up_{level}", i, torch.cat([x, kept.pop()], 1), e)
        x = self.conv("out/conv", self.adaptive("out/norm", x, e))
        x = x.reshape(b, patch, patch, c, h // patch, w // patch).permute(0, 4, 1, 5, 2, 3)
        return x.reshape(b, h, w, c)

    def conv(self, name, x, stride=1):
        return F.conv2d(x, self.p(name + "/weights").permute(3, 2, 0, 1), self.p(name + "/bias"), stride, 1)

    def pixelwise(self, name, x):
        return F.conv2d(x, self.p(name + "/weights").T[:, :, None, None], self.p(name + "/bias"))

    def norm(self, x, scale=None, bias=None):
        groups, channels = 32, x.shape[1]
        while groups > 1 and (channels % groups or channels // groups < 4):
            groups //= 2
        return F.group_norm(x, groups, scale, bias, 1e-5)

    def adaptive(self, name, x, e):
        scale, bias = self.dense(name, e)[:, :, None, None].chunk(2, 1)
        return F.silu(self.norm(x) * (1 + scale) + bias)

    def block(self, level, i, x, e):
        s = f"{level}/block_{i}"
        h = self.conv(s + "/conv_0", self.adaptive(s + "/norm_0", x, e))
        h = self.conv(s + "/conv_1", self.adaptive(s + "/norm_1", h, e))
        x = h + (self.pixelwise(s + "/skip", x) if s + "/skip/weights" in self.names else x)
        a = f"{level}/attention_{i}"
        return self.attention(a, x) if a + "/out/weights" in self.names else x

    def attention(self, name, x):
        b, c, h, w = x.shape
        heads = max(self.network["Heads"], 1)
        y = self.norm(x, self.p(name + "/norm/scale"), self.p(name + "/norm/bias")).flatten(2).transpose(1, 2)
        q, k, v = (self.dense(f"{name}/{s}", y).reshape(b, h * w, heads, c // heads).transpose(1, 2) for s in ("query", "key", "value"))
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, h * w, c)
        return x + self.dense(name + "/out", y).transpose(1, 2).reshape(b, c, h, w)


def agree(what, got, want, tolerance):
    """Stops if two results differ by more than the tolerance; returns by how much they do."""
    got, want = (torch.as_tensor(v, dtype=torch.float64) for v in (got, want))
    difference = float((got - want).abs().max())
    if not difference <= tolerance:
        raise SystemExit(f"{what}: differs from doob's by {difference:.3g}, want at most {tolerance:g}")
    print(f"checked: {what} is doob's within {difference:.2g}", flush=True)
    return difference
