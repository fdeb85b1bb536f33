"""Writes again what the reference libraries compute for the files in testdata.

    python make.py          then `git diff testdata` says what has changed: nothing, with these versions

Python 3.11 with torch 2.15.0, torchvision 0.29.2 (CPU), diffusers 0.42.1, transformers 5.24.0, tokenizers 0.23.3, safetensors 0.8.0, numpy, pillow 13.0.0. The tiny models,
adapters, pictures, texts and recorded paths in testdata are inputs, of random numbers and made once; they stay as they are.
"""

import gzip
import json
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


if __name__ == "__main__":
    tokens()
    state_dicts()
    vision()
    schedulers()
