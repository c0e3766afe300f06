# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Pictures of what a tokenizer in training rebuilds."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizer_recipes import recipe
from training_runs import assert_equal_weights, tokenizer_recipe, without_measurements

from ait_hf.tasks.depth.drawing import colorize_depth
from ait_hf.tasks.kinds import Depth, Maps, Objects, Poses, Semantics
from ait_hf.tasks.objects.drawing import INSIDE
from ait_hf.training.tokenizer import CELL, InputMask, TokenizerTraining, draw_reconstructions, train_tokenizer


def cell(page: Image.Image, row: int, column: int) -> np.ndarray:
    """A picture of a page, uint8 (CELL, CELL, 3)."""
    left, top = 10 + column * (CELL + 8), 26 + row * (CELL + 8)
    return np.asarray(page)[top : top + CELL, left : left + CELL]


class Unchanged(torch.nn.Module):
    """A tokenizer of `num_classes` classes, or of maps, that rebuilds what it is given."""

    device = "cpu"

    def __init__(self, num_classes: int | None = None):
        super().__init__()
        self.num_classes = num_classes

    def tokenize(self, samples: torch.Tensor) -> torch.Tensor:
        return samples

    def detokenize(self, ids: torch.Tensor) -> torch.Tensor:
        if self.num_classes is not None:
            return torch.nn.functional.one_hot(ids % self.num_classes, self.num_classes).movedim(-1, 1)
        return ids[:, None] if ids.ndim == 3 else ids


def test_depth(tmp_path):
    """Known pixels have colours of one scale, and half of the patches are black."""
    data = tokenizer_recipe(tmp_path).data
    samples = torch.rand(3, 32, 32) + torch.tensor([0.5, 1.5, 2.5]).view(3, 1, 1)
    samples[:, :4, :4] = 0
    page = draw_reconstructions(data, Unchanged(), samples, InputMask(Depth, 0.5, 8))
    assert page.size == (20 + 4 * CELL + 3 * 8, 26 + 3 * (CELL + 8) + 10)
    known = samples[samples > 0]
    for row, depth in enumerate(samples.numpy()):
        expected = colorize_depth(depth, known.min().item(), known.max().item()).repeat(8, 0).repeat(8, 1)
        np.testing.assert_array_equal(cell(page, row, 0), expected)
        np.testing.assert_array_equal(cell(page, row, 1), expected)
        hidden = cell(page, row, 2)
        is_black = (hidden == 0).all(2).reshape(4, 64, 4, 64).all((1, 3))
        assert is_black.sum() == 8
        seen = ~is_black.repeat(64, 0).repeat(64, 1)
        np.testing.assert_array_equal(hidden[seen], expected[seen])
        np.testing.assert_array_equal(cell(page, row, 3), hidden)
    again = draw_reconstructions(data, Unchanged(), samples, InputMask(Depth, 0.5, 8))
    np.testing.assert_array_equal(np.asarray(again), np.asarray(page))  # the same parts every time


def test_masks(tmp_path):
    samples = torch.zeros(1, 16, 16)
    samples[0, :, 8:] = 1
    page = draw_reconstructions(recipe("class_mask", tmp_path).data, Unchanged(), samples, InputMask(Objects, 0.0, 8))
    assert page.size == (20 + 2 * CELL + 8, 26 + CELL + 8 + 10)  # nothing is hidden: no more columns
    for column in range(2):
        assert (cell(page, 0, column)[:, :128] == 0).all() and (cell(page, 0, column)[:, 128:] == INSIDE).all()


def test_label_maps_have_a_legend(tmp_path):
    data = recipe("label_map", tmp_path).data
    samples = torch.zeros(1, 32, 32, dtype=torch.long)
    samples[0, :16] = 2
    samples[0, :2] = 255
    page = draw_reconstructions(data, Unchanged(data.num_classes), samples, InputMask(Semantics, 0.0, 8))
    truth = cell(page, 0, 0)
    assert (truth[:16] == 0).all()
    colors = [tuple(truth[row, 0].tolist()) for row in (20, 200)]
    below = np.asarray(page)[26 + CELL + 18 :]
    assert len(set(colors)) == 2 and all((below == color).all(2).sum() >= 100 for color in colors)
    np.testing.assert_array_equal(cell(page, 0, 1)[16:], truth[16:])


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_maps_of_any_channels(tmp_path, channels):
    data = recipe("map", tmp_path, f"data.num_channels={channels}").data
    samples = torch.arange(1.0, 5.0).view(4, 1, 1, 1) + torch.arange(0.0, channels).view(1, channels, 1, 1)
    page = draw_reconstructions(data, Unchanged(), samples.repeat(1, 1, 32, 32), InputMask(Maps, 0.5, 8))
    shades = [cell(page, row, 0)[0, 0].astype(int) for row in range(4)]
    if channels == 1:
        assert len({tuple(shade) for shade in shades}) == 4
    else:
        for channel in range(min(channels, 3)):
            assert [shade[channel] for shade in shades] == [0, 85, 170, 255]
    for row in range(4):
        np.testing.assert_array_equal(cell(page, row, 1), cell(page, row, 0))


def test_poses(tmp_path):
    """A joint that is hidden is not drawn, those of a reconstruction all are."""
    data = recipe("pose", tmp_path).data
    samples = torch.zeros(1, 17, 3)
    samples[0, 0], samples[0, 5] = torch.tensor([8.0, 8, 1]), torch.tensor([24.0, 20, 1])

    class Moved(Unchanged):
        def detokenize(self, ids: torch.Tensor) -> torch.Tensor:
            return torch.tensor([4.0, 28]).expand(1, 17, 2)

    page = draw_reconstructions(data, Moved(), samples, InputMask(Poses, 0.5, 8))
    drawn = [(cell(page, 0, column) != 48).any(2) for column in range(4)]
    places = {"nose": (68, 68), "shoulder": (164, 196), "rebuilt": (228, 36)}  # (y + 0.5) * 8 and (x + 0.5) * 8
    seen = [[bool(picture[place]) for place in places.values()] for picture in drawn]
    assert seen[0] == [True, True, False] and seen[1] == seen[3] == [False, False, True]
    assert sorted(seen[2]) == [False, False, True] and not seen[2][2]


@pytest.mark.parametrize("kind", ["pose", "label_map", "class_mask", "normals"])
def test_every_kind_of_tokenizer_has_pictures(tmp_path, kind):
    options = ["evaluation.pictures_every=2", "evaluation.num_pictures=3", "mask_augmentation={ratio: 0.25}"]
    options += ["train.eval_every=null", "train.trackers=[tensorboard]"]
    train_tokenizer(recipe(kind, tmp_path, *options, *([] if kind == "pose" else ["mask_augmentation.patch_size=8"])))
    names = [f"reconstructions-step-{step:08d}.png" for step in (2, 4)]
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == names
    page = Image.open(tmp_path / "pictures" / names[1])
    assert page.width == 20 + 4 * CELL + 3 * 8 and page.height >= 26 + 3 * (CELL + 8) + 10
    accumulator = EventAccumulator(str(tmp_path / "logs/ait_hf"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in accumulator.Images("predictions/reconstructions")] == [2, 4]


def test_pictures_change_nothing(tmp_path):
    """Neither random numbers nor the codebook, also with averaged weights, which they show."""
    options = ["train.ema_decay=0.5", "train.save_every=2"]
    drawn = [*options, "evaluation.pictures_every=1"]
    histories = [
        train_tokenizer(tokenizer_recipe(tmp_path / name, *given)) for name, given in [("a", options), ("b", drawn)]
    ]
    assert json.dumps(without_measurements(histories[0])) == json.dumps(without_measurements(histories[1]))
    for folder in ("", "checkpoints/step-00000004"):
        assert_equal_weights(tmp_path / "a" / folder, tmp_path / "b" / folder)
    recipe = tokenizer_recipe(tmp_path, f"model={{pretrained: {tmp_path / 'b'}}}")
    task = TokenizerTraining(recipe)
    averaged = task.pictures(task.model.eval(), recipe.evaluation)["reconstructions"]
    last = Image.open(tmp_path / "b/pictures/reconstructions-step-00000004.png")
    np.testing.assert_array_equal(np.asarray(last), np.asarray(averaged))
