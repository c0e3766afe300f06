# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What a vision-language model's data and answers cost: masks and maps to text and back."""

from argparse import Namespace

import numpy as np
import torch

from ..model.tokenization_vq import VQTokenizer
from ..tokens import AiTTokenProcessor, decode_answers, get_preset, parse_text
from .measuring import Suite


def tokens(options: Namespace) -> Suite:
    """PaliGemma's masks and MolmoAct 2's maps, from pixels to text and from text to pixels, of images of this size."""
    size = options.size or 480
    rng = np.random.default_rng(options.seed)
    centers, places = rng.uniform(0.3, 0.7, (options.batch_size, 2)) * size, np.mgrid[:size, :size]
    masks = [np.hypot(places[0] - y, places[1] - x) < size / 4 for y, x in centers]
    maps = list(rng.random((options.batch_size, size, size), dtype=np.float32))
    mask, depth = get_preset("paligemma-mask"), get_preset("molmoact2-depth")
    processors = [AiTTokenProcessor(convention=preset.convention) for preset in (mask, depth)]
    mask_tokenizer, depth_tokenizer = (
        VQTokenizer(**preset.tokenizer).eval().to(options.device) for preset in (mask, depth)
    )

    def encode_masks() -> list[str]:
        inputs = processors[0](masks)
        ids = mask_tokenizer.tokenize(inputs.pixel_values.to(options.device)).cpu()
        return [mask.token_format.to_text(*pair) for pair in zip(ids, inputs.locations)]

    def encode_maps() -> list[str]:
        ids = depth_tokenizer.tokenize(processors[1](maps).pixel_values.to(options.device)).cpu()
        return [depth.token_format.to_text(codes) for codes in ids]

    mask_texts, map_texts, sizes = encode_masks(), encode_maps(), [(size, size)] * options.batch_size

    def decode_maps() -> list[torch.Tensor]:
        ids = torch.stack([parse_text(text, depth.token_format)[0].ids for text in map_texts])
        return processors[1].post_process_maps(depth_tokenizer.detokenize(ids=ids.to(options.device)), sizes)

    contestants = {
        "masks to text": encode_masks,
        "text to masks": lambda: decode_answers(mask_texts, sizes, mask_tokenizer),
        "maps to text": encode_maps,
        "text to maps": decode_maps,
    }
    return Suite(contestants, {"size": size}, images=dict.fromkeys(contestants, options.batch_size))
