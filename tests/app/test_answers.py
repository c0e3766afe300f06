# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Answers become what they say, and what is missing or wrong is said in a sentence."""

import numpy as np
import pytest
import torch
from PIL import Image
from published_tokenizers import made_up_weights
from safetensors.torch import save_file
from saved_model import picture

from ait_hf import VQTokenizer
from ait_hf.app.answers import CANVAS, AnswerReader, load_answer_tokenizer
from ait_hf.tasks.depth.drawing import colorize_depth
from ait_hf.tasks.objects.drawing import draw_objects
from ait_hf.tokens import TokenFormat, decode_answers, get_preset


SEGMENT = "<loc0100><loc0200><loc0700><loc0800>" + "".join(f"<seg{n:03d}>" for n in range(0, 64, 4)) + " cat"
DETECT = "<loc0300><loc0600><loc0900><loc1000> dog"
DEPTH = TokenFormat(code="<depth{:03d}>", num_codes=16, grid=(4, 4), start="<depth_start>", end="<depth_end>")


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "vae-oid.safetensors"
    save_file(made_up_weights("paligemma-mask"), file)
    return load_answer_tokenizer(f"paligemma-mask={file}")


@pytest.fixture(scope="module")
def depth_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers") / "my-depth"
    torch.manual_seed(0)
    tokenizer = VQTokenizer(downsample_ratio=8, base_channels=4, num_vq_embeddings=16, vq_embed_dim=8, sample_size=32)
    with torch.no_grad():
        tokenizer.quantizer.embedding.weight.normal_()
        tokenizer.decoder.conv_out.bias.fill_(3)
    tokenizer.save_pretrained(folder)
    DEPTH.save_pretrained(folder)
    return folder


def test_masks_and_boxes_are_drawn_over_the_photograph(masks, tmp_path):
    photo = picture(90, 120, 1)
    photo.save(tmp_path / "photo.png")
    answer = AnswerReader([masks]).read(f"Here: {SEGMENT} ; {DETECT}", photograph=tmp_path / "photo.png")
    ((cat, dog),) = decode_answers([f"{SEGMENT} ; {DETECT}"], [(90, 120)], masks.tokenizer)
    both = [cat["mask"].numpy(), np.zeros((90, 120), bool)]
    drawn = draw_objects(np.asarray(photo), [cat["box"], dog["box"]], [0, 1], masks=both, class_names=["cat", "dog"])
    np.testing.assert_array_equal(answer.picture, np.asarray(drawn))
    assert answer.sentences[0].startswith(f"cat: box {', '.join(map(str, cat['box']))}")
    assert str(int(cat["mask"].sum())) in answer.sentences[0] and "without a mask" in answer.sentences[1]


def test_boxes_need_no_tokenizer_and_no_photograph():
    answer = AnswerReader([]).read(DETECT)
    assert answer.picture.shape == (*CANVAS, 3) and answer.sentences[0].startswith("dog: box 263, 131, 438, 394")


def test_maps_are_those_of_their_codes(depth_folder):
    reader = AnswerReader([load_answer_tokenizer(str(depth_folder))])
    assert list(reader.tokenizers) == ["my-depth"]
    ids = torch.arange(16).view(1, 4, 4)
    answer = reader.read(f"The depth is {DEPTH.to_text(ids)}.")
    with torch.no_grad():
        depth = reader.tokenizers["my-depth"].tokenizer.detokenize(ids=ids)[0, 0].numpy()
    painted = Image.fromarray(colorize_depth(depth)).resize(CANVAS[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(answer.picture, np.asarray(painted))
    assert answer.sentences[0] == "Map 1: a whole block of codes." and "(blue)" in answer.sentences[1]


TEXTS = {
    "no tokens here": "The text has no tokens of a known format",
    SEGMENT: "The text has codes of paligemma-mask, but .* --tokenizer paligemma-mask=FILE",
    "<DEPTH_START><DEPTH_5><DEPTH_END>": "codes of molmoact-depth or aurora-depth, .* --tokenizer molmoact-depth=FILE",
    "<depth_start><depth_5><depth_end>": "codes of molmoact2-depth, .* --tokenizer molmoact2-depth=FILE",
}


@pytest.mark.parametrize("text", TEXTS, ids=["none", "masks", "depth", "depth 2"])
def test_what_is_missing_is_said(text):
    with pytest.raises(ValueError, match=TEXTS[text]):
        AnswerReader([]).read(text)


def test_damage_is_said(masks, depth_folder):
    reader = AnswerReader([masks, load_answer_tokenizer(str(depth_folder))])
    (sentence,) = reader.read(SEGMENT.replace("<seg004>", "")).sentences
    assert sentence == "cat: 15 codes instead of 16."
    with pytest.raises(ValueError, match="Map 1: 1 codes instead of 16"):
        reader.read("<depth_start><depth001><depth_end>")
    with pytest.raises(ValueError, match="no tokens as my-depth writes them"):
        reader.read(SEGMENT, name="my-depth")


def test_tokenizers_that_are_none_are_refused(depth_folder, tmp_path):
    with pytest.raises(ValueError, match="no preset 'paligemma'; there are paligemma-mask"):
        load_answer_tokenizer("paligemma=vae-oid.npz")
    with pytest.raises(FileNotFoundError, match="missing.npz"):
        load_answer_tokenizer(f"paligemma-mask={tmp_path / 'missing.npz'}")
    with pytest.raises(FileNotFoundError, match="has no token_format.json"):
        load_answer_tokenizer(str(tmp_path))
    twice = [load_answer_tokenizer(str(depth_folder))] * 2
    with pytest.raises(ValueError, match="Two tokenizers have one name: my-depth, my-depth"):
        AnswerReader(twice)


def test_a_preset_reads_as_its_format(masks):
    assert masks.token_format == get_preset("paligemma-mask").token_format and masks.finds(DETECT)
