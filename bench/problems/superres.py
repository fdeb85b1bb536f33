"""deepinv and azula on doob's super-resolution: the same prior, measurements, truths, metrics and network calls.

    python superres.py --run RUN --problem DIR --out OUT

RUN is a run folder of superres with the rows to compare with, DIR what `go run ./bench/problems -run RUN -out DIR` wrote.
Settings of the libraries are chosen on measurements of training images, at the same network calls, by CRPS.
"""

import argparse
import itertools
import json
import time
from pathlib import Path

import azula.denoise
import azula.guidance
import azula.noise
import azula.sample
import deepinv
import numpy as np
import torch
from azula.linalg.covariance import IsotropicCovariance
from deepinv.sampling.sde_solver import DDPMSolver

import doob
import metrics
import table

COLUMNS = [
    ("psnr", "PSNR, dB", "{:.2f}"),
    ("ssim", "SSIM", "{:.3f}"),
    ("crps", "CRPS", "{:.4f}"),
    ("residual", "residual", "{:.2f}"),
    ("spread_skill", "spread/skill", "{:.2f}"),
    ("network_calls", "calls", "{:.0f}"),
    ("backward", "backward", "{:.0f}"),
    ("seconds", "seconds", "{:.1f}"),
    ("training_calls", "to learn", "{:.3g}"),
]


def channels_last(x):
    return x.permute(0, 2, 3, 1)


def channels_first(x):
    return x.permute(0, 3, 1, 2)


class Prior:
    """doob's base model on images [batch, channels, height, width], and the backward passes through it."""

    def __init__(self, base):
        self.base, self.process, self.backward = base.requires_grad_(False).eval(), base.process, 0

    def denoise(self, x, t):
        """x̂₀ = (x − σ·ε)/α."""
        if x.requires_grad:
            x.register_hook(self.count)
        alpha, sigma = (v.reshape(-1, 1, 1, 1) for v in self.process.alpha_sigma(t))
        return (x - sigma * channels_first(self.base(channels_last(x), t))) / alpha

    def count(self, gradient):
        self.backward += len(gradient)


class Denoiser(deepinv.models.base.Denoiser):
    """The prior as deepinv sees denoisers: of images in [0, 1] with noise of standard deviation told·sigma."""

    def __init__(self, prior, told=1.0):
        super().__init__()
        self.prior, self.told = prior, told

    def forward(self, x, sigma, **_):
        t = self.prior.process.time(2 * self.told * torch.as_tensor(sigma, dtype=torch.float32).reshape(-1))
        alpha = self.prior.process.alpha_sigma(t)[0].reshape(-1, 1, 1, 1)
        return (self.prior.denoise((alpha * (2 * x - 1)).float(), t) + 1) / 2


def physics(factor, sigma, image):
    """Means of blocks of pixels, with their singular values: deepinv has the operator (Downsampling), but DDRM needs these.

    V is an orthonormal basis of the pixels of a block, with the constant first: its coefficient is factor times the mean.
    """
    h, w, c = image
    size = factor * factor
    basis = torch.linalg.qr(torch.cat([torch.ones(size, 1), torch.eye(size)[:, 1:]], 1))[0].T
    basis = basis * torch.sign(basis[0, 0])

    def v_adjoint(x):
        blocks = torch.nn.functional.pixel_unshuffle(x, factor).unflatten(1, (c, size))
        return torch.einsum("ij,bcjhw->bcihw", basis.to(x), blocks).flatten(1, 2)

    def v(z):
        blocks = torch.einsum("ij,bcihw->bcjhw", basis.to(z), z.unflatten(1, (c, size)))
        return torch.nn.functional.pixel_shuffle(blocks.flatten(1, 2), factor)

    def u(z):
        return z.unflatten(1, (c, size))[:, :, 0]

    def u_adjoint(y):
        z = y.new_zeros(len(y), c, size, *y.shape[2:])
        z[:, :, 0] = y
        return z.flatten(1, 2)

    mask = torch.zeros(c, size)
    mask[:, 0] = 1 / factor
    mask = mask.reshape(1, -1, 1, 1).expand(1, c * size, h // factor, w // factor).contiguous()
    return deepinv.physics.DecomposablePhysics(
        U=u, V_adjoint=v_adjoint, U_adjoint=u_adjoint, V=v, mask=mask, img_size=(c, h, w), noise_model=deepinv.physics.GaussianNoise(sigma)
    )


def times(n):
    """doob's times of n steps, with power 2."""
    return (1 - torch.arange(n + 1, dtype=torch.float64) / n) ** 2


class InDeepinv:
    """What the methods of deepinv have in common: measurements in [0, 1], one of them for each row."""

    def __init__(self, prior, factor, sigma, image):
        self.prior, self.denoiser, self.image = prior, Denoiser(prior), image
        self.physics = physics(factor, sigma / 2, image)

    def __call__(self, y, calls, **settings):
        return 2 * self.sample((y + 1) / 2, calls, **settings).float() - 1


class DPS(InDeepinv):
    title = "deepinv, DPS"
    # The weight is in units of its own; the library's default of 1 is for a thousand steps.
    grid = {"weight": [30, 100, 300, 1000, 3000]}

    def sample(self, y, calls, weight):
        solver = DDPMSolver(timesteps=times(calls))  # instead of uniform times, for which so few steps do not suffice
        return deepinv.sampling.DPS(self.denoiser, solver=solver, weight=float(weight))(y, self.physics)


class DDRM(InDeepinv):
    title = "deepinv, DDRM"
    # The library divides the noise that it adds by √2, and tells the denoiser of what it was before. So what is told may be
    # divided too.
    grid = {"noise": ["linear", "times"], "eta": [0.85, 1.0], "told": [1.0, 0.5**0.5]}

    def sample(self, y, calls, noise, eta, told):
        sigmas = np.linspace(1, 0, calls)  # the library's
        if noise == "times":
            alpha, sigma = self.prior.process.alpha_sigma(times(calls)[:calls])
            sigmas = (sigma / alpha / 2).numpy()
        return deepinv.sampling.DDRM(Denoiser(self.prior, told), sigmas=[float(s) for s in sigmas], eta=eta)(y, self.physics)


class DiffPIR(InDeepinv):
    title = "deepinv, DiffPIR"
    grid = {"lambda_": [0.3, 1.0, 3.0, 7.0], "zeta": [0.1, 0.5, 1.0]}

    def sample(self, y, calls, lambda_, zeta):
        sigma = float(self.physics.noise_model.sigma)
        method = deepinv.sampling.DiffPIR(
            self.denoiser, deepinv.optim.data_fidelity.L2(), sigma=sigma, max_iter=calls, zeta=zeta, lambda_=lambda_
        )
        return method(y, self.physics)


class Schedule(azula.noise.Schedule):
    """doob's process at u², so that the library's uniform steps are doob's times."""

    def __init__(self, process):
        self.process = process

    def __call__(self, u):
        return self.process.alpha_sigma(u**2)


class AzulaDenoiser(azula.denoise.Denoiser):
    def __init__(self, prior):
        super().__init__()
        self.prior, self.schedule = prior, Schedule(prior.process)

    def forward(self, x, u, **_):
        return azula.denoise.DiracPosterior(mean=self.prior.denoise(x, (u**2).reshape(-1)))


class InAzula:
    """What the methods of azula have in common: they take measurements as they are."""

    def __init__(self, prior, factor, sigma, image):
        self.denoiser, self.factor, self.sigma, self.image = AzulaDenoiser(prior), factor, sigma, image

    def measure(self, x):
        b, c, h, w = x.shape
        f = self.factor
        return x.reshape(b, c, h // f, f, w // f, f).mean((3, 5)).flatten(1)

    def start(self, y):
        h, w, c = self.image
        return torch.randn(len(y), c, h, w)


class MMPS(InAzula):
    title = "azula, MMPS"
    grid = {"iterations": [1, 3]}

    def __call__(self, y, calls, iterations):
        guided = azula.guidance.MMPSDenoiser(
            self.denoiser, y.flatten(1), self.measure, IsotropicCovariance(self.sigma**2), solver="gmres", iterations=iterations
        )
        return azula.sample.DDPMSampler(guided, steps=calls, silent=True)(self.start(y))


class TDS(InAzula):
    title = "azula, TDS"
    alone = True  # the particles are those of one measurement
    grid = {"spread": ["posterior", "noise"]}

    def __call__(self, y, calls, spread):
        scale = 1 / self.factor**2  # AAᵀ = scale·I

        def twist(x, ratio):
            # log p(y | x̂₀) if X_0 has a variance about x̂₀: σ_t² as in doob's twist (reward.Anneal), or ratio² = σ_t²/α_t².
            variance = ratio**2 / (1 + ratio**2) if spread == "posterior" else ratio**2
            return -0.5 * (y.flatten(1) - self.measure(x)) ** 2 / (self.sigma**2 + scale * variance)

        return azula.guidance.TDSSampler(self.denoiser, twist, steps=calls, silent=True)(self.start(y))


METHODS = {"dps": DPS, "ddrm": DDRM, "diffpir": DiffPIR, "mmps": MMPS, "tds": TDS}


def restore(method, prior, y, members, calls, batch, settings):
    """Samples [n, members, height, width, channels] for measurements y [n, …], with calls of the network each; what they cost."""
    n = len(y)
    prior.base.calls = prior.backward = 0
    start = time.process_time()
    rows = channels_first(y).repeat_interleave(members, 0)
    size = members if getattr(method, "alone", False) else max(members, batch)
    x = torch.cat([method(part, calls, **settings).detach() for part in rows.split(size)])
    cost = {"network_calls": prior.base.calls / n, "backward": prior.backward / n, "seconds": (time.process_time() - start) / n}
    return channels_last(x).reshape(n, members, *channels_last(x).shape[1:]).numpy(), cost


def choose(method, prior, problem, calls, o):
    """The settings of least CRPS on measurements of training images, and all that were tried."""
    factor, sigma = operator(problem)
    truth, y = (problem[f"tune.{k}"][: o.tune] for k in ("truth", "measured"))
    tried = []
    for values in itertools.product(*method.grid.values()):
        settings = dict(zip(method.grid, values))
        torch.manual_seed(1000)
        x, _ = restore(method, prior, y, o.tune_samples, calls, o.batch, settings)
        r = metrics.restoration(x, truth.numpy(), y.numpy(), factor, sigma)
        score = r["crps"][0] if np.isfinite(x).all() else float("inf")
        tried.append({"settings": settings, "crps": score, "psnr": r["psnr"][0]})
        print("  tried", json.dumps(tried[-1]), flush=True)
    return min(tried, key=lambda r: r["crps"])["settings"], tried


def operator(problem):
    name, _, factor = problem.settings["operator"].partition("-")
    if name != "average":
        raise SystemExit(f"operator {problem.settings['operator']}: want average-2 or average-4")
    return int(factor), problem.settings["sigma"]


def check(problem, base, report):
    s = problem.settings
    factor, sigma = operator(problem)
    out = {"eps": doob.agree("ε of the prior", base(problem["check.x"], problem["check.t"]).detach(), problem["check.eps"], 1e-4)}
    truth, y, x = (problem[k].numpy() for k in ("truth", "measured", "check.samples"))
    got = metrics.restoration(x, truth, y, factor, sigma)
    for name, (value, _) in got.items():
        out[name] = doob.agree(name, value, s["check"][name], 1e-6)
    own = metrics.mean_se(metrics.residual(truth, y, factor, sigma))[0]
    out["residual of truth"] = doob.agree("the residual of the truths", own, s["check"]["residual_of_truth"], 1e-6)
    out["residual of the run"] = doob.agree("that residual in the run's report", own, report["floor"]["residual"], 1e-6)
    p = physics(factor, sigma / 2, s["image"])
    clean = channels_last(p.A(channels_first(problem["truth"]))).numpy()
    out["A"] = doob.agree("deepinv's A", clean, metrics.average(truth, factor), 1e-5)
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--run", type=Path, required=True, help="run folder of superres")
    a.add_argument("--problem", type=Path, required=True, help="what the Go program beside this file made of it")
    a.add_argument("--out", type=Path, required=True, help="folder for results.json and results.md")
    a.add_argument("--methods", default=",".join(METHODS), help="some of " + ", ".join(METHODS))
    a.add_argument("--like", default="importance", help="rows of the run whose network calls per image the libraries get")
    a.add_argument("--seeds", type=int, default=1, help="repetitions")
    a.add_argument("--measurements", type=int, default=0, help="of the run's, the first so many; 0 means all")
    a.add_argument("--samples", type=int, default=0, help="of each posterior; 0 means as many as the run")
    a.add_argument("--tune", type=int, default=8, help="measurements of training images to choose settings on")
    a.add_argument("--tune-samples", type=int, default=4, help="of each of their posteriors; TDS has as many particles")
    a.add_argument("--batch", type=int, default=64, help="samples in one network evaluation")
    o = a.parse_args()
    torch.set_num_threads(1)
    problem = doob.Problem(o.problem)
    s = problem.settings
    factor, sigma = operator(problem)
    report = json.loads((o.run / "report.json").read_text())
    base = doob.UNet(o.run / "checkpoint" / "base.safetensors", problem.process, s["network"])
    prior = Prior(base.requires_grad_(False))
    checks = check(problem, base, report)
    members = o.samples or s["samples"]
    n = o.measurements or s["measurements"]
    truth, y = problem["truth"][:n], problem["measured"][:n]
    results = table.of_run(o.run)
    rows = [table.row("doob: " + report["titles"][name], list(results[name].values())) for name in report["order"]]
    raw = []
    for like in o.like.split(","):
        calls = int(report["methods"][like]["network_calls"]) // members
        for name in o.methods.split(","):
            method = METHODS[name](prior, factor, sigma, s["image"])
            print(f"{method.title}, {calls} calls a sample", flush=True)
            settings, tried = choose(method, prior, problem, calls, o)
            each, last = [], None
            for seed in range(1, o.seeds + 1):
                torch.manual_seed(seed)
                x, cost = restore(method, prior, y, members, calls, o.batch, settings)
                last = metrics.restoration(x, truth.numpy(), y.numpy(), factor, sigma)
                each.append({k: v[0] for k, v in last.items()} | cost)
            row = table.row(f"{method.title}, {calls * members} calls", each)
            if o.seeds == 1:  # errors over measurements, for want of others
                row |= last
            rows.append(row)
            raw.append({"method": name, "like": like, "settings": settings, "tried": tried, "results": each})
            print(json.dumps(raw[-1] | {"tried": None}), flush=True)
            notes = note(o, s, n, members, raw)
            table.write(o.out, "Super-resolution", COLUMNS, rows, notes, {"checks": checks, "raw": raw, "problem": s})


def note(o, s, n, members, raw):
    error = "over repetitions" if o.seeds > 1 else "over measurements, of the libraries only"
    return [
        f"{s['data']}, {s['operator']}, noise of sd {s['sigma']}; {n} of {s['measurements']} measurements, {members} samples of each. Errors are {error}.",
        "Calls are evaluations of a network on one sample, per restored image; of doob's learned methods as many are of h, and"
        " of the prior's own fit if there is one, as of the prior; of its DPS all are of the prior. Backward passes through the prior are no calls.",
        "Settings chosen: " + "; ".join(f"{r['method']} like {r['like']} {r['settings']}" for r in raw) + ".",
    ]


if __name__ == "__main__":
    main()
