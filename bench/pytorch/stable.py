"""The U-Net of Stable Diffusion 1.5 with random weights, by the library diffusers."""

import functools

import torch
from diffusers import UNet2DConditionModel

import nets


@functools.cache  # variants of one layout share it: it has 3.4 GB in F32
def network(layout, dtype, width, latent):
    with torch.device("meta"):  # its own initialisation takes minutes
        net = UNet2DConditionModel(
            sample_size=latent,
            block_out_channels=(width, 2 * width, 4 * width, 4 * width),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
            norm_num_groups=min(32, width),
        )
    net = net.to(dtype).to_empty(device="cpu").eval().requires_grad_(False)
    for name, p in net.named_parameters():
        if p.dim() > 1:
            p.uniform_(-1, 1).mul_((3 / p[0].numel()) ** 0.5)
        else:
            p.fill_(float(name.endswith("weight")))
    return net.to(memory_format=layout)


def unet(variant, width, batch, latent, bits):
    """One evaluation, as in every step of a sampler with guidance (batch 2), in F32 or with bits=16 in BF16."""
    layout, dtype = nets.layout_of(variant), torch.bfloat16 if bits == 16 else torch.float32
    net = network(layout, dtype, width, latent)
    x = torch.rand(batch, 4, latent, latent, dtype=dtype).contiguous(memory_format=layout)
    text, t = torch.rand(batch, 77, 768, dtype=dtype), torch.full((batch,), 500)
    fn = nets.compiled(variant, net)

    def step():
        with torch.inference_mode():
            fn(x, t, text, return_dict=False)

    return step
