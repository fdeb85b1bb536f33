"""What diffusers and PEFT compute with adapters that this project has written. Run by TestAdaptersInPython: adapters.py MODEL FOLDER"""

import copy
import sys
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from peft import PeftModel
from safetensors.torch import load_file, save_file

model, folder = sys.argv[1], Path(sys.argv[2])
given = load_file(folder / "inputs.safetensors")
pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
base, out = copy.deepcopy(pipe.unet), {}


def unet(network):
    with torch.no_grad():
        return network(given["sample"], given["timestep"], given["encoder_hidden_states"]).sample


def text():
    with torch.no_grad():
        return pipe.text_encoder(given["input_ids"])[0]


for name in ("diffusers", "kohya"):
    pipe.load_lora_weights(str(folder), weight_name=f"{name}.safetensors")
    out[f"{name}.unet"], out[f"{name}.text"] = unet(pipe.unet), text()
    pipe.unload_lora_weights()
out["peft.unet"] = unet(PeftModel.from_pretrained(base, folder / "peft").eval())
save_file({name: x.contiguous() for name, x in out.items()}, folder / "outputs.safetensors")
