"""Draws pictures from given latents with the library diffusers,: draw.py FOLDER DIR.

Reads DIR/start.safetensors, start [n, 4, 8, 8], and DIR/prompts.json; writes DIR/pictures.safetensors, pictures [n, height, width, 3] in [0, 1].
"""

import json
import sys

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

folder, work = sys.argv[1:]
pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, feature_extractor=None, torch_dtype=torch.float32)
pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
pipe.set_progress_bar_config(disable=True)
start = load_file(f"{work}/start.safetensors")["start"]
pictures = []
for latents, prompt in zip(start, json.load(open(f"{work}/prompts.json"))):
    out = pipe(prompt, latents=latents[None], num_inference_steps=20, eta=0.0, guidance_scale=3.0, output_type="np")
    pictures.append(torch.from_numpy(np.ascontiguousarray(out.images[0])))
save_file({"pictures": torch.stack(pictures)}, f"{work}/pictures.safetensors")
