# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Tokens for other models: what a vision-language model needs to write and read maps and masks as AiT's codes.

Published weights as a [`VQTokenizer`], preprocessing ([`AiTTokenProcessor`]), text ([`TokenFormat`], [`parse_text`]),
vocabulary ([`add_tokens`]), constraints ([`TokenFormatLogitsProcessor`], [`answer_regex`]) and soft decoding
([`soft_decode`]).
"""

from .constraints import TokenFormatLogitsProcessor, answer_regex
from .conventions import CONVENTIONS
from .image_processing_tokens import AiTTokenProcessor
from .new_rows import train_only_rows
from .presets import PRESETS, Preset, get_preset
from .soft_decoding import SoftDecoding, code_noise, soft_decode
from .text import TokenBlock, parse_text
from .token_format import TokenFormat, check_formats_apart
from .vocabulary import TokenVocabulary, add_tokens


__all__ = [
    "CONVENTIONS",
    "PRESETS",
    "AiTTokenProcessor",
    "Preset",
    "SoftDecoding",
    "TokenBlock",
    "TokenFormat",
    "TokenFormatLogitsProcessor",
    "TokenVocabulary",
    "add_tokens",
    "answer_regex",
    "check_formats_apart",
    "code_noise",
    "get_preset",
    "parse_text",
    "soft_decode",
    "train_only_rows",
]
