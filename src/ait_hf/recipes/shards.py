# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What data sections of recipes share whose rows are in shards, or in any other 🤗 data set."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict

from ..data.label_maps import check_class_names, read_class_names
from .streams import DataRecipe


@strict
@dataclass(kw_only=True)
class Shards(DataRecipe):
    """
    A 🤗 data set.

    Args:
        path (`str`): Folder of shards or another that `load_dataset` understands, a Hub repository, or a folder that
            `save_to_disk` wrote.
        streaming (`bool`): Read its shards in order, instead of making a table of them first.
    """

    path: str
    streaming: bool = False


@strict
@dataclass(kw_only=True)
class NamedClasses(DataRecipe):
    """
    Data whose files do not name their classes.

    Args:
        classes (`list[str]` or `str`): Names of the classes, or a file of them (one per line, or a table with the column
            `Name`).
    """

    classes: list[str] | str

    def class_names(self) -> list[str]:
        """In the order of their numbers; `FileNotFoundError` or `ValueError` if there are none, or one comes twice."""
        if isinstance(self.classes, str):
            return read_class_names(self.classes, None)
        check_class_names(self.classes, f"The list `classes` of the data section {self.name}", None)
        return [name.strip() for name in self.classes]
