# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny saved model whose depth maps are not all alike, and pictures to give it."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tiny import tiny_config

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code


def tiny_model(**changes) -> tuple[AiTForDenseTokenGeneration, AiTImageProcessor]:
    """A random depth model on 96x96 images that predicts some metres, and its image processor."""
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(tiny_config(**changes)).eval()
    with torch.no_grad():
        # The initialisation is so small that all pictures look alike; this keeps what is different different.
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
        for layer in model.model.decoder.layers:
            layer.cross_attn.out_proj.weight.mul_(10)
        model.lm_head.weight.mul_(3)
        tokenizer = model.tokenizers["depth"]
        tokenizer.quantizer.embedding.weight.normal_()
        for layer in tokenizer.decoder.up:
            layer.weight.mul_(2)
        tokenizer.decoder.conv_out.weight.mul_(3)
        tokenizer.decoder.conv_out.bias.fill_(3)
    return model, AiTImageProcessor(size={"height": 96, "width": 96})


def save_tiny_model(folder: Path, **changes) -> Path:
    save_with_remote_code(*tiny_model(**changes), folder)
    return folder


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    """Coloured blotches."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
