"""The U-Net of Stable Diffusion 1.5 with random weights, by the library diffusers, and its adapters, by the library peft."""

import functools

import torch
from diffusers import UNet2DConditionModel
from torch import nn

import nets


def random(layout, dtype, width, latent):
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


network = functools.cache(random)  # variants of one layout share it: it has 3.4 GB in F32


def unet(variant, width, batch, latent, bits, products):
    """One evaluation, as in every step of a sampler with guidance (batch 2), in F32 or with bits=16 all in BF16, whatever form products have in ours."""
    layout, dtype = nets.layout_of(variant), torch.bfloat16 if bits == 16 else torch.float32
    net = network(layout, dtype, width, latent)
    x = torch.rand(batch, 4, latent, latent, dtype=dtype).contiguous(memory_format=layout)
    text, t = torch.rand(batch, 77, 768, dtype=dtype), torch.full((batch,), 500)
    fn = nets.compiled(variant, net)

    def step():
        with torch.inference_mode():
            fn(x, t, text, return_dict=False)

    return step


class Adapted(nn.Module):
    """The network, frozen, with a low-rank adapter of all attention layers, and with checkpointing of its blocks."""

    def __init__(self, layout, width, latent, rank):
        super().__init__()
        from peft import LoraConfig  # which diffusers needs for adapters, and nothing else here

        self.net = random(layout, torch.float32, width, latent)
        self.net.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
        self.net.enable_gradient_checkpointing()
        self.net.train()

    def forward(self, x, t, text):
        return self.net(x, t, text, return_dict=False)[0]


adapted = functools.cache(Adapted)


def lora(variant, width, batch, latent, rank):
    """A training step of the adapter: mean squared error of the prediction, AdamW. The parameters are counted, as on our side."""
    layout = nets.layout_of(variant)
    net = adapted(layout, width, latent, rank)
    trained = [p for p in net.parameters() if p.requires_grad]
    n, want = sum(p.numel() for p in trained), rank * (14 * (5 + 2 * 5 + 4 * 6) * width + 16 * 2 * 768)
    if n != want:
        raise ValueError(f"the adapter has {n} parameters, the work wants {want}")
    x, target = (v.contiguous(memory_format=layout) for v in torch.rand(2, batch, 4, latent, latent))
    text, t = torch.rand(batch, 77, 768), torch.full((batch,), 500)
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0, fused=True)
    return nets.training_step(variant, net, optimizer, [x, t, text], target, clip=1.0)
