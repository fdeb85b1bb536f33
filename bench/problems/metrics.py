"""The metrics of package metric of doob in numpy, in float64 as there. The files beside this one check that they agree."""

import math

import numpy as np


def mean_se(values):
    """Mean and standard error; of one value the error is NaN."""
    v = np.asarray(values, np.float64)
    return float(v.mean()), float(v.std(ddof=1) / math.sqrt(len(v))) if len(v) > 1 else math.nan


def mode_weights(x, centres):
    """Share of the samples nearest to each centre. One that is not finite belongs to none."""
    x = np.asarray(x, np.float64)
    finite = np.isfinite(x).all(1)
    nearest = ((x[finite, None] - centres) ** 2).sum(-1).argmin(1)
    return np.bincount(nearest, minlength=len(centres)) / len(x)


def total_variation(p, q):
    return 0.5 * (np.abs(p - q).sum() + abs((p - q).sum()))


def sliced_w2(x, y, directions):
    """Sliced 2-Wasserstein distance of as many samples x as y; directions need not have length 1."""
    if len(x) != len(y):
        raise ValueError(f"{len(x)} and {len(y)} samples: this covers equal numbers only")
    theta = np.asarray(directions, np.float64)
    theta = theta / np.sqrt((theta**2).sum(1, keepdims=True))
    px, py = (np.sort(np.asarray(v, np.float64) @ theta.T, axis=0) for v in (x, y))
    return math.sqrt(((px - py) ** 2).mean())


def log_mean_exp(log_w):
    top = log_w.max()
    return float(top + np.log(np.exp(log_w - top).mean()))


def ess_fraction(log_w):
    w = np.exp(log_w - log_w.max())
    return float(w.sum() ** 2 / (w**2).sum() / len(w))


def psnr(x, y):
    """In dB for images [n, …] in [−1, 1]."""
    x, y = (np.asarray(v, np.float64).reshape(len(v), -1) for v in (x, y))
    return 10 * np.log10(4 / ((x - y) ** 2).mean(1))


def ssim(x, y):
    """Of images [n, height, width, channels] in [−1, 1], under Gaussian windows of 11×11 inside the image."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    w = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w /= w.sum()

    def inside(v):
        for axis in 1, 2:
            v = np.lib.stride_tricks.sliding_window_view(v, len(w), axis) @ w
        return v

    c1, c2 = 0.02**2, 0.06**2
    mx, my, xx, yy, xy = inside(x), inside(y), inside(x * x), inside(y * y), inside(x * y)
    a = (2 * mx * my + c1) * (2 * (xy - mx * my) + c2)
    b = (mx * mx + my * my + c1) * (xx - mx * mx + yy - my * my + c2)
    return (a / b).reshape(len(x), -1).mean(1)


def crps(ensembles, y):
    """The fair estimator of ensembles [n, members, …] and truths [n, …], averaged over entries."""
    x = np.sort(np.asarray(ensembles, np.float64), axis=1)
    m = x.shape[1]
    y = np.asarray(y, np.float64)
    miss = np.abs(x - y[:, None]).mean(1)
    rank = (2 * np.arange(m) - m + 1).reshape(1, m, *[1] * (x.ndim - 2))
    spread = (rank * x).sum(1) / (m * (m - 1))
    return (miss - spread).reshape(len(x), -1).mean(1)


def spread_skill(ensembles, y):
    x, y = np.asarray(ensembles, np.float64), np.asarray(y, np.float64)
    m = x.shape[1]
    return math.sqrt((m + 1) / m * x.var(1, ddof=1).sum() / ((x.mean(1) - y) ** 2).sum())


def average(x, factor):
    """Means of blocks of pixels of images [n, height, width, channels]."""
    n, h, w, c = x.shape
    return np.asarray(x, np.float64).reshape(n, h // factor, factor, w // factor, factor, c).mean((2, 4))


def residual(x, y, factor, sigma):
    """‖Ax − y‖²/(nσ²) of every image."""
    diff = average(x, factor) - np.asarray(y, np.float64)
    return (diff**2).reshape(len(x), -1).mean(1) / sigma**2


def restoration(samples, truth, y, factor, sigma):
    """What superres says of samples [n, members, height, width, channels]: mean and standard error over the measurements."""
    n, m = samples.shape[:2]
    mean = np.clip(samples.astype(np.float64).mean(1).astype(np.float32), -1, 1)
    r = residual(samples.reshape(n * m, *samples.shape[2:]), np.repeat(y, m, 0), factor, sigma)
    out = {
        "psnr": mean_se(psnr(mean, truth)),
        "ssim": mean_se(ssim(mean, truth)),
        "crps": mean_se(crps(samples, truth)),
        "residual": mean_se(r.reshape(n, m).mean(1)),
    }
    ratio = spread_skill(samples, truth)
    without = [spread_skill(np.delete(samples, i, 0), np.delete(truth, i, 0)) for i in range(n)] if n > 1 else [ratio]
    # Jackknife: the ratio is of means over all measurements.
    out["spread_skill"] = ratio, math.sqrt((n - 1) / n * ((np.array(without) - np.mean(without)) ** 2).sum()) if n > 1 else math.nan
    return out
