# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Shards of data shared out to processes and workers, resumed streams, and samples that cannot be read."""

import io
import json
import logging
import tarfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from accelerate import Accelerator
from data_sections import data_section
from datasets.packaged_modules.parquet.parquet import Parquet
from PIL import Image
from training_runs import batches

from ait_hf.recipes.streams import EvalSamples, evaluation_batches
from ait_hf.recipes.unreadable import MOST_IN_A_ROW, SMALLEST_COUNT, Unreadable, UnreadableLog


TRANSFORM = {"crop_size": 8, "cut_depth_every": None}
ROWS_PER_SHARD = 3


def encoded(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


def row(number: int) -> dict[str, bytes]:
    """An image and depth of `number` + 1 metres everywhere, by which batches tell the row."""
    image = np.full((8, 8, 3), number, np.uint8)
    return {"image": encoded(image), "depth": encoded(np.full((8, 8), 1000 * (number + 1), np.uint16))}


def write_parquet(folder: Path, num_shards: int, broken: tuple[int, ...] = ()) -> str:
    folder.mkdir()
    features = datasets.Features({"image": datasets.Image(), "depth": datasets.Image()})
    for shard in range(num_shards):
        rows = []
        for number in range(shard * ROWS_PER_SHARD, (shard + 1) * ROWS_PER_SHARD):
            stored = {key: {"bytes": value, "path": f"{number}.png"} for key, value in row(number).items()}
            if number in broken:
                stored["image"]["bytes"] = stored["image"]["bytes"][:20]
            rows.append(stored)
        table = datasets.Dataset.from_list(rows, features=features)
        table.to_parquet(folder / f"train-{shard:05d}-of-{num_shards:05d}.parquet")
    return str(folder)


def write_webdataset(folder: Path, num_shards: int) -> str:
    folder.mkdir()
    for shard in range(num_shards):
        with tarfile.open(folder / f"train-{shard:05d}.tar", "w") as tar:
            for number in range(shard * ROWS_PER_SHARD, (shard + 1) * ROWS_PER_SHARD):
                for key, content in row(number).items():
                    member = tarfile.TarInfo(f"{number:04d}.{'png' if key == 'image' else 'depth.png'}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return str(folder)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    # Streams of parquet sleep five seconds wherever they are left before their end.
    monkeypatch.setattr(Parquet, "SLEEP_ON_THREADS_SHUTDOWNS", False)
    Accelerator()  # the loaders below ask for its state


def stream_of(path: str, **changes):
    changes = {"batch_size": 1, "streaming": True, "depth_scale": 1000.0, "max_unreadable_share": 1.0} | changes
    return data_section("hub", path=path, transform=TRANSFORM, **changes).stream()


def rows_in(batches: list) -> list[int]:
    return [round(value) - 1 for batch in batches for value in batch["labels"][:, 0, 0].tolist()]


@pytest.mark.parametrize("write", [write_parquet, write_webdataset])
def test_two_nodes_with_two_workers_see_every_row_once_an_epoch(tmp_path, write):
    names = {"image_column": "png", "depth_column": "depth.png"} if write is write_webdataset else {}
    stream = stream_of(write(tmp_path / "shards", 4), **names)
    seen = [batches(stream, node=node, num_nodes=2, num_batches=12, num_workers=2) for node in range(2)]
    epochs = [[rows_in(node[start : start + 6]) for node in seen] for start in (0, 6)]
    for epoch in epochs:
        assert sorted(epoch[0] + epoch[1]) == list(range(12))
    assert epochs[0] != epochs[1]


def test_workers_of_one_process_do_not_change_each_others_epoch(tmp_path):
    """`IterableDataset.set_epoch` would: its number is in memory that workers share, and here they change it often."""
    stream = stream_of(write_parquet(tmp_path / "shards", 4))
    seen = rows_in(batches(stream, num_batches=80 * 12, num_workers=4))
    # Workers take turns, three rows each an epoch.
    assert all(sorted(seen[start : start + 12]) == list(range(12)) for start in range(0, len(seen), 12))


def test_shards_that_do_not_go_round_are_shared_out_by_rows(tmp_path):
    stream = stream_of(write_parquet(tmp_path / "shards", 3))
    first = [rows_in(batches(stream, node=node, num_nodes=2, num_batches=5)) for node in range(2)]
    assert sorted(first[0] + first[1][:4]) == list(range(9))


def test_workers_without_a_shard_are_not_started(tmp_path):
    stream = stream_of(write_parquet(tmp_path / "shards", 2))
    seen = [batches(stream, node=node, num_nodes=2, num_batches=3, num_workers=2) for node in range(2)]
    assert sorted(rows_in(seen[0] + seen[1])) == list(range(6))


def test_fewer_rows_than_processes_are_an_error(tmp_path):
    stream = stream_of(write_parquet(tmp_path / "shards", 1))
    with pytest.raises(ValueError, match="has no rows"):
        batches(stream, node=3, num_nodes=4, num_batches=1)


def test_a_stream_goes_on_where_it_was_also_past_rows_that_cannot_be_read(tmp_path):
    path = write_parquet(tmp_path / "shards", 4, broken=(0, 1, 7))
    stream = stream_of(path, batch_size=2)
    whole = batches(stream, num_batches=14, num_workers=2)
    assert stream.unreadable.drawn == 28 and stream.unreadable.count >= 6  # 28 samples are more than two epochs
    assert set(rows_in(whole)) == set(range(12)) - {0, 1, 7}
    for done in (3, 8):
        again = batches(stream_of(path, batch_size=2), num_batches=14, done=done, num_workers=2)
        torch.testing.assert_close(again, whole[done:], rtol=0, atol=0)


def write_frames(folder: Path, count: int) -> Path:
    for kind in ("images", "depth"):
        (folder / kind).mkdir(parents=True)
    frames = []
    for number in range(count):
        stored = row(number)
        frames.append({"rgb": f"images/{number}.png", "depth": f"depth/{number}.png", "depth_scale": 1000.0})
        (folder / "images" / f"{number}.png").write_bytes(stored["image"])
        (folder / "depth" / f"{number}.png").write_bytes(stored["depth"])
    (folder / "index.json").write_text(json.dumps(frames))
    return folder


def frames(folder: Path, **changes):
    return data_section("rgbd", index=str(folder / "index.json"), transform=TRANSFORM, batch_size=2, **changes)


def spoil(folder: Path, monkeypatch) -> set[int]:
    """Breaks four frames in the four ways there are, behind the back of the check at the start."""
    monkeypatch.setattr("ait_hf.data.rgbd.check_frames", lambda frames: frames)
    image = (folder / "images/1.png").read_bytes()
    (folder / "images/1.png").write_bytes(image[: len(image) // 2])
    (folder / "images/2.png").unlink()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "depth/3.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "depth/4.png")
    return {1, 2, 3, 4}


def test_unreadable_frames_are_replaced_counted_and_named_once(tmp_path, monkeypatch, caplog):
    folder = write_frames(tmp_path / "frames", 16)
    broken = spoil(folder, monkeypatch)
    stream = frames(folder, max_unreadable_share=1.0).stream()
    with caplog.at_level(logging.WARNING):
        whole = batches(stream, num_batches=16)  # two epochs
    assert set(rows_in(whole)) <= set(range(16)) - broken and len(rows_in(whole)) == 32
    assert stream.unreadable.drawn == 32 and stream.unreadable.count == 2 * len(broken)
    named = [message for message in caplog.messages if "cannot be read" in message]
    assert len(named) == len(broken)
    for number in broken:
        assert sum(f"images/{number}.png" in message for message in named) == 1
    stream = frames(folder, max_unreadable_share=1.0).stream()
    torch.testing.assert_close(batches(stream, num_batches=16, num_workers=2), whole, rtol=0, atol=0)
    assert stream.unreadable.count == 2 * len(broken)
    resumed = batches(frames(folder, max_unreadable_share=1.0).stream(), num_batches=16, done=5)
    torch.testing.assert_close(resumed, whole[5:], rtol=0, atol=0)


def test_too_many_unreadable_frames_stop_the_run(tmp_path, monkeypatch):
    folder = write_frames(tmp_path / "frames", 8)
    spoil(folder, monkeypatch)
    with pytest.raises(ValueError, match=r"^[12] of \d+ samples of rgbd could not be read.*images/\d.png"):
        batches(frames(folder, max_unreadable_share=0.0).stream(), num_batches=8)
    with pytest.raises(ValueError, match=r"^1[12] of \d+ .* and 1 more"):
        batches(frames(folder).stream(), num_batches=40)
    with pytest.raises(ValueError, match="max_unreadable_share must be from 0 to 1"):
        frames(folder, max_unreadable_share=1.1)


def test_share_is_of_a_thousand_samples_at_least():
    log = UnreadableLog("source", max_share=0.01)
    bad, good = (Unreadable("a", "b"),), ()
    log.add([bad] * 10 + [good] * (SMALLEST_COUNT - 10))
    log.add([good] * SMALLEST_COUNT)
    log.add([bad] * 10)
    assert log.count == 20 and log.drawn == 2 * SMALLEST_COUNT + 10
    with pytest.raises(ValueError, match=r"21 of 2011"):
        log.add([bad])


def test_nothing_readable_is_noticed(tmp_path, monkeypatch):
    folder = write_frames(tmp_path / "frames", 2)
    monkeypatch.setattr("ait_hf.data.rgbd.check_frames", lambda frames: frames)
    for path in (folder / "images").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=f"{MOST_IN_A_ROW} samples in a row cannot be read"):
        batches(frames(folder, max_unreadable_share=1.0).stream(), num_batches=1)


def test_evaluation_leaves_nothing_out(tmp_path, monkeypatch):
    folder = write_frames(tmp_path / "frames", 6)
    spoil(folder, monkeypatch)
    options = {"split": "train", "batch_size": 2, "num_workers": 0}
    loader = evaluation_batches(frames(folder).stream(), Accelerator(), num_samples=None, **options)
    with pytest.raises(ValueError, match=r"images/1.png of the evaluation cannot be read"):
        list(loader)
    with pytest.raises(ValueError, match="sample 0 of the evaluation cannot be read"):
        EvalSamples([{"image": None}], lambda sample: int("x"))[0]
