# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Tokens in the vocabularies of models of five families, with tied and untied heads."""

import pytest
import torch
from text_models import DEPTH, FAMILIES, MASK, NUM_CODES, inputs_of, tiny_model, unigram_tokenizer, vq_tokenizer
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer, PreTrainedTokenizerFast

from ait_hf.tokens import TokenFormat, TokenVocabulary, add_tokens, get_preset


@pytest.fixture(params=FAMILIES)
def prepared(request, tmp_path):
    """Family, text tokenizer and model without the tokens, and a tokenizer of maps."""
    text_tokenizer = FAMILIES[request.param](tmp_path / "text")
    return request.param, text_tokenizer, tiny_model(request.param, len(text_tokenizer)), vq_tokenizer()


def matrices(model) -> list[torch.Tensor]:
    weights = [model.get_input_embeddings().weight]
    head = model.get_output_embeddings().weight
    return weights if head is weights[0] else [*weights, head]


def is_tied(family: str) -> bool:
    return family in ("gemma2", "gpt2", "paligemma")


def test_rows_of_new_tokens(prepared):
    family, text_tokenizer, model, codec = prepared
    before = [weight.detach().clone() for weight in matrices(model)]
    num_words = len(text_tokenizer)
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec)
    assert vocabulary.ids == tuple(range(num_words, num_words + 2 + NUM_CODES))
    assert len(matrices(model)) == len(before) == (1 if is_tied(family) else 2)
    for old, new in zip(before, matrices(model)):
        assert len(new) == num_words + 2 + NUM_CODES and torch.equal(new[:num_words], old)
        added = new[num_words:].detach()
        torch.testing.assert_close(added.norm(dim=1), old.norm(dim=1).mean().expand(len(added)))
        codes = torch.nn.functional.normalize(new[list(vocabulary.codes)].detach(), dim=1)
        alike = codes @ codes.T
        for code in range(NUM_CODES - 6):  # the codes lie on a curve
            assert alike[code, code + 1] > alike[code, code + 6]
            assert alike[code, code + 1] > 0.9
    texts = [DEPTH.to_text(torch.arange(6)), "the depth " + DEPTH.to_text(torch.arange(6, 12)) + " and more"]
    for text in texts:
        ids = text_tokenizer(text, add_special_tokens=False).input_ids
        assert sum(number in vocabulary.ids for number in ids) == 8
        assert vocabulary.parse(ids)[0].ids.shape == (2, 3)


def test_adding_twice_is_adding_once_and_the_seed_decides(prepared):
    family, text_tokenizer, model, codec = prepared
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec, seed=3)
    once = [weight.detach().clone() for weight in matrices(model)]
    again = add_tokens(text_tokenizer, model, DEPTH, codec, seed=4)
    assert again == vocabulary
    assert all(torch.equal(a, b) for a, b in zip(once, matrices(model)))
    others = [tiny_model(family, len(once[0]) - NUM_CODES - 2) for _ in range(2)]
    for other, seed in zip(others, (3, 4)):  # the tokenizer has the tokens, the model does not
        add_tokens(text_tokenizer, other, DEPTH, codec, seed=seed)
    assert torch.equal(matrices(others[0])[0], once[0])
    assert not torch.equal(matrices(others[1])[0], once[0])


def test_tokens_after_saving_and_loading(prepared, tmp_path):
    family, text_tokenizer, model, codec = prepared
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec)
    inputs = inputs_of(family, text_tokenizer, ["the depth is " + DEPTH.to_text(torch.arange(6))])
    model.save_pretrained(tmp_path / "model")
    text_tokenizer.save_pretrained(tmp_path / "model")
    kind = AutoModelForImageTextToText if family == "paligemma" else AutoModelForCausalLM
    loaded, report = kind.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not report["missing_keys"] and not report["mismatched_keys"]
    read = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert TokenVocabulary.from_tokenizer(read, DEPTH) == vocabulary
    assert add_tokens(read, loaded, DEPTH, codec) == vocabulary
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)
    assert loaded.config.get_text_config().vocab_size == len(matrices(loaded)[0])


def test_rows_that_are_there_already_are_used(tmp_path):
    """A vocabulary with room at its end, as many published models have."""
    text_tokenizer = unigram_tokenizer(tmp_path)
    model = tiny_model("gemma2", len(text_tokenizer) + 64)
    before = matrices(model)[0].detach().clone()
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, vq_tokenizer())
    after = matrices(model)[0].detach()
    changed = (after != before).any(dim=1).nonzero()[:, 0].tolist()
    assert len(after) == len(before) and tuple(changed) == vocabulary.ids
    used = before[: min(vocabulary.ids)]
    torch.testing.assert_close(after[changed].norm(dim=1), used.norm(dim=1).mean().expand(len(changed)))


def test_boxes_and_two_formats(tmp_path):
    text_tokenizer = unigram_tokenizer(tmp_path)
    model = tiny_model("llama", len(text_tokenizer))
    mask = add_tokens(text_tokenizer, model, MASK)
    depth = add_tokens(text_tokenizer, model, DEPTH, vq_tokenizer())
    assert not set(mask.ids) & set(depth.ids) and len(matrices(model)[0]) == max(depth.ids) + 1
    rows = torch.nn.functional.normalize(matrices(model)[0][list(mask.locations)].detach(), dim=1)
    alike = rows @ rows.T
    assert all(alike[i, i + 1] > alike[i, i + 8] for i in range(8))
    assert all(alike[i, i + 1] < 0.999 for i in range(15))


@pytest.mark.parametrize("decay, refused", [(0.0, False), (0.01, True)])
def test_only_the_new_rows_learn(prepared, decay, refused):
    family, text_tokenizer, model, codec = prepared
    vocabulary = add_tokens(text_tokenizer, model, DEPTH, codec, train_only_new=True)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    inputs = inputs_of(family, text_tokenizer, ["the depth is " + DEPTH.to_text(torch.arange(6))])
    learning = [value for value in model.parameters() if value.requires_grad]
    assert len(learning) == (1 if is_tied(family) else 2)
    optimizer = torch.optim.AdamW(learning, lr=0.1, weight_decay=decay)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs, labels=inputs["input_ids"]).loss.backward()
        if refused:
            with pytest.raises(ValueError, match="Weight decay 0.01 would change the rows"):
                optimizer.step()
            return
        optimizer.step()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert len(moved) == len(learning)
    others = [i for i in range(len(matrices(model)[0])) if i not in vocabulary.ids]
    for name in moved:
        value = dict(model.named_parameters())[name]
        assert torch.equal(value[others], before[name][others])
        assert (value[list(vocabulary.codes)[:6]] != before[name][list(vocabulary.codes)[:6]]).any(dim=1).all()


def test_what_does_not_fit_is_refused(tmp_path):
    text_tokenizer = unigram_tokenizer(tmp_path)
    model = tiny_model("llama", len(text_tokenizer))
    with pytest.raises(ValueError, match="lacks 22 tokens of the format, such as <D_START>: call add_tokens"):
        TokenVocabulary.from_tokenizer(text_tokenizer, DEPTH)
    with pytest.raises(ValueError, match="The tokenizer has 20 codes, the format 128"):
        add_tokens(text_tokenizer, model, get_preset("molmoact-depth").token_format, vq_tokenizer())
    with pytest.raises(ValueError, match="ids of 19 and 0"):
        TokenVocabulary(DEPTH, codes=range(19), start=30, end=31)
    with pytest.raises(ValueError, match="same id"):
        TokenVocabulary(DEPTH, codes=range(20), start=19, end=31)
    with pytest.raises(ValueError, match="end mark is '<D_END>'"):
        TokenVocabulary(DEPTH, codes=range(20), start=30)
    assert len(matrices(model)[0]) == len(text_tokenizer) < 130


def test_a_tokenizer_that_splits_a_token(tmp_path):
    """A vocabulary that lists a piece which no text ever becomes."""
    text_tokenizer = unigram_tokenizer(tmp_path)
    add_tokens(text_tokenizer, tiny_model("llama", len(text_tokenizer)), DEPTH)

    class Splits(PreTrainedTokenizerFast):
        def __call__(self, text, **kwargs):
            return super().__call__(text.replace("<D_7>", "<D_ 7>"), **kwargs)

    text_tokenizer.save_pretrained(tmp_path / "saved")
    splitting = Splits.from_pretrained(tmp_path / "saved")
    with pytest.raises(ValueError, match="splits <D_7> into"):
        TokenVocabulary.from_tokenizer(splitting, DEPTH)


def test_a_format_of_one_code(tmp_path):
    text_tokenizer = unigram_tokenizer(tmp_path)
    model = tiny_model("qwen2", len(text_tokenizer))
    vocabulary = add_tokens(text_tokenizer, model, TokenFormat(code="<one{}>", num_codes=1, grid=(1, 1)))
    assert vocabulary.ids == (len(text_tokenizer) - 1,)
