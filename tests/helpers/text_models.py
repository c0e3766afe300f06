# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Language models and text tokenizers of the library, tiny and untrained, for what adds tokens to them."""

import json
from pathlib import Path

import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ait_hf import VQTokenizer
from ait_hf.tokens import TokenFormat


NUM_CODES = 20
DEPTH = TokenFormat(code="<D_{}>", num_codes=NUM_CODES, grid=(2, 3), start="<D_START>", end="<D_END>")
MASK = TokenFormat(
    code="<m{:03d}>",
    num_codes=NUM_CODES,
    grid=(2, 2),
    location="<l{:02d}>",
    num_locations=16,
    labels=True,
    block_separator=" ; ",
)
SPECIAL = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
WIDTH = 32
SIZES = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "max_position_embeddings": 128}


def vq_tokenizer(grid: tuple[int, int] = (2, 3)) -> VQTokenizer:
    """Untrained, with codes on a curve, so that code `i` is nearest to `i - 1` and `i + 1`."""
    torch.manual_seed(0)
    tokenizer = VQTokenizer(
        downsample_ratio=4,
        base_channels=4,
        num_res_blocks=1,
        num_vq_embeddings=NUM_CODES,
        vq_embed_dim=12,
        sample_size=4 * grid[0],
        value_range=(0.0, 1.0),
        unit="relative_inverse_depth",
        loss_type="mse",
    )
    steps = torch.linspace(0, 3, NUM_CODES)[:, None] * torch.arange(1, 7) / 3
    tokenizer.quantizer.embedding.weight.data = torch.cat([steps.sin(), steps.cos()], dim=1)
    return tokenizer.eval()


def byte_level_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """As GPT-2's and Qwen's: bytes and a few merges."""
    characters = sorted(bytes_to_unicode().values())
    merges = [["d", "e"], ["p", "t"], ["pt", "h"], ["de", "pth"], ["Ġ", "depth"]]
    words = SPECIAL + characters + ["".join(pair) for pair in merges]
    model = {"type": "BPE", "vocab": {word: i for i, word in enumerate(words)}, "merges": merges}
    pre = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _tokenizer(folder, model, pre, pre)


def unigram_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """As SentencePiece's: pieces with scores, blanks as a character of their own."""
    pieces = [*SPECIAL, "\u2581", "\u2581depth", "\u2581the", "ing"]
    pieces += [chr(code) for code in range(33, 127)]
    model = {"type": "Unigram", "unk_id": 0, "vocab": [[piece, -float(i)] for i, piece in enumerate(pieces)]}
    pre = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    return _tokenizer(folder, model, pre, pre)


def _tokenizer(folder: Path, model: dict, pre_tokenizer: dict, decoder: dict) -> PreTrainedTokenizerBase:
    added = [
        {
            "id": i,
            "content": token,
            "special": True,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
        }
        for i, token in enumerate(SPECIAL)
    ]
    content = {"version": "1.0", "added_tokens": added, "normalizer": None, "pre_tokenizer": pre_tokenizer}
    content |= {"post_processor": None, "decoder": decoder, "model": model, "truncation": None, "padding": None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), padding_side="left", **names)


def tiny_model(family: str, vocab_size: int) -> PreTrainedModel:
    """One of FAMILIES, in evaluation mode."""
    torch.manual_seed(1)
    ids = {"vocab_size": vocab_size, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SIZES, **HEADS, **ids, tie_word_embeddings=False))
    elif family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SIZES, **HEADS, **ids, tie_word_embeddings=False))
    elif family == "gemma2":
        model = Gemma2ForCausalLM(Gemma2Config(**SIZES, **HEADS, **ids, head_dim=8))
    elif family == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=WIDTH, n_layer=2, n_head=4, n_positions=128, **ids))
    else:
        text = {"model_type": "gemma", **SIZES, **HEADS, **ids, "head_dim": 8}
        vision = {
            "model_type": "siglip_vision_model",
            **SIZES,
            "image_size": 16,
            "patch_size": 8,
            "projection_dim": WIDTH,
        }
        vision |= {"vision_use_head": False}
        config = PaliGemmaConfig(text_config=text, vision_config=vision, image_token_index=4, projection_dim=WIDTH)
        model = PaliGemmaForConditionalGeneration(config)
    return model.eval()


FAMILIES = {
    "llama": unigram_tokenizer,
    "qwen2": byte_level_tokenizer,
    "gemma2": unigram_tokenizer,
    "gpt2": byte_level_tokenizer,
    "paligemma": unigram_tokenizer,
}


def inputs_of(family: str, text_tokenizer: PreTrainedTokenizerBase, prompts: list[str]) -> dict[str, torch.Tensor]:
    """Prompts of different lengths, padded at the left; with pictures where the model reads them."""
    if family == "paligemma":
        prompts = ["<image>" * 4 + prompt for prompt in prompts]
    inputs = dict(text_tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False))
    if family == "paligemma":
        generator = torch.Generator().manual_seed(0)
        inputs["pixel_values"] = torch.rand(len(prompts), 3, 16, 16, generator=generator)
        inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    return inputs
