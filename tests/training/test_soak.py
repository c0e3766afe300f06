# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A thousand steps on frames in files, some of them broken, among faults: nothing is lost and all is counted."""

import json
import math
import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.multiprocessing.spawn import ProcessRaisedException
from training_runs import assert_equal_weights, run_in_processes, save_tokenizer, solver_recipe, without_measurements

from ait_hf.data.rooms.depth import render_room
from ait_hf.training.checkpoints import list_checkpoints
from ait_hf.training.solver import SolverRecipe, SolverTraining, train_solver


NUM_FRAMES, BROKEN = 60, (7, 31)
STEPS, BATCH_SIZE, NAN_STEPS = 1000, 4, (137, 138, 555)
WORKER_DIES_AT, DISK_IS_FULL_AT = 320, 610


def write_frames(folder: Path) -> None:
    for kind in ("rgb", "depth"):
        (folder / kind).mkdir(parents=True)
    for number in range(NUM_FRAMES):
        room = render_room(number, (32, 32))
        Image.fromarray(room["image"]).save(folder / f"rgb/{number:03}.png")
        Image.fromarray((1000 * room["depth"]).astype(np.uint16)).save(folder / f"depth/{number:03}.png")
    for number, kind in zip(BROKEN, ("rgb", "depth")):
        file = folder / kind / f"{number:03}.png"
        file.write_bytes(file.read_bytes()[:200])


def memory() -> int:
    """Bytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def with_faults(folder: Path, recipe: SolverRecipe, faults: dict[int, Callable[[], None]]) -> None:
    """Trains; the loss of some steps is NaN, before others a fault happens. Leaves an account in `folder`."""
    original = SolverTraining.loss
    done = [int(path.name.removeprefix("step-")) for path in list_checkpoints(folder / "checkpoints")]
    step, held, kept = max(done, default=0), {}, {}

    def loss(self, *arguments):
        nonlocal step
        step += 1
        kept["streams"] = self.streams
        if step % 100 == 0:
            held[step] = memory()
        if step in faults:
            faults[step]()
        values = original(self, *arguments)
        return values | {"loss": values["loss"] * math.nan} if step in NAN_STEPS else values

    SolverTraining.loss = loss
    train_solver(recipe)
    account = kept["streams"]["depth"].unreadable
    names = sorted(Path(name).name for name in account.named)
    report = {"memory": held, "drawn": account.drawn, "unreadable": account.count, "names": names}
    (folder / "account.json").write_text(json.dumps(report))


def kill_a_worker() -> None:
    worker, *_ = multiprocessing.active_children()
    os.kill(worker.pid, signal.SIGKILL)
    # torch's signal handler ends this at once; elsewhere it might interrupt the report of another error.
    time.sleep(10)


def fill_the_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))


@pytest.mark.slow
def test_a_thousand_steps_among_faults(tmp_path):
    write_frames(tmp_path / "frames")
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    data = f"{{name: rgbd, index: {tmp_path / 'frames'}, depth_scale: 1000, batch_size: {BATCH_SIZE}, max_unreadable_share: 0.1, "
    data += "transform: {resize: 32, crop_size: 32}}"
    options = [f"tasks.depth.data={data}", f"train.max_steps={STEPS}", "train.save_every=100", "train.num_workers=1"]
    options += ["train.log_every=50", "evaluation.split=train"]  # every tenth frame, none of them broken
    whole, soaked = tmp_path / "whole", tmp_path / "soaked"

    def run(folder: Path, faults: dict[int, Callable[[], None]]) -> None:
        run_in_processes(1, with_faults, folder, solver_recipe(folder, tokenizer, *options), faults)

    run(whole, {})
    faults = {WORKER_DIES_AT: kill_a_worker, DISK_IS_FULL_AT: fill_the_disk}
    with pytest.raises(ProcessRaisedException, match="DataLoader worker .* killed"):
        run(soaked, faults)
    assert [path.name for path in list_checkpoints(soaked / "checkpoints")] == ["step-00000200", "step-00000300"]
    with pytest.raises(ProcessRaisedException, match="WriteError: .* The last good checkpoint is .*step-00000600"):
        run(soaked, {DISK_IS_FULL_AT: fill_the_disk})
    run(soaked, {})

    assert_equal_weights(whole, soaked)
    histories = [json.loads((folder / "history.json").read_text()) for folder in (whole, soaked)]
    assert without_measurements(histories[0]) == without_measurements(histories[1])
    assert sum(row.get("skipped_steps", 0) for row in histories[1]) == len(NAN_STEPS)
    account = json.loads((whole / "account.json").read_text())
    print(account)
    assert account["drawn"] == STEPS * BATCH_SIZE
    assert account["names"] == ["007.png", "031.png"]
    epochs = STEPS * BATCH_SIZE / NUM_FRAMES
    assert len(BROKEN) * math.floor(epochs) <= account["unreadable"] <= len(BROKEN) * math.ceil(epochs)
    for history in histories:
        assert sum(row.get("unreadable_samples", 0) for row in history) == account["unreadable"]
    held = account["memory"]
    assert held["1000"] < 1.03 * held["300"]
