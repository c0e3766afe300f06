# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The order of training samples, and batches of every kind of data."""

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ait_hf.data.rooms.depth import SyntheticDepth, synthetic_rooms
from ait_hf.recipes.streams import SampleOrder, evaluation_batches, training_batches


TRANSFORM = {"crop_size": 16}
HUB = {"batch_size": 2, "transform": TRANSFORM, "image_column": "rgb", "depth_column": "metres"}


@given(num_examples=st.integers(1, 20), first=st.integers(0, 70), length=st.integers(0, 70), seed=st.integers(0, 9))
def test_order_is_a_window_of_shuffled_epochs(num_examples, first, length, seed):
    whole = list(SampleOrder(num_examples, 0, first + length, seed))
    window = SampleOrder(num_examples, first, first + length, seed)
    assert list(window) == whole[first:] and len(window) == length
    assert [number for _, number in whole] == list(range(first + length))
    for start in range(0, len(whole) - num_examples + 1, num_examples):
        assert sorted(index for index, _ in whole[start : start + num_examples]) == list(range(num_examples))


def test_epochs_and_seeds_differ():
    orders = {tuple(index for index, _ in SampleOrder(50, 50 * e, 50 * e + 50, s)) for e in range(3) for s in range(3)}
    assert len(orders) == 9


def test_rooms_are_those_of_the_synthetic_data_set():
    rooms = SyntheticDepth("validation", (12, 16), seed=5)
    stream = list(synthetic_rooms("validation", size=(12, 16), seed=5, num_examples=3))
    for index, room in enumerate(stream):
        for key, value in room.items():
            np.testing.assert_array_equal(rooms[index][key], value)
    with pytest.raises(ValueError, match="Unknown split 'val'"):
        SyntheticDepth("val", (8, 8), 0)


def batches(data, **arguments) -> list[dict[str, torch.Tensor]]:
    arguments = {"num_batches": 5, "done": 0, "num_workers": 0, "seed": 3} | arguments
    return list(training_batches(data.stream(), Accelerator(), **arguments))


@pytest.fixture
def hub_folder(tmp_path):
    rng = np.random.default_rng(0)
    frames = [
        {
            "rgb": Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)),
            "metres": Image.fromarray(rng.uniform(1, 5, (20, 24)).astype(np.float32)),
        }
        for _ in range(6)
    ]
    features = datasets.Features({"rgb": datasets.Image(), "metres": datasets.Image()})
    split = datasets.Dataset.from_list(frames, features=features)
    datasets.DatasetDict({"train": split, "test": split}).save_to_disk(tmp_path / "hub")
    return tmp_path / "hub"


@pytest.mark.parametrize("kind", ["synthetic", "hub", "stream"])
def test_resuming_goes_on_with_the_same_batches(kind, hub_folder):
    if kind == "synthetic":
        data = data_section("synthetic", batch_size=2, transform=TRANSFORM, size=[20, 24])
    else:
        data = data_section("hub", **HUB, path=str(hub_folder), streaming=kind == "stream")
    whole = batches(data)
    assert (
        len(whole) == 5
        and whole[0]["pixel_values"].shape == (2, 3, 16, 16)
        and whole[0]["labels"].shape == (2, 16, 16)
    )
    state = torch.get_rng_state()
    torch.testing.assert_close(batches(data, done=3), whole[3:], rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    for again in (batches(data, seed=4), whole[1:] + whole[:1]):
        assert not torch.equal(again[0]["pixel_values"], whole[0]["pixel_values"])


def test_workers_change_nothing(hub_folder):
    data = data_section("hub", **HUB, path=str(hub_folder))
    torch.testing.assert_close(batches(data, num_workers=2), batches(data), rtol=0, atol=0)


@pytest.mark.parametrize("streaming", [False, True])
def test_evaluation_takes_each_sample_once(hub_folder, streaming):
    data = data_section("hub", **HUB, path=str(hub_folder), streaming=streaming)
    arguments = {"split": "test", "batch_size": 4, "num_workers": 0}
    labels = [
        batch["labels"] for batch in evaluation_batches(data.stream(), Accelerator(), num_samples=None, **arguments)
    ]
    assert [len(each) for each in labels] == [4, 2] and len(torch.cat(labels).unique(dim=0)) == 6
    few = [batch["labels"] for batch in evaluation_batches(data.stream(), Accelerator(), num_samples=3, **arguments)]
    assert len(torch.cat(few)) == 3


def test_evaluation_needs_an_end():
    data = data_section("synthetic", batch_size=2, transform=TRANSFORM, size=[16, 16])
    with pytest.raises(ValueError, match="Set evaluation.num_samples"):
        evaluation_batches(data.stream(), Accelerator(), split="test", num_samples=None, batch_size=2, num_workers=0)


def test_real_frames(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    transform = {"crop_size": [64, 96], "resize": 96}
    data = data_section(
        "rgbd",
        batch_size=2,
        transform=transform,
        index=str(data_dir / "rgbd" / "index.json"),
        root=str(data_dir),
        kinds=["real"],
    )
    (batch,) = batches(data, num_batches=1)
    assert batch["pixel_values"].shape == (2, 3, 64, 96)
    assert batch["pixel_values"].min() >= 0 and batch["pixel_values"].max() <= 1
    assert 0.2 < batch["labels"][batch["labels"] > 0].median() < 10
