# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers of models of five families, whose blocks are whole however they are generated."""

import pytest
import torch
from text_models import DEPTH, FAMILIES, MASK, inputs_of, tiny_model, unigram_tokenizer, vq_tokenizer

from ait_hf.tokens import TokenFormat, TokenFormatLogitsProcessor, TokenVocabulary, add_tokens, parse_text, soft_decode


SETTINGS = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "top_k": 0, "temperature": 2.0},
    "beams": {"do_sample": False, "num_beams": 3},
}
PROMPTS = ["the depth is <D_START>", "depth of this and <D_START><D_3>"]


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_whole(family, setting, tmp_path):
    text_tokenizer = FAMILIES[family](tmp_path)
    model = tiny_model(family, len(text_tokenizer))
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, vq_tokenizer())
    inputs = inputs_of(family, text_tokenizer, PROMPTS)
    length = inputs["input_ids"].shape[1]
    processor = TokenFormatLogitsProcessor(vocabulary, prompt_length=length, max_length=length + 24)
    torch.manual_seed(0)
    outputs = model.generate(
        **inputs,
        **SETTINGS[setting],
        max_new_tokens=24,
        logits_processor=[processor],
        return_dict_in_generate=True,
        output_logits=True,
    )
    for row, (tokens, begun) in enumerate(zip(outputs.sequences.tolist(), (0, 1))):
        blocks = vocabulary.parse(tokens)  # strict: nothing but whole blocks
        assert torch.equal(blocks[0].ids.flatten()[:begun], torch.tensor([3])[:begun])
        assert tokens[length + 6 - begun] == vocabulary.end, row
        text = text_tokenizer.decode(tokens)
        assert [block.ids.tolist() for block in parse_text(text, DEPTH)] == [block.ids.tolist() for block in blocks]


def test_generated_blocks_decode_softly(tmp_path):
    """The soft map of every block that `generate()` wrote, and which sequence it is of."""
    text_tokenizer = unigram_tokenizer(tmp_path)
    model = tiny_model("llama", len(text_tokenizer))
    codec = vq_tokenizer()
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec)
    inputs = inputs_of("llama", text_tokenizer, ["the depth is", "depth of this"])
    length = inputs["input_ids"].shape[1]
    generated = model.generate(
        **inputs,
        max_new_tokens=40,
        do_sample=True,
        sequence_bias={(vocabulary.start,): 8.0},  # so that blocks are begun
        logits_processor=[TokenFormatLogitsProcessor(vocabulary, prompt_length=length, max_length=length + 40)],
        output_logits=True,
        return_dict_in_generate=True,
    )
    answers = generated.sequences[:, length:]
    blocks = [(row, block) for row, tokens in enumerate(answers) for block in vocabulary.parse(tokens, strict=False)]
    assert len(blocks) > 2
    decoded = soft_decode(generated.logits, vocabulary, codec, sequences=answers)
    assert decoded.batch_indices.tolist() == [row for row, _ in blocks]
    assert decoded.sample.shape == (len(blocks), 1, 8, 12)
    for number, (row, block) in enumerate(blocks):
        first = block.span[0] + 1
        scores = torch.stack([generated.logits[first + step][row] for step in range(6)])[:, list(vocabulary.codes)]
        torch.testing.assert_close(decoded.probabilities[number].flatten(0, 1), scores.softmax(-1))


def test_blocks_of_beams_decode_softly(tmp_path):
    """Scores of the beam that was chosen: the likeliest code by them is no worse than the one that was generated."""
    text_tokenizer = unigram_tokenizer(tmp_path)
    model, codec = tiny_model("qwen2", len(text_tokenizer)), vq_tokenizer()
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec)
    inputs = inputs_of("qwen2", text_tokenizer, ["the depth is <D_START>", "depth of this <D_START>"])
    length = inputs["input_ids"].shape[1]
    settings = {"output_logits": True, "return_dict_in_generate": True, "max_new_tokens": 7}
    processors = [TokenFormatLogitsProcessor(vocabulary)]
    outputs = model.generate(**inputs, **settings, num_beams=3, do_sample=False, logits_processor=processors)
    answers = outputs.sequences[:, length:]
    with torch.no_grad():
        whole = model(
            outputs.sequences, attention_mask=torch.nn.functional.pad(inputs["attention_mask"], (0, 7), value=1)
        )
    blocks = torch.cat([torch.full((2, 1), vocabulary.start), answers], dim=1)
    expected = soft_decode(whole.logits[:, length - 2 : -1], vocabulary, codec, sequences=blocks)
    # The start mark is in the prompt, so its block is found in answers that begin with it.
    padded = [torch.zeros_like(outputs.logits[0]), *outputs.logits]
    beams = torch.cat([outputs.beam_indices[:, :1], outputs.beam_indices], dim=1)
    decoded = soft_decode(padded, vocabulary, codec, sequences=blocks, beam_indices=beams)
    torch.testing.assert_close(decoded.probabilities, expected.probabilities, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="sequences that the beam indices are of"):
        soft_decode(padded, vocabulary, codec, beam_indices=beams)


def allowed(processor: TokenFormatLogitsProcessor, tokens: list[int], size: int = 60) -> set[int]:
    scores = processor(torch.tensor([tokens]), torch.zeros(1, size))
    return set((scores[0] == 0).nonzero()[:, 0].tolist())


WORDS = set(range(10))
ALL = set(range(60))
CODES = set(range(12, 32))
DEPTH_IDS = TokenVocabulary(DEPTH, codes=range(12, 32), start=10, end=11)
OTHER = TokenFormat(code="<o{}>", num_codes=4, grid=(1, 2), start="<O>", end="</O>")
OTHER_IDS = TokenVocabulary(OTHER, codes=range(42, 46), start=40, end=41)
OPEN = [10, 12, 13, 14, 15, 16, 17]


@pytest.mark.parametrize(
    "tokens, expected",
    [
        ([1, 2], ALL - CODES - {11}),
        ([1, 10], CODES),
        ([1, 10, 12, 31], CODES),
        ([1, *OPEN], {11}),
        ([1, *OPEN, 11], ALL - CODES - {11}),
        ([1, *OPEN, 11, 5, 10, 12], CODES),
        ([10, 5, 1], ALL - CODES - {11}),  # a mark in prose opens nothing for ever
        ([10, 12, 5], ALL - CODES - {11}),
        ([10, 10], CODES),  # begun anew
    ],
)
def test_what_may_follow(tokens, expected):
    assert allowed(TokenFormatLogitsProcessor(DEPTH_IDS), tokens) == expected


def test_rows_are_judged_by_themselves():
    processor = TokenFormatLogitsProcessor([DEPTH_IDS, OTHER_IDS])
    rows = [[1, 1, *OPEN], [1, *OPEN, 11], [10, 12, 13, 14, 15, 16, 40, 42, 43], [3] * 8 + [40]]
    length = max(map(len, rows))
    rows = [[3] * (length - len(row)) + row for row in rows]
    together = processor(torch.tensor(rows), torch.zeros(len(rows), 60))
    for row, scores in zip(rows, together):
        assert torch.equal(scores, processor(torch.tensor([row]), torch.zeros(1, 60))[0])
    outside = ALL - CODES - {11, 41, 42, 43, 44, 45}
    found = [set((scores == 0).nonzero()[:, 0].tolist()) for scores in together]
    assert found == [{11}, outside, {41}, {42, 43, 44, 45}]


def test_a_limited_number_of_blocks():
    processor = TokenFormatLogitsProcessor([DEPTH_IDS, OTHER_IDS], max_blocks=2, prompt_length=8)
    prompt = [*OPEN, 11]  # of which blocks do not count
    one = [*prompt, 40, 42, 42, 41]
    assert {10, 40} <= allowed(processor, prompt) and {10, 40} <= allowed(processor, one)
    assert not {10, 40} & allowed(processor, [*one, 40, 42, 42, 41])
    assert not {10, 40} & allowed(processor, [*one, *OPEN, 11, 5])
    assert allowed(TokenFormatLogitsProcessor(DEPTH_IDS, max_blocks=0), [1]) == ALL - CODES - {10, 11}


def test_no_block_is_begun_that_would_be_cut_off():
    processor = TokenFormatLogitsProcessor([DEPTH_IDS, OTHER_IDS], max_length=12)
    assert {10, 40} <= allowed(processor, [1] * 4)
    assert {10, 40} & allowed(processor, [1] * 5) == {40}
    assert not {10, 40} & allowed(processor, [1] * 9)


def test_boxes_and_masks():
    mask = TokenVocabulary(MASK, codes=range(20, 40), locations=range(4, 20))
    places, codes = set(range(4, 20)), set(range(20, 40))
    strict, free = TokenFormatLogitsProcessor(mask), TokenFormatLogitsProcessor(mask, codes_required=False)
    for processor in (strict, free):
        assert allowed(processor, [1]) == ALL - codes
        assert allowed(processor, [1, 4, 5, 6]) == places
        assert allowed(processor, [1, 4, 5, 6, 7, 20, 21, 22]) == codes
        assert allowed(processor, [1, 4, 5, 6, 7, 20, 21, 22, 23]) == ALL - codes
    assert allowed(strict, [1, 4, 5, 6, 7]) == codes
    assert allowed(free, [1, 4, 5, 6, 7]) == ALL
    assert allowed(free, [1, 4, 5, 6, 7, 2]) == ALL - codes
    assert allowed(free, [1, 4, 5, 6, 7, 8]) == places


@pytest.mark.parametrize(
    "token_format",
    [
        DEPTH,
        OTHER,
        TokenFormat(code="<c{}>", num_codes=4, grid=(2, 2)),
        TokenFormat(code="<c{}>", num_codes=4, grid=(2, 2), start="<c>"),
        TokenFormat(
            code="<c{}>", num_codes=4, grid=(2, 2), start="<c>", end="</c>", location="<l{}>", num_locations=8
        ),
    ],
    ids=lambda form: f"{form.start}{form.code}{form.end}",
)
def test_answers_by_chance_are_whole(token_format):
    """A model without any sense writes nothing but whole blocks, whatever the format."""
    first = 10
    vocabulary = TokenVocabulary(
        token_format,
        codes=range(first, first + token_format.num_codes),
        locations=range(40, 40 + token_format.num_locations) if token_format.location else (),
        start=None if token_format.start is None else 50,
        end=None if token_format.end is None else 51,
    )
    processor = TokenFormatLogitsProcessor(vocabulary, max_length=80)
    draws, tokens = torch.Generator().manual_seed(0), torch.zeros(8, 1, dtype=torch.long)
    for _ in range(79):
        scores = processor(tokens, torch.randn(8, 60, generator=draws))
        tokens = torch.cat([tokens, scores.softmax(-1).multinomial(1, generator=draws)], dim=1)
    found = 0
    for row in tokens:
        blocks = vocabulary.parse(row, strict=False)
        assert all(block.damage is None or "the box is empty" in block.damage for block in blocks)
        assert not any(block.repairs for block in blocks)
        found += len(blocks)
    assert found > 8


def test_what_is_refused():
    with pytest.raises(ValueError, match="share tokens, such as <D_START>"):
        TokenFormatLogitsProcessor([DEPTH_IDS, DEPTH_IDS])
    with pytest.raises(ValueError, match="share the token id 42"):
        TokenFormatLogitsProcessor([OTHER_IDS, TokenVocabulary(DEPTH, codes=range(42, 62), start=10, end=11)])
    with pytest.raises(ValueError, match="at least one"):
        TokenFormatLogitsProcessor([])
    with pytest.raises(ValueError, match="max_blocks"):
        TokenFormatLogitsProcessor(DEPTH_IDS, max_blocks=-1)
    with pytest.raises(ValueError, match="token id 31, but the scores are of 20 tokens"):
        TokenFormatLogitsProcessor(DEPTH_IDS)(torch.tensor([[1]]), torch.zeros(1, 20))
