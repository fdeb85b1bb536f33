"""Writes again what the reference libraries compute for the files in testdata.

    python make.py          then `git diff testdata` says what has changed: nothing, with these versions

Python 3.11 with torch 2.15.0, torchvision 0.29.2 (CPU), diffusers 0.42.1, transformers 5.24.0, tokenizers 0.23.3, peft 0.21.2, safetensors 0.8.0, numpy,
pillow 13.0.0 and, without what they depend on, image-reward 1.5, timm 1.0.31. The tiny models, adapters, pictures, texts, latents, noise and recorded
paths in testdata are inputs, of random numbers and made once; they stay as they are. What the networks compute may differ in the last bits between machines.
"""

import gzip
import json
import re
from pathlib import Path

HERE = Path(__file__).parent / "testdata"


def write_json(path, rows):
    path.write_text("[\n" + ",\n".join(json.dumps(r, sort_keys=True) for r in rows) + "\n]\n")


def texts(path):
    return [row["text"] for row in json.loads(path.read_text())]


def tokens():
    from transformers import BertTokenizer, CLIPTokenizer

    own = CLIPTokenizer.from_pretrained(HERE / "pipeline" / "tokenizer")
    path = HERE / "text" / "tokens.json"
    write_json(path, [
        {"text": t, "ids": own(t, padding="max_length", max_length=77, truncation=True).input_ids, "untruncated": len(own(t).input_ids)} for t in texts(path)
    ])

    # The published merges, from which the vocabulary follows.
    lines = gzip.decompress((HERE / "clip-bpe" / "merges.txt.gz").read_bytes()).decode().split("\n")[1:]
    merges = [tuple(line.split()) for line in lines if line]
    plain = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    alphabet = [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]
    names = alphabet + [c + "</w>" for c in alphabet] + ["".join(m) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    published = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges)
    path = HERE / "clip-bpe" / "tokens.json"
    write_json(path, [{"text": t, "ids": published(t, add_special_tokens=False).input_ids} for t in texts(path)])

    bert = BertTokenizer.from_pretrained(HERE / "imagereward")
    bert.add_special_tokens({"bos_token": "[DEC]"})
    bert.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    path = HERE / "imagereward" / "tokens.json"
    write_json(path, [
        {"text": t, "ids": bert(t, padding="max_length", max_length=35, truncation=True).input_ids, "untruncated": len(bert(t).input_ids)} for t in texts(path)
    ])


def state_dicts():
    """Views, shared storages and all element types, as torch.save writes them, and the same numbers as safetensors."""
    import torch
    from safetensors.torch import save_file

    row = torch.arange(24, dtype=torch.float32) / 7
    odd = {
        "whole": row.reshape(2, 3, 4),
        "transposed": row.reshape(4, 6).t(),
        "later": row[5:11],
        "every_second": row.reshape(2, 12)[:, 1::2],
        "scalar": row[23],
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.tensor([1.5, -2.0])),
        "half": torch.tensor([1.0, -0.5, 65504.0], dtype=torch.float16),
        "bfloat16": torch.tensor([[1.0], [-3.0]], dtype=torch.bfloat16),
        "double": torch.tensor([1 / 3], dtype=torch.float64),
        "long": torch.tensor([-(2**40), 7]),
        "int": torch.tensor([-5, 2**31 - 1], dtype=torch.int32),
        "bool": torch.tensor([True, False]),
    }
    folder = HERE / "statedict"
    folder.mkdir(exist_ok=True)
    torch.save(odd, folder / "odd.pt")
    wide = {torch.int32: torch.int64, torch.bool: torch.int64}
    save_file({k: v.detach().to(wide.get(v.dtype, v.dtype)).contiguous().clone() for k, v in odd.items()}, folder / "odd.safetensors")
    torch.manual_seed(0)
    torch.save(torch.nn.Linear(2, 2), folder / "module.pt")
    if not (folder / "legacy.pt").exists():  # it has addresses of memory in it
        torch.save(row, folder / "legacy.pt", _use_new_zipfile_serialization=False)


def vision():
    """Pictures as Pillow resizes them, and as CLIP and ImageReward take them, at the tiny models' sizes and at an odd one."""
    import numpy
    import torch
    from PIL import Image
    from safetensors.torch import save_file
    from torchvision.transforms import CenterCrop, InterpolationMode, Normalize, Resize, ToTensor

    normalise = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    folder, tensors = HERE / "pictures", {}
    for n in range(3):
        picture = Image.open(folder / f"{n}.png").convert("RGB")
        # Close to where the order of the two passes changes.
        near = [(picture.width - 9, picture.height - 18 + d) for d in (-1, 0, 1)]
        for width, height in ((31, 7), (picture.width, 100), (150, picture.height), (1, 1), (90, 112), *near):
            picture.resize((width, height), Image.BICUBIC).save(folder / f"{n}-{width}x{height}.png")
        for side in (32, 48, 51):
            square = CenterCrop(side)(Resize(side, interpolation=InterpolationMode.BICUBIC)(picture))
            tensors[f"{n}.{side}"] = normalise(ToTensor()(square))
    for name, shape in (("up", (3, 32, 32)), ("down", (3, 64, 56))):
        x = torch.from_numpy(numpy.random.default_rng(len(name)).random(shape)).float()
        tensors[f"{name}.image"] = x
        tensors[f"{name}.resized"] = CenterCrop(48)(Resize(48, interpolation=InterpolationMode.BICUBIC, antialias=True)(x))
    sample = torch.linspace(-1.2, 1.2, 4096).reshape(4, 1024)
    image = (sample / 2 + 0.5).clamp(0, 1).numpy()
    tensors["sample"] = sample
    tensors["sample.bytes"] = torch.from_numpy((image * 255).round().astype("uint8").astype("int64"))
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "vision.safetensors")


def schedulers():
    """One step of every configuration in schedulers.json at three levels, from the state, network output and noise that stand in the file."""
    import unittest.mock

    import diffusers
    from safetensors.torch import load_file, save_file

    folder = HERE / "schedulers"
    tensors, cases = load_file(folder / "schedulers.safetensors"), json.loads((folder / "schedulers.json").read_text())
    x, y, z = tensors["sample"], tensors["model_output"], tensors["noise"]
    for name, first, last, kind in (("scaled_linear", 0.00085, 0.012, "scaled_linear"), ("adjoint_matching", 0.002, 0.009, "scaled_linear"), ("linear", 1e-4, 0.02, "linear")):
        made = diffusers.DDIMScheduler(beta_start=first, beta_end=last, beta_schedule=kind)
        tensors[f"alphas_cumprod.{name}"] = made.alphas_cumprod
    for case in cases:
        scheduler = {"ddim": diffusers.DDIMScheduler, "ddpm": diffusers.DDPMScheduler}[case["kind"]](**case["config"])
        scheduler.set_timesteps(case["steps"])
        case["timesteps"] = scheduler.timesteps.tolist()
        for t in case["stepped_at"]:
            key = f"case.{case['case']}.at.{t}"
            if case["kind"] == "ddim":
                for eta in (0.0, 0.5, 1.0):
                    tensors[f"{key}.eta.{eta}"] = scheduler.step(y, t, x, eta=eta, variance_noise=z if eta else None).prev_sample
            else:
                with unittest.mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: z):
                    tensors[key] = scheduler.step(y, t, x).prev_sample
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "schedulers.safetensors", {"format": "pt"})
    write_json(folder / "schedulers.json", cases)


def inputs(path, *names):
    """Those tensors of a file that were made once."""
    from safetensors.torch import load_file

    have = load_file(path)
    return {name: have[name] for name in names}


def load_names(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        return list(f.keys())


def keep(path, tensors):
    from safetensors.torch import save_file

    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, path)


def text_encoder():
    """States and pooled state of the text encoder of pipeline, with quick GELU as it has it, and with GELU as 2.x has it."""
    from transformers import CLIPTextModel

    path = HERE / "text" / "encoder.safetensors"
    tensors = inputs(path, "input_ids")
    ids = tensors["input_ids"]
    model = CLIPTextModel.from_pretrained(HERE / "pipeline" / "text_encoder").eval()
    out = model(ids, output_hidden_states=True)
    tensors |= {"last_hidden_state": out.last_hidden_state, "pooler_output": out.pooler_output}
    tensors |= {f"hidden_states.{i}": states[:1] for i, states in enumerate(out.hidden_states)}
    tensors["clip_skip_1"] = model.final_layer_norm(out.hidden_states[-2][:1])
    model = CLIPTextModel.from_pretrained(HERE / "pipeline" / "text_encoder", hidden_act="gelu").eval()
    tensors["gelu.last_hidden_state"] = model(ids).last_hidden_state
    keep(path, tensors)


def gradients(loss, module, prefix=""):
    """Gradients to all parameters that have one, by their names."""
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {prefix + name: p.grad.clone() for name, p in module.named_parameters() if p.grad is not None}


def unet():
    """The U-Net of pipeline: whole, block by block, at a size that cannot be halved, and its gradients; that of variants in two precisions."""
    import torch
    from diffusers import UNet2DConditionModel
    from diffusers.models.embeddings import get_timestep_embedding

    model = UNet2DConditionModel.from_pretrained(HERE / "pipeline" / "unet").eval().requires_grad_(False)
    path = HERE / "unet" / "forward.safetensors"
    tensors = inputs(path, "sample", "timestep", "encoder_hidden_states", "odd.sample", "time_proj.timestep")
    x, t, text = tensors["sample"], tensors["timestep"], tensors["encoder_hidden_states"]
    tensors["odd.out"] = model(tensors["odd.sample"], 250, text[:1]).sample
    for width in (16, 32):
        tensors[f"time_proj.{width}"] = get_timestep_embedding(tensors["time_proj.timestep"], width, flip_sin_to_cos=True, downscale_freq_shift=0)

    inside = r"(time_embedding|conv_in|mid_block|conv_norm_out|(down|up)_blocks.\d.(resnets|attentions|(down|up)samplers).\d)"
    inside += r"|down_blocks.0.attentions.0.transformer_blocks.0.(norm\d|attn\d|ff)"
    seen = [
        module.register_forward_hook(lambda module, args, out, name=name: tensors.update({f"block.{name}": out[0] if isinstance(out, tuple) else out}))
        for name, module in model.named_modules() if re.fullmatch(inside, name)
    ]
    model(x[1:2], t[1:2], text[1:2])
    for hook in seen:
        hook.remove()
    tensors["out"] = model(x, t, text).sample
    # So faint a picture that the epsilon of the normalisation is as large as its variance.
    tensors["faint.in"] = tensors["block.down_blocks.0.resnets.0"] / 1000
    tensors["faint.out"] = model.down_blocks[0].attentions[0](tensors["faint.in"], encoder_hidden_states=text[1:2]).sample
    keep(path, tensors)

    path = HERE / "unet" / "gradients.safetensors"
    tensors = inputs(path, "target")
    names = [name for name in load_names(path) if name.startswith("grad.")]
    y = x.clone().requires_grad_(True)
    (tensors["d_sample"],) = torch.autograd.grad(model(y, t, text).sample, y, tensors["target"])
    model.requires_grad_(True)
    tensors["loss"] = torch.nn.functional.mse_loss(model(x, t, text).sample, tensors["target"])
    grads = gradients(tensors["loss"], model)
    tensors |= {name: grads[name.removeprefix("grad.")] for name in names}
    keep(path, tensors)
    norms = {name: float(g.double().norm()) for name, g in grads.items()}
    (HERE / "unet" / "gradient-norms.json").write_text(json.dumps(norms, indent=1, sort_keys=True) + "\n")

    path = HERE / "variants" / "sd2.safetensors"
    tensors = inputs(path, "sample", "timestep", "encoder_hidden_states")
    for name, folder in (("out", "sd2"), ("out_bf16_weights", "sd2-bf16-sharded")):
        model = UNet2DConditionModel.from_pretrained(HERE / "variants" / folder, torch_dtype=torch.float32).eval()
        tensors[name] = model(tensors["sample"], tensors["timestep"], tensors["encoder_hidden_states"]).sample
    keep(path, tensors)


def adapter():
    """pipeline's U-Net with the adapter of lora/peft, and gradients to the adapter."""
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    given = inputs(HERE / "unet" / "forward.safetensors", "sample", "timestep", "encoder_hidden_states")
    target = inputs(HERE / "unet" / "gradients.safetensors", "target")["target"]
    base = UNet2DConditionModel.from_pretrained(HERE / "pipeline" / "unet").eval()
    model = PeftModel.from_pretrained(base, HERE / "lora" / "peft", is_trainable=True)
    x = given["sample"].clone().requires_grad_(True)
    out = model(x, given["timestep"], given["encoder_hidden_states"]).sample
    loss = torch.nn.functional.mse_loss(out, target)
    tensors = {"out": out, "loss": loss}
    (tensors["d_sample"],) = torch.autograd.grad(loss, x, retain_graph=True)
    for name, g in gradients(loss, model).items():
        tensors["grad." + name.removeprefix("base_model.model.").replace(".default", "")] = g
    for module in model.modules():
        if hasattr(module, "scaling") and "default" in module.scaling:
            module.scaling["default"] = 1.0
    tensors["out_scale_1"] = model(given["sample"], given["timestep"], given["encoder_hidden_states"]).sample
    keep(HERE / "lora" / "lora.safetensors", tensors)


PROMPTS = ["A green colored rabbit.", "Two roses in a vase."]


def denoising():
    """The loss (15) of the tuned model, under guidance and of the conditional half alone, on noised samples, and gradients to the adapter."""
    import diffusers
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    path = HERE / "objectives" / "denoising.safetensors"
    tensors = inputs(path, "x0", "eps", "timestep")
    x0, eps, t = tensors.values()
    states = inputs(HERE / "text" / "encoder.safetensors", "last_hidden_state")["last_hidden_state"]
    texts, nothing = states[:2], states[3:4].expand(2, -1, -1)
    scheduler = diffusers.DDIMScheduler.from_pretrained(HERE / "pipeline" / "scheduler")
    tensors["xt"] = x = scheduler.add_noise(x0, eps, t)
    base = UNet2DConditionModel.from_pretrained(HERE / "pipeline" / "unet").eval()
    model = PeftModel.from_pretrained(base, HERE / "lora" / "peft", is_trainable=True)
    without, given = model(torch.cat([x, x]), torch.cat([t, t]), torch.cat([nothing, texts])).sample.chunk(2)
    for name, out in (("guided", without + 7.5 * (given - without)), ("cond", model(x, t, texts).sample)):
        loss = tensors[f"{name}_loss"] = torch.nn.functional.mse_loss(out, eps)
        for key, g in gradients(loss, model).items():
            tensors[f"{name}_grad." + key.removeprefix("base_model.model.").replace(".default", "")] = g
    keep(path, tensors)


def policies():
    """The losses of DPOK and DDPO, and gradients to the adapter with its B times 1.125, on four transitions of a path that the adapter itself has driven.
    In float64: a gradient that is small because its parts cancel, as those to queries are, is off by 5e-5 of itself in float32."""
    import diffusers
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    path = HERE / "objectives" / "policies.safetensors"
    tensors = inputs(path, "index", "path", "advantage")
    index, who, advantage = tensors.values()
    wide = lambda tensors: {name: v.double() if v.is_floating_point() else v for name, v in tensors.items()}
    run = wide(inputs(HERE / "trajectories" / "ddim-eta1.safetensors", "latents", "noise", "eps_tuned", "std", "timestep"))
    x, z, before, t = run["latents"][index, who], run["noise"][index, who], run["eps_tuned"][index, who], run["timestep"][index]
    states = inputs(HERE / "text" / "encoder.safetensors", "last_hidden_state")["last_hidden_state"].double()
    text = torch.cat([states[3:4].expand(4, -1, -1), states[:2][who]])

    base = UNet2DConditionModel.from_pretrained(HERE / "pipeline" / "unet").eval().double()
    model = PeftModel.from_pretrained(base, HERE / "lora" / "peft", is_trainable=True).double()
    adapter = {name: p for name, p in model.named_parameters() if p.requires_grad}
    guided = lambda: (lambda without, given: without + 7.5 * (given - without))(*model(torch.cat([x, x]), torch.cat([t, t]), text).sample.chunk(2))
    with torch.no_grad(), model.disable_adapter():
        of_base = guided()
    with torch.no_grad():
        for name, p in adapter.items():
            if "lora_B" in name:
                p.mul_(1.125)
    eps = guided()

    # Densities of where the noise has led and not of the rounded latents: at the last step rounding is 2e-5 of the noise.
    alphas = diffusers.DDIMScheduler.from_pretrained(HERE / "pipeline" / "scheduler").alphas_cumprod.double()
    a, b, std = (v.view(4, 1, 1, 1) for v in (alphas[t], alphas[(t - 200).clamp(min=0)], run["std"][index]))
    mean = lambda e: b.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - b - std**2).clamp(min=0).sqrt() * e
    log_p = lambda e: torch.distributions.Normal(mean(e), std).log_prob(mean(before) + std * z).mean((1, 2, 3))
    tensors["ratio"] = ratio = torch.exp(log_p(eps) - log_p(before))
    square, kl = ((eps - of_base) ** 2).mean(), (((mean(eps) - mean(of_base)) / std) ** 2).mean() / 2
    clamped = lambda clip: ratio.clamp(1 - clip, 1 + clip)
    dpok = lambda clip, kl: (-10 * advantage * clamped(clip)).mean() + 0.01 * kl
    ddpo = lambda clip: torch.maximum(-advantage * ratio, -advantage * clamped(clip)).mean()
    losses = {"dpok.0.001": dpok(0.001, square), "dpok.0.5": dpok(0.5, square), "gaussian.0.5": dpok(0.5, kl), "ddpo.0.001": ddpo(0.001), "ddpo.0.5": ddpo(0.5)}
    for name, loss in losses.items():
        tensors[f"{name}.loss"] = loss
        for key, g in zip(adapter, torch.autograd.grad(loss, list(adapter.values()), retain_graph=True)):
            tensors[f"{name}.grad." + key.removeprefix("base_model.model.").replace(".default", "")] = g
    keep(path, {name: v.float() if v.is_floating_point() else v for name, v in tensors.items()})


def adjoint_matching():
    """Adjoint matching on the recorded memoryless paths, without guidance: lean adjoints for the gradient of the reward that stands in the file, losses of
    three steps, and the gradients of their mean to the adapter."""
    import diffusers
    import torch
    from diffusers import UNet2DConditionModel
    from peft import PeftModel

    path = HERE / "objectives" / "adjoint-matching.safetensors"
    tensors = inputs(path, "reward_grad", "reward_multiplier", "index")
    latents = inputs(HERE / "trajectories" / "memoryless.safetensors", "latents")["latents"]
    texts = inputs(HERE / "text" / "encoder.safetensors", "last_hidden_state")["last_hidden_state"][:2]
    config = diffusers.DDIMScheduler.from_pretrained(HERE / "pipeline" / "scheduler").config
    scheduler = diffusers.DDIMScheduler.from_config(config, beta_start=0.002, beta_end=0.009, timestep_spacing="trailing")
    n = len(latents) - 1
    scheduler.set_timesteps(n)
    bars = scheduler.alphas_cumprod.double()

    def step(i):
        """Coefficients of x and eps in the mean of step i with all its noise, and the standard deviation of that."""
        t = int(scheduler.timesteps[i])
        now = bars[t]
        then = bars[t - 1000 // n] if t >= 1000 // n else ((1 + now) / 2).float().double()
        std = ((1 - then) / (1 - now) * (1 - now / then)).sqrt()
        scale = (then / now).sqrt()
        return tuple(v.float() for v in (scale, (1 - then - std**2).clamp(min=0).sqrt() - scale * (1 - now).sqrt(), std))

    base = UNet2DConditionModel.from_pretrained(HERE / "pipeline" / "unet").eval().requires_grad_(False)
    adjoints, eps = [-tensors["reward_multiplier"] * tensors["reward_grad"]], []
    for i in reversed(range(n)):
        scale, slope, _ = step(i)
        x = latents[i].clone().requires_grad_(True)
        out = base(x, scheduler.timesteps[i], texts).sample
        (through,) = torch.autograd.grad(((scale * x + slope * out) * adjoints[0]).sum(), x)
        adjoints.insert(0, through)
        eps.insert(0, out.detach())
    tensors["adjoint"] = torch.stack(adjoints)
    model = PeftModel.from_pretrained(base, HERE / "lora" / "peft", is_trainable=True)
    losses = []
    for i in tensors["index"].tolist():
        _, slope, std = step(i)
        change = model(latents[i], scheduler.timesteps[i], texts).sample - eps[i]
        losses.append((slope / std * change + std * adjoints[i]).square().sum((1, 2, 3)))
    tensors["losses"] = torch.stack(losses)
    tensors["loss"] = tensors["losses"].mean()
    for key, g in gradients(tensors["loss"], model).items():
        tensors["grad." + key.removeprefix("base_model.model.").replace(".default", "")] = g
    keep(path, tensors)


def images():
    """Text to picture by diffusers' own pipeline from the start that stands in the file, without and with the adapter of kohya."""
    import torch
    from diffusers import StableDiffusionPipeline

    path = HERE / "images" / "images.safetensors"
    tensors = inputs(path, "start")
    for prefix in ("", "lora."):
        pipe = StableDiffusionPipeline.from_pretrained(HERE / "pipeline", safety_checker=None)
        pipe.set_progress_bar_config(disable=True)
        if prefix:
            pipe.load_lora_weights(HERE / "lora" / "kohya", weight_name="lora.safetensors")
        draw = lambda kind: pipe(PROMPTS, latents=tensors["start"].clone(), num_inference_steps=5, guidance_scale=7.5, eta=0.0, output_type=kind).images
        tensors[prefix + "latents"], tensors[prefix + "image"] = draw("latent"), torch.from_numpy(draw("np"))
        for i, picture in enumerate([] if prefix else draw("pil")):
            picture.save(HERE / "images" / f"base-{i}.png")
    keep(path, tensors)


def vae():
    """Both halves of pipeline's autoencoder, and the gradient of the decoder."""
    import torch
    from diffusers import AutoencoderKL

    model = AutoencoderKL.from_pretrained(HERE / "pipeline" / "vae").eval().requires_grad_(False)
    scale = model.config.scaling_factor
    path = HERE / "vae" / "vae.safetensors"
    tensors = inputs(path, "image", "eps", "z", "cotangent", "wide.image")
    law = model.encode(tensors["image"]).latent_dist
    tensors |= {"moments": law.parameters, "mean": law.mean, "logvar": law.logvar, "latents": (law.mean + law.std * tensors["eps"]) * scale}
    tensors["wide.moments"] = model.encode(tensors["wide.image"]).latent_dist.parameters
    z = tensors["z"].clone().requires_grad_(True)
    tensors["decoded"] = model.decode(z / scale).sample
    (tensors["d_z"],) = torch.autograd.grad(tensors["decoded"], z, tensors["cotangent"])
    keep(path, tensors)


def unconditional():
    """What the U-Nets of unconditional pipelines compute, in float64, and two samplers of five steps with the noise in the file."""
    import torch
    from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler
    from diffusers.schedulers import scheduling_ddpm

    for name in ("ddpm", "ddpm-cosine"):
        pipe = DDPMPipeline.from_pretrained(HERE / "unconditional" / name)
        unet = pipe.unet.eval().requires_grad_(False).double()
        path = HERE / "unconditional" / f"{name}.safetensors"
        tensors = inputs(path, "sample", "timestep", "wide", "ddpm.start", "ddpm.noise", "ddim.start", "ddim.noise")
        tensors["out"] = unet(tensors["sample"].double(), tensors["timestep"]).sample.float()
        tensors["wide_out"] = unet(tensors["wide"].double(), torch.tensor([33])).sample.float()
        tensors["alphas_cumprod"] = pipe.scheduler.alphas_cumprod
        ddpm = DDPMScheduler.from_config(pipe.scheduler.config, clip_sample=False, variance_type="fixed_small")
        ddim = DDIMScheduler.from_config(pipe.scheduler.config, clip_sample=False, set_alpha_to_one=True)
        for kind, scheduler in (("ddpm", ddpm), ("ddim", ddim)):
            scheduler.set_timesteps(5)
            x, noise = tensors[f"{kind}.start"].double(), tensors[f"{kind}.noise"].double()
            for i, level in enumerate(scheduler.timesteps):
                predicted = unet(x, level.expand(2)).sample
                scheduling_ddpm.randn_tensor = lambda *_, **__: noise[i]
                more = {"eta": 1.0, "variance_noise": noise[i]} if kind == "ddim" else {}
                x = scheduler.step(predicted, level, x, **more).prev_sample
            tensors[f"{kind}.levels"], tensors[f"{kind}.end"] = scheduler.timesteps, x.float()
        keep(path, tensors)


def clip():
    """Embeddings, scores and diversity by the CLIP in testdata."""
    import torch
    from transformers import CLIPModel

    path = HERE / "clip" / "clip.safetensors"
    tensors = inputs(path, "pixel_values", "input_ids")
    model = CLIPModel.from_pretrained(HERE / "clip").eval()
    out = model(**tensors)
    tensors |= {"image_embeds": out.image_embeds, "text_embeds": out.text_embeds, "logits_per_image": out.logits_per_image}
    tensors["vision_last_hidden_state"] = out.vision_model_output.last_hidden_state
    tensors["clip_score"] = (out.image_embeds * out.text_embeds).sum(-1)
    pairs = torch.pdist(out.image_embeds) ** 2 / 2  # of vectors of length 1: 1 − cos
    tensors["diversity"] = pairs.mean()
    keep(path, tensors)


def reward_model():
    """ImageReward of its own package, with the sizes of the one in testdata. It was written for libraries of 2023, which these few lines stand in for."""
    import importlib.util
    import sys
    from types import ModuleType, SimpleNamespace

    import torch
    import transformers
    from safetensors.torch import load_file

    folder = HERE / "imagereward"
    transformers.modeling_utils.apply_chunking_to_forward = lambda function, size, axis, *args: function(*args)
    transformers.modeling_utils.find_pruneable_heads_and_indices = transformers.modeling_utils.prune_linear_layer = None
    fairscale = "fairscale.nn.checkpoint.checkpoint_activations"
    for name in [fairscale[:i] for i, c in enumerate(fairscale) if c == "."] + [fairscale, "clip"]:
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules[fairscale].checkpoint_wrapper = None
    root = Path(importlib.util.find_spec("ImageReward").submodule_search_locations[0])
    for name, path in (("ImageReward", root), ("ImageReward.models", root / "models")):  # without what their __init__ imports
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [str(path)]
    from ImageReward.ImageReward import ImageReward, MLP
    from ImageReward.models.BLIP import blip_pretrain, med, vit

    med.BertPreTrainedModel.init_weights = lambda self: None
    med.BertPreTrainedModel.get_head_mask = lambda self, mask, layers: [None] * layers
    med.BertPreTrainedModel.invert_attention_mask = lambda self, mask: (1 - mask[:, None, None, :]) * torch.finfo(torch.float32).min
    config = med.BertConfig.from_json_file(folder / "med_config.json")
    more = {"chunk_size_feed_forward": 0, "position_embedding_type": "absolute", "add_type_embeddings": False}
    for key, value in {**more, **json.loads((folder / "med_config.json").read_text())}.items():
        setattr(config, key, value)
    blip_pretrain.BertConfig = SimpleNamespace(from_json_file=lambda path: config)
    blip_pretrain.create_vit = lambda *a, **k: (vit.VisionTransformer(img_size=48, patch_size=16, embed_dim=32, depth=2, num_heads=4), 32)
    blip_pretrain.init_tokenizer = lambda: range(config.vocab_size)  # only its size is asked for

    model = ImageReward.__new__(ImageReward)
    torch.nn.Module.__init__(model)
    model.device, model.mean, model.std = "cpu", 0.16717362830052426, 1.0333394966054072
    model.blip = blip_pretrain.BLIP_Pretrain(image_size=48, vit="large", med_config="", embed_dim=8)
    model.mlp = MLP(config.hidden_size)
    state = load_file(folder / "ImageReward.safetensors")
    for place in (0, 2, 4, 6, 7):
        out, width = state[f"mlp.layers.{place}.weight"].shape
        model.mlp.layers[place] = torch.nn.Linear(width, out)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def imagereward():
    """Rewards of every picture for every text, and of each picture for one text with the states on the way and the gradient to the picture."""
    import torch

    model = reward_model()
    path = HERE / "imagereward" / "rewards.safetensors"
    given = inputs(path, "pixel_values", "input_ids", "attention_mask")
    pixels, ids, mask = given.values()
    tensors = dict(given)
    tensors["rewards"] = torch.stack([model.score_gard(ids, mask, p.expand(len(ids), -1, -1, -1))[:, 0] for p in pixels])
    states = model.blip.visual_encoder(pixels)
    known = torch.ones(states.shape[:-1])
    text = model.blip.text_encoder(ids[:3], attention_mask=mask[:3], encoder_hidden_states=states, encoder_attention_mask=known, return_dict=True)
    tensors |= {"image_states": states, "text_state": text.last_hidden_state[:, 0]}
    x = pixels.clone().requires_grad_(True)
    (tensors["d_pixel_values"],) = torch.autograd.grad(model.score_gard(ids[:3], mask[:3], x).sum(), x)
    keep(path, tensors)

    # The same without 8 bits, for the first text, with the gradient to a picture of another size, colours in [0, 1].
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize

    normalise = Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    prepare = Compose([Resize(48, interpolation=InterpolationMode.BICUBIC), CenterCrop(48), normalise])
    path = HERE / "imagereward" / "pictures.safetensors"
    tensors = inputs(path, "up.image", "down.image")
    for name in ("up", "down"):
        x = tensors[f"{name}.image"].clone().requires_grad_(True)
        value = model.score_gard(ids[:1], mask[:1], prepare(x))
        (tensors[f"{name}.d_image"],) = torch.autograd.grad(value.sum(), x)
        tensors[f"{name}.reward"] = value
    keep(path, tensors)


if __name__ == "__main__":
    tokens()
    state_dicts()
    vision()
    schedulers()
    text_encoder()
    unet()
    adapter()
    denoising()
    policies()
    adjoint_matching()
    images()
    vae()
    unconditional()
    clip()
    imagereward()
