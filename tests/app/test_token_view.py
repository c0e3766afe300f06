# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Codes stand where they should, are those that the model wrote, and another one changes what it should."""

import numpy as np
import pytest
import torch
from models_of_kinds import save_model
from saved_model import picture
from transformers import set_seed

from ait_hf.app.seeing import Seer
from ait_hf.app.token_view import CodeBlock, TokenView, has_places
from ait_hf.tasks.depth.drawing import colorize_depth
from ait_hf.tasks.objects.prediction import predict_objects


IMAGE = picture(72, 120, 4)


@pytest.fixture(scope="module")
def view_of(tmp_path_factory):
    def load(name: str) -> TokenView:
        seer = Seer(save_model(name, tmp_path_factory.mktemp("model") / "tiny"))
        (task,) = seer.kinds
        return TokenView(seer.model, seer.processors[task], task)

    views = {}
    return lambda name: views.setdefault(name, None) or views.update({name: load(name)}) or views[name]


def generated(view: TokenView):
    set_seed(0)
    return view.model.generate(**view.processor(IMAGE, return_tensors="pt"), task=view.task)


def blocks_of(view: TokenView, **settings) -> list[CodeBlock]:
    set_seed(0)
    return view.read(IMAGE, **settings)


def test_a_map_is_one_block_over_all_of_the_picture(view_of):
    view = view_of("depth")
    (block,), outputs = blocks_of(view), generated(view)
    assert block.box == (0, 0, 120, 72)
    first = view.model.grammar("depth").code_range.start
    np.testing.assert_array_equal(block.ids.ravel(), outputs.sequences[0, 1:].numpy() - first)
    decoded = view.tokenizer.detokenize(probabilities=block.probabilities[None])[0, 0].clamp(min=1e-3)
    torch.testing.assert_close(decoded, outputs.predicted_depth[0], atol=1e-5, rtol=1e-5)
    logs = block.probabilities.clamp_min(1e-30).log()
    entropy = -(block.probabilities * logs).sum(-1) / np.log(block.probabilities.shape[-1])
    np.testing.assert_allclose(view.entropy(block), entropy, atol=1e-5)


def test_a_padded_map_reaches_beyond_the_picture(view_of):
    (block,) = blocks_of(view_of("label maps"))  # a square frame, whose lower part is padding
    assert block.box == pytest.approx((0, 0, 120, 72 * 96 / 58))  # 72 rows become 58 of the frame's 96
    assert block.cell_at(0, 71) == (71 * block.ids.shape[0] // 120, 0)


def test_objects_have_a_block_each_in_their_boxes(view_of):
    view = view_of("instances")
    blocks = blocks_of(view, threshold=0.2)
    set_seed(0)
    (found,) = predict_objects(view.model, view.processor, [IMAGE], task=view.task, threshold=0.2)
    order = found["scores"].argsort(descending=True, stable=True)
    assert [block.box for block in blocks] == [tuple(found["boxes"][number].tolist()) for number in order]
    names = [view.model.config.id2label[int(found["labels"][number])] for number in order]
    assert [block.name.split()[0] for block in blocks] == names
    assert blocks_of(view, threshold=1.0) == []


@pytest.mark.parametrize("box", [(0, 0, 120, 72), (30.5, -10.0, 90.25, 40.0)])
def test_a_place_of_the_picture_is_that_of_its_cell(box):
    block = CodeBlock("any", box, torch.zeros(3, 5, 2))
    left, top, right, bottom = box
    for row in range(3):
        for column in range(5):
            x, y = left + (column + 0.5) * (right - left) / 5, top + (row + 0.5) * (bottom - top) / 3
            assert block.cell_at(x, y) == (row, column)
    assert block.cell_at(left - 1, top + 1) is None and block.cell_at(right + 1, bottom - 1) is None


def test_neighbors_are_the_nearest_codes(view_of):
    view = view_of("depth")
    codes = view.tokenizer.quantizer.embedding.weight.double().numpy()
    distances = np.linalg.norm(codes[:, None] - codes[None], axis=-1)
    mean = distances[~np.eye(len(codes), dtype=bool)].mean()
    for code in range(len(codes)):
        found = view.neighbors(code)
        expected = np.delete(distances[code], code)
        assert code not in [other for other, _ in found]
        np.testing.assert_allclose([d for _, d in found], np.sort(expected)[: len(found)] / mean, rtol=1e-9)
        np.testing.assert_allclose([distances[code, other] / mean for other, _ in found], [d for _, d in found])


def test_another_code_changes_the_map_as_decoding_it_does(view_of):
    view = view_of("depth")
    (block,) = blocks_of(view)
    cell, code = (1, 2), int(view.neighbors(int(block.ids[1, 2]))[0][0])
    change = view.change(block, cell, code)
    probabilities = block.probabilities.clone()
    probabilities[cell] = torch.nn.functional.one_hot(torch.tensor(code), view.num_codes).float()
    before, after = (
        view.tokenizer.detokenize(probabilities=p[None])[0, 0].numpy() for p in (block.probabilities, probabilities)
    )
    known = np.stack([before, after])
    limits = known.min(), known.max()
    np.testing.assert_array_equal(change.before, colorize_depth(before, *limits))
    np.testing.assert_array_equal(change.after, colorize_depth(after, *limits))
    assert f"{np.abs(after - before).max():.3g} at most" in change.summary and f"Code {code} alone" in change.summary
    hard = block.replaced(cell, code)
    same = view.change(hard, cell, code)
    np.testing.assert_array_equal(same.before, same.after)
    assert (same.difference == same.difference[0, 0]).all()
    with pytest.raises(ValueError, match=f"0 to {view.num_codes - 1}, but {view.num_codes} was asked for"):
        view.change(block, cell, view.num_codes)


@pytest.mark.parametrize("name", ["depth", "normals", "heat", "instances", "class masks", "label maps"])
def test_every_map_has_patches_and_changes(view_of, name):
    view = view_of(name)
    block = blocks_of(view)[0]
    ratio = view.config["downsample_ratio"]
    pictures = view.patches(range(view.num_codes))
    assert {patch.shape for patch in pictures} == {(ratio, ratio, 3)} and {p.dtype for p in pictures} == {
        np.dtype("uint8")
    }
    (old, share), *_ = view.likeliest(block, (0, 0))
    assert old == block.ids[0, 0] and share == pytest.approx(block.probabilities[0, 0].max())
    change = view.change(block, (0, 0), (old + 1) % view.num_codes)
    assert change.before.shape == change.after.shape == change.difference.shape and change.summary.endswith(".")


def test_what_writes_no_codes_of_places_is_left_out(tmp_path):
    for name, expected in {"depth": True, "detection": False, "poses": False}.items():
        seer = Seer(save_model(name, tmp_path / name))
        assert [has_places(seer.model, task) for task in seer.kinds] == [expected]
