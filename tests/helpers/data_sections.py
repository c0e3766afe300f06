# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections as recipes give them, by any of their names."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict

from ait_hf.recipes.parsing import build
from ait_hf.recipes.streams import DataRecipe
from ait_hf.tasks.depth.data import DepthData
from ait_hf.tasks.maps.data import AnyMapData
from ait_hf.tasks.objects.data import MaskData, ObjectData
from ait_hf.tasks.poses.data import PersonData, PoseData
from ait_hf.tasks.semantics.data import ClassMaskData, SemanticData


@strict
@dataclass
class _Recipe:
    data: DepthData | ObjectData | PersonData | MaskData | AnyMapData | PoseData | SemanticData | ClassMaskData


def data_section(name: str, **values) -> DataRecipe:
    """The section of that name, be it a former one; `of` says the view where several are possible."""
    return build(_Recipe, {"data": {"name": name, **values}}).data
