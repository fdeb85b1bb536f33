"""The steps that the MNIST programs of doob spend their time on, in PyTorch: pre-training of the prior, fine-tuning of a
reward-informed h-transform, and guided sampling with path weights. Equation numbers are those of arXiv 2502.04468.

As in toy.py, the noise comes from one sequential generator.
"""

import math

import torch
import torch._inductor.config as inductor
import torch.nn.functional as F
from torch import nn

from nets import MLP, TIME_FEATURES, UNet, compiled, conv3, layout_of, sinusoids
from toy import BETA0, BETA1, Trainer, draw_times, gamma_nu, integral

SIZE, HELD = 28, 1024
DIGIT, SHARPNESS = 3, 2.0
POWER, KL = 1.5, 0.01


class CNN(nn.Module):
    """nn.CNN of doob: log p(class | x) by five convolutions, with group normalisation after all but the last."""

    def __init__(self, width, classes):
        super().__init__()
        channels = [1, width, 2 * width, 2 * width, 2 * width, 2 * width]
        pairs = list(zip(channels, channels[1:]))
        self.convs = nn.ModuleList(conv3(a, b, 1 + i % 2) for i, (a, b) in enumerate(pairs))
        self.norms = nn.ModuleList(nn.GroupNorm(b // 8, b) for _, b in pairs[:-1])
        self.out = nn.Linear(channels[-1], classes)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms):
            x = F.silu(norm(conv(x)))
        x = F.silu(self.convs[-1](x))
        return F.log_softmax(self.out(x.mean((2, 3))), -1)


class Prior(nn.Module):
    """ε_θ = ν·x + γ·F(x, t): the network predicts the velocity."""

    def __init__(self):
        super().__init__()
        self.net = zeroed(UNet(64, multipliers=(1, 1), patch=2, bottom=2))

    def forward(self, x, t):
        gamma, nu = levels(t)
        return nu * x + gamma * self.net(x, t)


class Control(nn.Module):
    """ε_h = −ν·h with h = NN1(x, x̂₀, g, t) + NN2(t)·g (16), where NN1 is a network for the velocity less that of the prior."""

    def __init__(self):
        super().__init__()
        self.nn1 = UNet(64, multipliers=(1, 1), inputs=3, patch=2, bottom=2)
        self.nn2 = MLP(TIME_FEATURES, 1, 64, 3, timed=False)
        nn.init.zeros_(self.nn2.out.weight)
        nn.init.constant_(self.nn2.out.bias, 0.02)

    def forward(self, x, t, eps, x0, g):
        gamma, nu = levels(t)
        scale = (1 - t)[:, None] * F.silu(self.nn2(sinusoids(t, TIME_FEATURES)))
        v = self.nn1(torch.cat([x, x0, g.sign() * g.abs().log1p()], 1), t)
        return nu * (nu * x + gamma * v - eps) - nu * scale[:, :, None, None] * g


class Guided:
    """The frozen prior and reward, and h."""

    def __init__(self, layout):
        self.prior = Prior().to(memory_format=layout).requires_grad_(False)
        self.classifier = CNN(16, 10).to(memory_format=layout).requires_grad_(False)
        self.control = Control().to(memory_format=layout)

    def parameters(self):
        return [p for net in (self.prior, self.classifier, self.control) for p in net.parameters()]

    def guide(self, x, t):
        """ε_θ, and what h sees besides: x̂₀ and the reward's gradient there. All of it is constant to the training."""
        with torch.no_grad():
            eps = self.prior(x, t)
            gamma, nu = levels(t)
            x0 = (x - nu * eps) / gamma
        return eps, x0, self.reward_gradient(x0)

    @torch.compiler.disable  # compiled, as torch.func.grad within the rest, it takes longer
    @torch.enable_grad()
    def reward_gradient(self, x0):
        leaf = x0.detach().requires_grad_()
        return torch.autograd.grad(self.total_reward(leaf), leaf)[0]

    def total_reward(self, x):
        return SHARPNESS * self.classifier(x)[:, DIGIT].sum()


def zeroed(unet):
    """The network with a last layer of zeros."""
    nn.init.zeros_(unet.output.weight)
    nn.init.zeros_(unet.output.bias)
    return unet


def levels(t):
    """γ and ν for images, [batch, 1, 1, 1]."""
    return [v[:, :, None, None] for v in gamma_nu(t)]


def diffuse(x0, t, eps):
    gamma, nu = levels(t)
    return gamma * x0 + nu * eps


def velocity_error(residual, t):
    """The mean square of an error of ε, as an error of the velocity."""
    return (residual / levels(t)[0]).square().mean()


def check(parameters, want):
    """Compares the number of parameters of all networks with what the work says. Our side does the same."""
    n = sum(p.numel() for p in parameters)
    if n != want:
        raise ValueError(f"the networks have {n} parameters, the work says {want}")


def batches(variant, batch):
    """A function that draws images, times and noise."""
    images = 2 * torch.rand(HELD, 1, SIZE, SIZE) - 1
    layout = layout_of(variant)

    def draw():
        x0 = images[torch.randint(HELD, (batch,))].contiguous(memory_format=layout)
        return x0, draw_times(batch, POWER), torch.randn_like(x0)

    return draw


def pretrain(variant, batch, parameters):
    prior = Prior().to(memory_format=layout_of(variant))
    check(prior.parameters(), parameters)

    def loss(x0, t, eps):
        return velocity_error(prior(diffuse(x0, t, eps), t) - eps, t)

    trainer, draw = Trainer(prior, compiled(variant, loss), 1.5e-3, 0.999, math.inf), batches(variant, batch)
    return lambda: trainer.step(*draw())


def finetune(variant, batch, parameters):
    guided = Guided(layout_of(variant))
    check(guided.parameters(), parameters)

    def loss(x0, t, eps):
        x = diffuse(x0, t, eps)
        eps_base, estimate, g = guided.guide(x, t)
        eps_h = guided.control(x, t, eps_base, estimate, g)
        nu2 = -torch.expm1(-integral(t))
        weight = 0.5 * (BETA0 + t * (BETA1 - BETA0)) / nu2 * (POWER * t ** (1 - 1 / POWER))
        return velocity_error(eps_base + eps_h - eps, t) + KL * (weight[:, None, None, None] * eps_h.square()).mean()

    trainer, draw = Trainer(guided.control, compiled(variant, loss), 1e-3, 0.99, math.inf), batches(variant, batch)
    return lambda: trainer.step(*draw())


def ddpm(steps):
    """t, a, k, s of every step x' = a·x + k·ε + s·z."""
    times = [(1 - i / steps) ** POWER for i in range(steps + 1)]
    for i, (t, following) in enumerate(zip(times, times[1:])):
        beta, nu2 = -math.expm1(integral(following) - integral(t)), -math.expm1(-integral(t))
        a = 1 / math.sqrt(1 - beta)
        variance = beta if i == steps - 1 else beta * -math.expm1(-integral(following)) / nu2
        yield t, a, -a * beta / math.sqrt(nu2), math.sqrt(variance)


def sample(variant, batch, steps, parameters):
    """Endpoints and log dP/dP^h of guided paths. "freeze" lets the compiler repack the weights."""
    layout = layout_of(variant)
    guided = Guided(layout)
    check(guided.parameters(), parameters)
    guided.control.requires_grad_(False)
    if "freeze" in variant:
        inductor.freezing = True

    def predict(x, t):
        eps, x0, g = guided.guide(x, t)
        return eps, guided.control(x, t, eps, x0, g)

    predict = compiled(variant, predict)

    @torch.no_grad()
    def step():
        x = torch.randn(batch, 1, SIZE, SIZE).contiguous(memory_format=layout)
        log_ratio = torch.zeros(batch, dtype=torch.float64)
        for t, a, k, s in ddpm(steps):
            eps, eps_h = predict(x, torch.tensor([t], dtype=torch.float32))
            shift, z = k * eps_h, torch.randn_like(x)
            x = a * x + k * eps + shift + s * z
            d, z = shift.double().flatten(1), z.double().flatten(1)
            log_ratio -= (d * d).sum(-1) / (2 * s * s) + (d * z).sum(-1) / s
        if not torch.isfinite(log_ratio).all():
            raise ArithmeticError("log dP/dP^h is not finite")

    return step
