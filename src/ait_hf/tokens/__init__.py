# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Tokens for other models: what a vision-language model needs to write and read maps and masks as AiT's codes.

Published weights as a [`VQTokenizer`], preprocessing ([`AiTTokenProcessor`]), text ([`TokenFormat`], [`parse_text`]),
vocabulary ([`add_tokens`]), constraints ([`TokenFormatLogitsProcessor`], [`answer_regex`]), soft decoding ([`soft_decode`]),
PaliGemma's answers ([`decode_answers`]) and MolmoAct's videos ([`TokenBuffer`]).
"""

from .buffer import BufferUpdate, TokenBuffer
from .constraints import TokenFormatLogitsProcessor, answer_regex
from .conventions import CONVENTIONS
from .image_processing_tokens import AiTTokenProcessor
from .paligemma import coco_results, decode_answers, encode_objects
from .soft_decoding import SoftDecoding, code_noise, soft_decode
from .text import TokenBlock, parse_text
from .token_format import PRESETS, Preset, TokenFormat, check_formats_apart, get_preset
from .vocabulary import TokenVocabulary, add_tokens, train_only_rows


__all__ = ["CONVENTIONS", "PRESETS", "AiTTokenProcessor", "Preset", "get_preset"]
__all__ += ["TokenBlock", "TokenFormat", "answer_regex", "check_formats_apart", "parse_text"]
__all__ += ["SoftDecoding", "TokenFormatLogitsProcessor", "TokenVocabulary", "add_tokens", "code_noise", "soft_decode"]
__all__ += ["BufferUpdate", "TokenBuffer", "coco_results", "decode_answers", "encode_objects", "train_only_rows"]
