# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The kinds of tasks: what the package can do."""

import typing

from ..recipes.streams import DataRecipe
from .base import Kind
from .depth.task import Depth
from .maps.task import Maps
from .objects.task import Objects
from .poses.task import Poses
from .semantics.task import Semantics


# Of kinds that put out the same, the first is that of tasks of any name.
KINDS = (Depth, Maps, Objects, Poses, Semantics)


def kind_of(task: str) -> type[Kind]:
    """The kind of a task of that name; every unknown one is that of a map of one's own."""
    return next((kind for kind in KINDS if task in kind.tasks), Maps)


def kind_of_output(task: str, output_type: str) -> type[Kind]:
    """The kind of a model's task that puts this out, see [`AiTTaskConfig`]: the one of its name, if that does."""
    fitting = [kind for kind in KINDS if output_type in kind.output_types]
    return next((kind for kind in fitting if task in kind.tasks), fitting[0])


def kind_of_unit(unit: str) -> type[Kind]:
    """The kind of a tokenizer of values in a unit; every unknown one is that of a map of one's own."""
    return next((kind for kind in KINDS if unit in kind.units), Maps)


def check_unit(data: DataRecipe, where: str) -> None:
    """`ValueError` for maps of one's own, in section `where`, in the unit of another kind, whose data they would
    be."""
    if type(data) in typing.get_args(Maps.tokenizer_data) and (kind := kind_of_unit(data.unit)) is not Maps:
        raise ValueError(
            f"{where}.unit {data.unit!r} is that of {kind.title}: take a data section of {kind.title}, or another word."
        )
