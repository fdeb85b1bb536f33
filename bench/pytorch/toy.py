"""The importance fine-tuning run of `doob run toy`, preset quick, in PyTorch: Algorithm 1 with relaxed rejection and a
reward-informed h-transform, then samples of the result. Equation numbers are those of arXiv 2502.04468.

Where PyTorch gains by it, this program does less than ours: the gradient of the reward is written out instead of derived,
all paths go through the networks in one batch, and the noise comes from one sequential generator.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import nn

from nets import MLP, TIME_FEATURES, sinusoids

BETA0, BETA1, STEPS, POWER = 0.1, 20.0, 50, 2.0
WIDTH, DEPTH, OCTAVES, SCALE_WIDTH = 64, 3, 5, 32
KL, ACCEPTANCE, BUFFER = 1e-4, (0.1, 0.3), 4096
PRIOR_SD, REWARD_SD = 0.12, 0.3
REWARD_WEIGHTS = torch.tensor([0.4, 0.3, 0.2, 0.1])
REWARD_MEANS = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def integral(t):
    """∫₀ᵗ β(s) ds."""
    return t * (0.5 * t * (BETA1 - BETA0) + BETA0)


def gamma_nu(t):
    """The coefficients of X_t = γX_0 + νε, [batch, 1]."""
    s = integral(t)[:, None]
    return torch.exp(-0.5 * s), torch.sqrt(-torch.expm1(-s))


def components(x):
    """log of the weighted component densities of the reward's mixture, [batch, 4]."""
    square = (x[:, None] - REWARD_MEANS).square().sum(-1) / REWARD_SD**2
    return REWARD_WEIGHTS.log() - 0.5 * square - math.log(2 * math.pi * REWARD_SD**2)


def reward(x):
    return torch.logsumexp(components(x), -1)


def reward_gradient(x):
    share = torch.softmax(components(x), -1)
    return (share @ REWARD_MEANS - x) / REWARD_SD**2


class Base(nn.Module):
    """ε_θ = ν·x + γ·F(x, t): the network predicts the velocity."""

    def __init__(self):
        super().__init__()
        self.net = MLP(2, 2, WIDTH, DEPTH, octaves=OCTAVES)
        nn.init.zeros_(self.net.out.weight)
        nn.init.zeros_(self.net.out.bias)

    def forward(self, x, t):
        gamma, nu = gamma_nu(t)
        return nu * x + gamma * self.net(x, t)


class Control(nn.Module):
    """ε_h = −ν·h with h = NN1(x, x̂₀, g, t) + NN2(t)·g and g = ∇r(x̂₀) (16)."""

    def __init__(self):
        super().__init__()
        self.nn1 = MLP(6, 2, WIDTH, DEPTH, octaves=OCTAVES)
        self.nn2 = MLP(TIME_FEATURES, 1, SCALE_WIDTH, 3, timed=False)
        for net, start in (self.nn1, 0.0), (self.nn2, 0.02):
            nn.init.zeros_(net.out.weight)
            nn.init.constant_(net.out.bias, start)

    def forward(self, x, t, eps):
        gamma, nu = gamma_nu(t)
        x0 = (x - nu * eps) / gamma
        g = reward_gradient(x0)
        scale = (1 - t)[:, None] * F.silu(self.nn2(sinusoids(t, TIME_FEATURES)))
        h = self.nn1(torch.cat([x, x0, g.sign() * g.abs().log1p()], -1), t) + scale * g
        return -nu * h


class Trainer:
    """Adam with the global norm clipped to 1, cosine decay, and averaged parameters (nn.Trainer of doob)."""

    def __init__(self, model, loss, rate, ema, steps):
        self.loss, self.rate, self.ema, self.steps, self.k = loss, rate, ema, steps, 0
        self.parameters = list(model.parameters())
        self.averaged_model = copy.deepcopy(model).requires_grad_(False)
        self.averages = list(self.averaged_model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=rate, fused=True)

    def restart(self, start):
        """Sets the parameters and their averages, and forgets the moments and the steps."""
        self.k = 0
        with torch.no_grad():
            torch._foreach_copy_(self.parameters, start)
            torch._foreach_copy_(self.averages, start)
        self.optimizer = torch.optim.Adam(self.parameters, lr=self.rate, fused=True)

    def step(self, *inputs):
        self.optimizer.param_groups[0]["lr"] = self.rate * 0.5 * (1 + math.cos(math.pi * self.k / self.steps))
        self.k += 1
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(*inputs)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0, foreach=True)
        self.optimizer.step()
        decay = min(self.ema, (1 + self.k) / (10 + self.k))
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)
        return loss.item()


def draw_times(n, power=POWER):
    u = 1e-3 + (1 - 1e-3) * (torch.arange(n) + torch.rand(n)) / n
    return u**power


def batch_of(x0):
    """Diffused samples, their times and their noise."""
    t, eps = draw_times(len(x0)), torch.randn_like(x0)
    gamma, nu = gamma_nu(t)
    return gamma * x0 + nu * eps, t, eps


def pretrain(steps, compiled):
    base = Base()
    grid = torch.cartesian_prod(torch.arange(-2.0, 3.0), torch.arange(-2.0, 3.0))
    trainer = Trainer(base, compiled(lambda x, t, eps: F.mse_loss(base(x, t), eps)), 3e-3, 0.999, steps)
    for _ in range(steps):
        trainer.step(*batch_of(grid[torch.randint(25, (512,))] + PRIOR_SD * torch.randn(512, 2)))
    return trainer.averaged_model


@torch.inference_mode()
def simulate(predict, n):
    """Endpoints and log dP/dP^h of n paths of the guided SDE (5) by Euler–Maruyama (Lemma 4)."""
    x, log_ratio = torch.randn(n, 2), torch.zeros(n, dtype=torch.float64)
    times = [(1 - i / STEPS) ** POWER for i in range(STEPS + 1)]
    for t, following in zip(times, times[1:]):
        variance = (BETA0 + t * (BETA1 - BETA0)) * (t - following)
        k, s = -variance / math.sqrt(-math.expm1(-integral(t))), math.sqrt(variance)
        eps, eps_h = predict(x, torch.tensor([t], dtype=torch.float32))
        shift, z = k * eps_h, torch.randn_like(x)
        x = (1 + variance / 2) * x + k * eps + shift + s * z
        d, z = shift.double(), z.double()
        log_ratio -= (d * d).sum(-1) / (2 * variance) + (d * z).sum(-1) / s
    return x, log_ratio


def relax(log_w, rate):
    """α = min(1, w/c) with c such that the mean of α is the rate (14)."""
    lo, hi = log_w.min().item(), log_w.max().item() + 1
    for _ in range(60):
        log_c = 0.5 * (lo + hi)
        mean = (log_w - log_c).clamp(max=0).exp().mean().item()
        if abs(mean - rate) < 1e-6:
            break
        lo, hi = (log_c, hi) if mean > rate else (lo, log_c)
    return (log_w - log_c).clamp(max=0).exp()


class FineTuning:
    """Algorithm 1 on a base model. It may run several times, each from the same start."""

    def __init__(self, base, iterations, paths, updates, batch, samples, compiled):
        self.iterations, self.paths, self.updates, self.batch, self.samples = iterations, paths, updates, batch, samples
        control = Control()

        def loss(x, t, eps):
            with torch.no_grad():
                eps_base = base(x, t)
            eps_h = control(x, t, eps_base)
            nu2 = -torch.expm1(-integral(t))
            weight = 0.5 * (BETA0 + t * (BETA1 - BETA0)) / nu2 * (POWER * t ** (1 - 1 / POWER))
            return F.mse_loss(eps_base + eps_h, eps) + KL * (weight[:, None] * eps_h.square()).mean()

        self.trainer = Trainer(control, compiled(loss), 6e-3, 0.995, iterations * updates)

        def predict(x, t):
            eps = base(x, t)
            return eps, self.trainer.averaged_model(x, t, eps)

        self.predict = compiled(predict)
        self.start = [p.detach().clone() for p in self.trainer.parameters]

    def run(self):
        self.trainer.restart(self.start)
        buffer = torch.empty(0, 2)
        for i in range(self.iterations):
            x, log_ratio = simulate(self.predict, self.paths)
            alpha = relax(reward(x).double() + log_ratio, ACCEPTANCE[i * len(ACCEPTANCE) // self.iterations])
            buffer = torch.cat([buffer, x[torch.rand(self.paths) < alpha]])[-BUFFER:].clone()
            for _ in range(self.updates):
                self.trainer.step(*batch_of(buffer[torch.randint(len(buffer), (self.batch,))]))
        x, log_ratio = simulate(self.predict, self.samples)
        return x, reward(x).double() + log_ratio


def importance(variant, iterations, paths, updates, batch, samples, pretraining):
    def compiled(fn):
        if "compile" not in variant:
            return fn
        return torch.compile(fn, dynamic=False, mode="max-autotune-no-cudagraphs" if "autotune" in variant else None)

    tuning = FineTuning(pretrain(pretraining, compiled), iterations, paths, updates, batch, samples, compiled)

    def step():
        _, log_w = tuning.run()
        if not torch.isfinite(torch.logsumexp(log_w, 0)):
            raise ArithmeticError("every path weight is zero")

    return step
