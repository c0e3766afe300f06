# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A small FastVLM of the library that learns to write depth and masks, and what it writes, for `ait demo tokens`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.nn import functional as F
from transformers import (
    FastVlmConfig,
    FastVlmForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
    Trainer,
    TrainingArguments,
)

from ..data.rooms.rendering import ROOM_CLASSES
from ..tokens import TokenBlock, TokenFormatLogitsProcessor, TokenVocabulary, add_tokens, soft_decode
from .demo_tokens_rooms import SIZE, Codec, DepthCodec, LessonCollator, MaskCodec, Question, RoomLessons


WORDS = ["<pad>", "<eos>", "<unk>", "<image>", "depth", "segment", *ROOM_CLASSES]
WIDTH = 128
PATCH_SIZE = 16
ROOMS_PER_STEP = 8  # with about six answers each
LEARNING_RATE = 1e-3
LONGEST_ANSWER = 24  # tokens; a mask has 22: four locations, 16 codes, its name and the end


@dataclass
class Answer:
    """A whole block, decoded hard and soft: depth in metres or a mask, at the size of the image."""

    block: TokenBlock
    hard: np.ndarray
    soft: np.ndarray
    uncertainty: np.ndarray


class RoomModel:
    """
    An untrained FastVLM with the tokens of depth and masks in its vocabulary.

    Args:
        depth, mask: Whose tokens they are.
    """

    def __init__(self, depth: DepthCodec, mask: MaskCodec):
        self.depth, self.mask = depth, mask
        self.processor = build_processor()
        self.model = build_model()
        self.vocabularies = {
            codec: add_tokens(self.processor.tokenizer, self.model, codec.token_format, codec.tokenizer)
            for codec in (depth, mask)
        }

    def train(self, output: Path, steps: int, seed: int) -> list[dict[str, float]]:
        """As one fine-tunes any model of the library; saves model and processor. Returns what the trainer logged."""
        arguments = TrainingArguments(
            str(output),
            max_steps=steps,
            per_device_train_batch_size=ROOMS_PER_STEP,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.05,
            adam_beta2=0.95,
            logging_steps=25,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            dataloader_num_workers=1,
            seed=seed,
            use_cpu=True,
        )
        lessons = RoomLessons(seed, steps * ROOMS_PER_STEP, self.depth, self.mask)
        trainer = Trainer(
            self.model, arguments, LessonCollator(self.processor, list(self.vocabularies.values())), lessons
        )
        trainer.train()
        self.model.eval()
        for part in (self.model, self.processor):
            part.save_pretrained(output)
        return trainer.state.log_history

    @torch.no_grad()
    def write(
        self, questions: Sequence[Question], constrained: bool, beginnings: torch.LongTensor | None = None
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """
        Writes answers to prompts of as many words each, the likeliest token at each step.

        Args:
            constrained: To one whole block.
            beginnings: `(questions, tokens)`, with which the answers begin.

        Returns:
            Tokens `(questions, steps)` and their logits `(questions, steps, vocabulary)`, 0 for beginnings.
        """
        inputs = self.processor(
            images=[question.image for question in questions],
            text=[f"<image>{question.prompt}" for question in questions],
            return_tensors="pt",
        )
        length, given = inputs["input_ids"].shape[1], 0
        if beginnings is not None:
            given = beginnings.shape[1]
            inputs["input_ids"] = torch.cat([inputs["input_ids"], beginnings], dim=1)
            inputs["attention_mask"] = F.pad(inputs["attention_mask"], (0, given), value=1)
        rule = TokenFormatLogitsProcessor(
            list(self.vocabularies.values()), max_blocks=1, prompt_length=length, max_length=length + LONGEST_ANSWER
        )
        outputs = self.model.generate(
            **inputs,
            max_new_tokens=LONGEST_ANSWER - given,
            do_sample=False,
            logits_processor=[rule] if constrained else [],
            output_logits=True,
            return_dict_in_generate=True,
        )
        return outputs.sequences[:, length:], F.pad(torch.stack(outputs.logits, dim=1), (0, 0, given, 0))

    @torch.no_grad()
    def answer(
        self, codec: Codec, questions: Sequence[Question], constrained: bool, box_given: bool = False
    ) -> list[Answer | None]:
        """
        What is answered to questions, read and decoded.

        Args:
            codec: Of the answers, `depth` or `mask`.
            questions: With prompts of as many words each.
            constrained: To one whole block.
            box_given: The answers begin with the true locations.

        Returns:
            To every question an answer, or `None` where the model wrote anything but one whole block.
        """
        vocabulary = self.vocabularies[codec]
        beginnings = None
        if box_given:
            boxes = [codec.true_block(question).locations for question in questions]
            beginnings = torch.tensor(vocabulary.locations)[torch.tensor(boxes)]
        sequences, logits = self.write(questions, constrained, beginnings)
        found = [whole_block(tokens, vocabulary) for tokens in sequences]
        valid = [number for number, block in enumerate(found) if block is not None]
        answers: list[Answer | None] = [None] * len(questions)
        if valid:
            blocks = [found[number] for number in valid]
            soft = soft_decode(logits[valid], vocabulary, codec.tokenizer, sequences=sequences[valid])
            images = codec.decode(blocks), codec.images(soft.sample, blocks), soft.uncertainty.numpy()
            for number, *parts in zip(valid, blocks, *images, strict=True):
                answers[number] = Answer(*parts)
        return answers


def whole_block(tokens: torch.LongTensor, vocabulary: TokenVocabulary) -> TokenBlock | None:
    """The block of an answer that has just one, exactly as the format says."""
    blocks = vocabulary.parse(tokens, strict=False)
    whole = [block for block in blocks if block.ids is not None and not block.repairs and block.damage is None]
    return whole[0] if len(whole) == len(blocks) == 1 else None


def build_processor() -> LlavaProcessor:
    """The library's processor of LLaVA and FastVLM around a text tokenizer of a few words."""
    backend = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    special = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "unk")}
    text_tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens={"image_token": "<image>"},
        model_input_names=["input_ids", "attention_mask"],
        **special,
    )
    image_processor = SiglipImageProcessor(size={"height": SIZE[0], "width": SIZE[1]})
    return LlavaProcessor(image_processor, text_tokenizer, PATCH_SIZE, vision_feature_select_strategy="full")


def build_model() -> FastVlmForConditionalGeneration:
    """Three layers above a small ResNet, which learns from nothing in a fraction of the images that a transformer needs."""
    ids = {f"{name}_token_id": WORDS.index(f"<{name}>") for name in ("pad", "eos")}
    text = {
        "model_type": "qwen2",
        "vocab_size": len(WORDS),
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": WIDTH**-0.5,
        **ids,
    }
    vision = {
        "model_type": "resnet",
        "embedding_size": WIDTH // 8,
        "hidden_sizes": [WIDTH // 4, WIDTH // 2, WIDTH],
        "depths": [2, 2, 2],
        "layer_type": "basic",
        "hidden_size": WIDTH,
    }
    config = FastVlmConfig(
        text_config=text, vision_config=vision, image_token_index=WORDS.index("<image>"), tie_word_embeddings=True
    )
    return FastVlmForConditionalGeneration(config)
