"""That superres.py asks the libraries what it means to: their methods where the posterior is known.

    python exact.py [dps,ddrm,diffpir,mmps,tds]

The base model is the exact one of white Gaussian images of 8×8 pixels and sd ½. Given y = Ax + σξ, with A the means of 2×2
pixels and σ = 0.05, the mean of a block is then N(slope·y, variance), and a pixel has a variance too. What is left of
differences is of the methods, and of 64 steps.
"""

import itertools
import sys

import torch

import doob
import superres

SD, SIGMA, FACTOR, SIDE = 0.5, 0.05, 2, 8
MEASUREMENTS, MEMBERS, CALLS = 64, 16, 64


class Exact(torch.nn.Module):
    """ε of Gaussian images, in the place of doob.Base."""

    def __init__(self):
        super().__init__()
        self.process, self.calls = doob.VP(0.1, 20.0), 0

    def forward(self, x, t):
        self.calls += len(x)
        alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in self.process.alpha_sigma(t.reshape(-1).expand(len(x))))
        return sigma * x / (alpha**2 * SD**2 + sigma**2)


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    prior, image = superres.Prior(Exact()), [SIDE, SIDE, 1]
    x = SD * torch.randn(MEASUREMENTS, SIDE, SIDE, 1)
    y = blocks(x) + SIGMA * torch.randn(MEASUREMENTS, SIDE // FACTOR, SIDE // FACTOR, 1)
    of_mean = SD**2 / FACTOR**2
    slope = of_mean / (of_mean + SIGMA**2)
    variance = slope * SIGMA**2
    pixel = variance + SD**2 * (1 - 1 / FACTOR**2)
    print(f"exact: slope {slope:.4f}, variance {variance:.5f}, of a pixel {pixel:.4f}")
    for name in (sys.argv[1] if len(sys.argv) > 1 else ",".join(superres.METHODS)).split(","):
        method = superres.METHODS[name](prior, FACTOR, SIGMA, image)
        for values in itertools.product(*method.grid.values()):
            settings = dict(zip(method.grid, values))
            out, _ = superres.restore(method, prior, y, MEMBERS, CALLS, MEASUREMENTS * MEMBERS, settings)
            out = torch.tensor(out)
            means = blocks(out.flatten(0, 1)).unflatten(0, (MEASUREMENTS, MEMBERS))
            slope = float((means.mean(1) * y).sum() / (y**2).sum())
            print(f"{name} {settings}: slope {slope:.4f}, variance {float(means.var(1).mean()):.5f}, of a pixel {float(out.var(1).mean()):.4f}", flush=True)


def blocks(x):
    n, h, w, c = x.shape
    return x.reshape(n, h // FACTOR, FACTOR, w // FACTOR, FACTOR, c).mean((2, 4))


if __name__ == "__main__":
    main()
