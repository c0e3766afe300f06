# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The trained models that the package brings, by name."""

import logging
from importlib.util import find_spec
from pathlib import Path


logger = logging.getLogger("ait_hf.models")

CHECKPOINTS = Path(*find_spec("ait_hf").submodule_search_locations, "checkpoints")


def shipped_models() -> dict[str, Path]:
    """Name -> folder; without importing the package, which takes seconds."""
    return {path.parent.name: path.parent for path in sorted(CHECKPOINTS.glob("*/config.json"))}


def pretrained(name: str) -> str:
    """
    The folder of a trained model that the package brings, for `pipeline(..., model=...)` and `from_pretrained`.

    Args:
        name (`str`): `"rooms"` (rendered rooms: depth, objects, poses and classes).

    Raises:
        ValueError: There is none of that name; the message has those that there are.
    """
    shipped = shipped_models()
    if name not in shipped:
        raise ValueError(f"The package brings no model {name!r}, but {', '.join(shipped) or 'none'}.")
    return str(shipped[name])


def find_model(source: str) -> str:
    """`source`, a folder or a name on the Hub; or, where no folder is called that, the folder of the model of that name that
    the package brings."""
    if Path(source).exists() or source not in shipped_models():
        return source
    logger.info("Model %s: %s", source, pretrained(source))
    return pretrained(source)
