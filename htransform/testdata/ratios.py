"""How far log ratios of the recorded paths are from float64 when diffusers computes in float32: ratios.py, with diffusers and safetensors."""

from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file

golden = Path(__file__).parents[2] / "internal/golden/testdata"
texts = load_file(golden / "text/encoder.safetensors")["last_hidden_state"]  # two prompts, another, the empty one
pairs = load_file(golden / "lora/peft/adapter_model.safetensors")
scale = 2  # alpha / rank


def unet(dtype, tuned):
    model = UNet2DConditionModel.from_pretrained(golden / "pipeline/unet").to(dtype).eval()
    for name, module in model.named_modules():
        key = f"base_model.model.{name}.lora_%s.weight"
        if tuned and key % "A" in pairs:
            a, b = (pairs[key % x].to(dtype) for x in "AB")
            module.register_forward_hook(lambda m, x, y, a=a, b=b: y + scale * (x[0] @ a.T @ b.T))
    return model


def guided(model, dtype, x, t):
    both = torch.cat([texts[3:4].expand(2, -1, -1), texts[:2]]).to(dtype)
    without, given = model(torch.cat([x, x]).to(dtype), t, both).sample.chunk(2)
    return (without + 7.5 * (given - without)).double()


def log_ratio(r, h, z):  # r is k/s: D = k h
    return -(((r * h) ** 2) / 2 + r * h * z).sum((1, 2, 3))


models = {(d, tuned): unet(d, tuned) for d in (torch.float32, torch.float64) for tuned in (False, True)}
for name in ("ddim-eta1", "ddim-eta0.5-set-alpha-to-one", "ddpm", "memoryless"):
    g, worst, cancel, terms = load_file(golden / f"trajectories/{name}.safetensors"), 0, 0, 0
    for i, want in enumerate(g["log_ratio"]):
        x, t, z = g["latents"][i], g["timestep"][i], g["noise"][i].double()
        h = (g["eps_tuned"][i].double() - g["eps_base"][i].double())
        # The recorded ratio of the first path has two solutions r, and that of the second path one of them.
        a, b = (h[0] ** 2).sum(), (h[0] * z[0]).sum()
        root = (b * b - 2 * a * want[0]).clamp(min=0).sqrt()
        r = min(((-b + s * root) / a for s in (1, -1)), key=lambda r: abs(log_ratio(r, h, z) - want)[1])
        with torch.no_grad():
            h = {d: guided(models[d, True], d, x, t) - guided(models[d, False], d, x, t) for d in (torch.float32, torch.float64)}
        exact = log_ratio(r, h[torch.float64], z)
        off = abs(log_ratio(r, h[torch.float32], z) - exact)
        size = (((r * h[torch.float64]) ** 2) / 2 + abs(r * h[torch.float64] * z)).sum((1, 2, 3))
        worst, cancel, terms = max(worst, (off / abs(exact)).max()), max(cancel, (size / abs(exact)).max()), max(terms, (off / size).max())
    print(f"{name}: off by up to {worst:.1e} of a step's ratio, whose terms are up to {cancel:.0f} times as large, and {terms:.1e} of the terms")
