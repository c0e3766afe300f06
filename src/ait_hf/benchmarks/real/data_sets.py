# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The data sets of the benchmark: what is trained on each, and what is measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


TOKENIZER, AIT_P, AIT = "tokenizer", "aitp", "ait"
MINUTES = 25  # that the recipes' steps take on one CPU core that nothing else uses


@dataclass(frozen=True)
class DataSet:
    """
    Args:
        title: What reports call it.
        folder: What paths in its recipes begin with, in whose place comes the folder of the data.
        task: Of the model.
        split: That is measured, unless another is asked for.
        baselines: Names of the contestants beside AiT, the first of which is trained with as many seeds as AiT-P. The recipe
            of each, `recipes/DATA_NAME.yaml`, and those of AiT in the library, `DATA_tokenizer`, `DATA_aitp` and `DATA_ait`,
            are called after the data set.
        columns: What reports show of the metrics, by the title.
        measuring: Settings of the evaluation, as `ait evaluate` gives them.
    """

    title: str
    folder: str
    task: str
    split: str
    baselines: Sequence[str]
    columns: Mapping[str, str]
    measuring: Mapping[str, Any] = field(default_factory=dict)

    @property
    def contestants(self) -> tuple[str, ...]:
        return (AIT_P, AIT, *self.baselines)

    def num_seeds(self, contestant: str) -> int:
        """How many runs of a contestant there are by default."""
        return 3 if contestant in (AIT_P, self.baselines[0]) else 1


DATA_SETS = {
    "nyu": DataSet(
        title="NYU Depth v2, labelled frames, metric, Eigen crop",
        folder="data/nyu_labelled",
        task="depth",
        split="test",
        baselines=("unet",),
        columns={
            "RMSE, m": "rmse",
            "RMSE pooled": "rmse_pooled",
            "AbsRel": "abs_rel",
            "δ1": "delta1",
            "AUSE, m": "ause_rmse",
        },
        measuring={"crop": "eigen"},
    ),
    "camvid": DataSet(
        title="CamVid, 480 x 360, 11 classes",
        folder="data/camvid",
        task="semantic-segmentation",
        split="val",
        baselines=("unet", "segformer"),
        columns={"mIoU": "mIoU", "accuracy": "aAcc"},
    ),
    "dsb2018": DataSet(
        title="Data Science Bowl 2018, nuclei, tiles of 128 x 128 pixels that overlap by 32",
        folder="data/dsb2018",
        task="instance-segmentation",
        split="validation",
        baselines=("mask-rcnn",),
        columns={"mask AP50": "segm_AP50", "mask AP": "segm_AP", "box AP50": "bbox_AP50"},
    ),
    "lspet": DataSet(
        title="Leeds Sports Poses, extended, 14 joints, given boxes",
        folder="data/lspet",
        task="keypoint-detection",
        split="validation",
        baselines=("heatmaps",),
        columns={"PCK@.2 of the torso": "PCK", "OKS AP50": "AP50"},
    ),
}
