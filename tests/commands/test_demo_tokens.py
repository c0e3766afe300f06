# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""`ait demo tokens`: a language model learns to answer in tokens, and its answers are scored."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, set_seed

from ait_hf import VQTokenizer
from ait_hf.commands import demo_tokens
from ait_hf.commands.demo_tokens import (
    SIZE,
    DepthCodec,
    MaskCodec,
    Question,
    RoomLessons,
    RoomModel,
    visible_classes,
    whole_block,
)
from ait_hf.data.rooms.depth import mean_depth, render_room
from ait_hf.tokens import parse_text
from ait_hf_cli import main


@pytest.fixture(scope="module")
def codecs():
    """Of untrained tokenizers."""
    torch.manual_seed(0)
    small = {"base_channels": 4, "num_res_blocks": 1, "vq_embed_dim": 8}
    depth = VQTokenizer(downsample_ratio=16, sample_size=64, **small)
    mask = VQTokenizer(downsample_ratio=8, sample_size=32, value_range=(0, 1), unit="mask", loss_type="mse", **small)
    for tokenizer in (depth, mask):
        tokenizer.quantizer.embedding.weight.data.normal_()
    return DepthCodec(depth), MaskCodec(mask)


def test_lessons_say_what_the_room_shows(codecs):
    depth, mask = codecs
    lessons = RoomLessons(3, 5, depth, mask)
    assert len(lessons) == 5
    for number in range(5):
        room = render_room((0, 3, number), SIZE)
        first, *others = lessons[number]
        assert first.prompt == "depth" and (first.truth == room["depth"]).all()
        (block,) = parse_text(first.answer, depth.token_format)
        assert (block.ids == depth.tokenizer.tokenize(torch.tensor(room["depth"])[None])[0]).all()
        assert [asked.prompt for asked in others] == [f"segment {name}" for name in visible_classes(room)]
        for asked in others:
            (block,) = parse_text(asked.answer, mask.token_format)
            rows, columns = asked.truth.any(1).nonzero()[0], asked.truth.any(0).nonzero()[0]
            edges = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]) / 64
            assert np.abs(np.array(block.locations) / 1023 - edges).max() < 1e-3
            assert asked.prompt == f"segment {block.label}"
            (box,) = mask.boxes([block])
            assert box.sum() == (rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0])
            assert (box & asked.truth).sum() == asked.truth.sum()


def test_the_mean_of_rooms_leaves_out_what_is_unknown():
    depths = np.stack([render_room((0, 0, number), SIZE)["depth"] for number in range(3)]).astype(float)
    depths[depths == 0] = np.nan
    expected = np.nan_to_num(np.nanmean(depths, axis=0))
    np.testing.assert_allclose(mean_depth(SIZE, 3), expected)


def test_answers_begin_with_the_box_and_are_whole_blocks(codecs):
    """Of an untrained model, too, whose free answers are no blocks."""
    torch.manual_seed(0)
    model = RoomModel(*codecs)
    model.model.eval()
    mask = model.mask
    room = render_room((2, 0, 0), SIZE)
    questions = [mask.question(room, 0, name) for name in visible_classes(room)]
    given = model.answer(mask, questions, constrained=True, box_given=True)
    for asked, answer in zip(questions, given, strict=True):
        assert answer.block.locations == mask.true_block(asked).locations
        (box,) = mask.boxes([answer.block])
        assert answer.hard.shape == SIZE and not (answer.hard & ~box).any() and not (answer.soft & ~box).any()
    assert model.answer(mask, questions, constrained=False) == [None] * len(questions)
    vocabulary = model.vocabularies[mask]
    codes = [*vocabulary.locations[:2], *vocabulary.locations[8:10], *vocabulary.codes[:16]]
    assert whole_block(torch.tensor(codes), vocabulary).ids.flatten().tolist() == list(range(16))
    for wrong in (codes[:-1], codes + codes, [*codes[2:4], *codes[:2], *codes[4:]], codes[:4], []):
        assert whole_block(torch.tensor(wrong, dtype=torch.long), vocabulary) is None


def test_scores_are_those_of_the_definition():
    truth = np.zeros((2, 2, 2))
    truth[0] = [[1, 2], [0, 4]]
    depth = [Question(0, None, "depth", "", truth[0]), Question(1, None, "depth", "", np.ones((2, 2)))]
    masks = [Question(0, None, "segment box", "", np.array([[True, True], [False, False]]))]
    exam = demo_tokens.Exam(depth, masks, np.ones((2, 2)))
    assert exam.rmse([exam.mean, 3 * np.ones((2, 2))]) == pytest.approx((np.sqrt(10 / 3) + 2) / 2)
    assert exam.iou([np.array([[True, False], [True, False]])]) == pytest.approx(1 / 3)


def test_a_short_run_leaves_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo_tokens, "NUM_TEST_ROOMS", 2)
    monkeypatch.setattr(demo_tokens, "NUM_ROOMS_FOR_THE_MEAN", 2)
    monkeypatch.setattr(demo_tokens, "ROOMS_PER_STEP", 2)
    main(["demo", "tokens", "--steps", "1", "--tokenizer-steps", "1", "--output", str(tmp_path)])
    printed, report = capsys.readouterr().out, json.loads((tmp_path / "metrics.json").read_text())
    ways = [f"{rule}, {mode}" for rule in ("unconstrained", "constrained") for mode in ("hard", "soft")]
    assert [row["name"] for row in report["rows"]][2:] == ways and all(way in printed for way in ways)
    assert all((tmp_path / name).exists() for name in demo_tokens.WRITTEN)
    processor = AutoProcessor.from_pretrained(tmp_path / "model")
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert model.get_input_embeddings().weight.shape[0] == len(processor.tokenizer)


def test_the_same_seed_learns_the_same(codecs, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_tokens, "ROOMS_PER_STEP", 2)
    trained = []
    for _ in range(2):
        set_seed(4)
        model = RoomModel(*codecs)
        log = model.train(tmp_path, steps=2, seed=4)
        assert log[-1]["step"] == 2
        trained.append(model.model.state_dict())
    for name, weights in trained[0].items():
        assert torch.equal(weights, trained[1][name]), name


def test_what_is_given_wrongly_is_said_in_a_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    for arguments, message in (
        (["--steps", "0"], "0 is not positive"),
        (["--seed", "-1"], "-1 is not in 0.."),
        (["train.max_steps=3"], "unrecognized arguments: train.max_steps=3"),
        (["--output", str(tmp_path / "file")], "file"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(["demo", "tokens", *arguments])
        error = capsys.readouterr().err
        assert message in error and error.strip().splitlines()[-1].startswith("ait demo")


@pytest.mark.slow
def test_what_it_learns(tmp_path):
    main(["demo", "tokens", "--output", str(tmp_path)])
    rows = {row["name"]: row for row in json.loads((tmp_path / "metrics.json").read_text())["rows"]}
    mean, soft = rows[demo_tokens.MEAN], rows["constrained, soft"]
    assert soft["depth_valid"] == soft["mask_valid"] == 1
    assert soft["depth_rmse"] < 0.8 * mean["depth_rmse"]
    assert soft["depth_rmse"] < rows["constrained, hard"]["depth_rmse"]
    assert soft["mask_iou"] > soft["box_iou"] and soft["given_mask_iou"] > soft["given_box_iou"]
