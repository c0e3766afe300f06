# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The baseline script trains on a recipe's data and is measured by the same metric."""

import importlib.util
import json

import pytest
from repository import SCRIPTS


RECIPE = "rooms_semantic_labels_aitp"
DATA = "tasks.semantic-segmentation.data"
SMALL = [f"{DATA}.size=[32, 32]", f"{DATA}.transform.image_size=32", f"{DATA}.batch_size=2", f"{DATA}.num_rooms=2"]
SMALL += ["evaluation.num_samples=2"]


@pytest.fixture(scope="module")
def main():
    spec = importlib.util.spec_from_file_location("segformer_baseline", SCRIPTS / "segformer_baseline.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_it_trains_and_reports(main, tmp_path, capsys):
    output = tmp_path / "values.json"
    main([str(RECIPE), "--minutes", "0.0001", "--output", str(output), *SMALL])
    values = json.loads(output.read_text())
    assert 0 <= values["mIoU"] <= values["aAcc"] <= 1
    assert values["num_images"] == 2 and values["num_steps"] >= 1 and 3e6 < values["num_parameters"] < 4.5e6
    assert f"mIoU {values['mIoU']:.4f}" in capsys.readouterr().out


def test_it_refuses_what_it_cannot_do(main, capsys):
    wrong = {
        "has no task semantic-segmentation": ["rooms_depth_aitp", "--minutes", 1],
        "must be above 0": [RECIPE, "--minutes", 0],
        "There is no recipe": ["nowhere.yaml", "--minutes", 1],
    }
    for message, arguments in wrong.items():
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        assert caught.value.code == 2 and message in capsys.readouterr().err
