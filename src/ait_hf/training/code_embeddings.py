# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the embeddings of a new model's codes start from, if not from noise: waves over the codebook."""

import math

import torch

from ..model.modeling_ait import AiTForDenseTokenGeneration


@torch.no_grad()
def start_from_codebooks(model: AiTForDenseTokenGeneration) -> None:
    """
    Codes that decode to nearly the same get nearly the same embeddings, and so nearly the same logits: what a new model
    learns of one code it then knows of its neighbours. Replaces the embeddings of the codes of trained tokenizers,
    which are also those of the classifier; draws from torch's global generator.
    """
    embeddings = model.get_input_embeddings().weight
    for name, tokenizer in model.tokenizers.items():
        codes = model.config.vocabulary.codebooks[name]
        waves = codebook_waves(tokenizer.quantizer.embedding.weight, embeddings.shape[1])
        embeddings[codes.start : codes.stop] = model.config.initializer_range * waves.to(embeddings)


def codebook_waves(codebook: torch.Tensor, dim: int) -> torch.Tensor:
    """
    Random Fourier features (Rahimi and Recht, 2007) of several scales at once: cosines of random directions and phases,
    whose wavelengths go geometrically from about the distance between neighbouring codes to that between any two. From
    a codebook `(codes, width)` of at least two codes, features `(codes, dim)`, float32, of variance 1; `ValueError`
    for the codebook of an untrained tokenizer.
    """
    codebook = codebook.float()
    distances = torch.cdist(codebook, codebook)
    near = distances.kthvalue(2, dim=1).values.median()  # the first is the code itself
    far = distances.median()
    if not near > 0:
        raise ValueError("Half of the codebook's codes are the same: train the tokenizer before the task-solver.")
    steps = torch.linspace(0, 1, dim, device=codebook.device)
    scales = torch.exp((1 - steps) * (1 / (3 * near)).log() + steps * (1 / far).log())
    directions = torch.randn(codebook.shape[1], dim, device=codebook.device) * scales
    return math.sqrt(2) * torch.cos(codebook @ directions + 2 * math.pi * torch.rand(dim, device=codebook.device))
