"""Draws a picture by diffusers from a model's folder and tells the time and the peak memory: what `doob generate` is compared with.

    python generate.py DIR [--steps 4] [--size 512] [--dtype float32] [--layout nhwc] [-o out.png]

Times count from the program's start; imports are told apart.
"""

import argparse
import time

start = time.perf_counter()

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

import peer


def main():
    options = argparse.ArgumentParser()
    options.add_argument("model")
    options.add_argument("--steps", type=int, default=4)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--dtype", default="float32")
    options.add_argument("--layout", default="nchw")
    options.add_argument("-o", dest="out")
    o = options.parse_args()

    def lap(what):
        print(f"{what:12} {time.perf_counter() - start:7.2f} s  peak {peer.peak_rss() / 1e9:5.2f} GB", flush=True)

    lap("imported")
    pipe = StableDiffusionPipeline.from_pretrained(
        o.model, variant="fp16", torch_dtype=getattr(torch, o.dtype), safety_checker=None, requires_safety_checker=False
    )
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    if o.layout == "nhwc":
        pipe.unet.to(memory_format=torch.channels_last)
        pipe.vae.to(memory_format=torch.channels_last)
    lap("loaded")

    def step(_, i, t, values):
        lap(f"step {i + 1}")
        return values

    image = pipe(
        "A green colored rabbit.", height=o.size, width=o.size, num_inference_steps=o.steps, guidance_scale=7.5,
        generator=torch.Generator().manual_seed(1), callback_on_step_end=step,
    ).images[0]
    lap("decoded")
    if o.out:
        image.save(o.out)


main()
