# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Puts a trained model into the package, where `ait_hf.pretrained(NAME)` finds it.

    python scripts/ship_model.py runs/rooms/rooms

The model is called as its folder. What only serves where ait_hf is not installed, its code and the tokenizers by themselves,
and what the training left behind stay where they are; its card and measured numbers are written by hand.
"""

import argparse
import json
import shutil
from pathlib import Path

from ait_hf.data.writing import write_text
from ait_hf_cli.models import CHECKPOINTS


def ship(run: Path, target: Path) -> None:
    """`FileNotFoundError` if the run has no model."""
    weights = run / "model.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist: give the folder of a finished training.")
    for path in (*run.glob("*config.json"), *run.glob("image_processors/*/*config.json")):
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("auto_map", None)  # which names the code
        (target / path.relative_to(run)).parent.mkdir(parents=True, exist_ok=True)
        write_text(target / path.relative_to(run), json.dumps(values, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(weights, target / weights.name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished training")
    run = parser.parse_args().run
    ship(run, CHECKPOINTS / run.name)
