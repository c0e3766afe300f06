# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from saved_model import picture, save_tiny_model, tiny_model
from strangers import run_as_stranger
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForDepthEstimation

from ait_hf import (
    AiTConfig,
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTImageProcessor,
)
from ait_hf.hub.remote_code import MODEL_AUTO_MAP, save_with_remote_code
from ait_hf.tasks.depth.prediction import predict_depth


# What a stranger runs, who has the folder but not the package.
STRANGER = """
import sys
sys.modules["ait_hf"] = None
import torch
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForDepthEstimation, pipeline

folder, picture, output = sys.argv[1:]
image = Image.open(picture)
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(image, return_tensors="pt")
generator = AutoModel.from_pretrained(folder, trust_remote_code=True)
estimator = AutoModelForDepthEstimation.from_pretrained(folder, trust_remote_code=True)
pipe = pipeline("depth-estimation", model=folder, trust_remote_code=True)
piped = pipe(image)
assert not any(name == "ait_hf" or name.startswith("ait_hf.") for name, module in sys.modules.items() if module)
outputs = generator.generate(**inputs, task="depth")
with torch.no_grad():
    estimated = estimator(**inputs)
maps = processor.post_process_depth_estimation(estimated, [(image.height, image.width)])[0]
torch.save(
    {
        "classes": [type(thing).__name__ for thing in (config, processor, generator, estimator, pipe.model)],
        "sequences": outputs.sequences,
        "generated": generator.detokenize(outputs, task="depth"),
        "estimated": estimated.predicted_depth,
        "post_processed": maps["predicted_depth"],
        "piped": piped["predicted_depth"],
    },
    output,
)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


def test_a_stranger_loads_the_folder_and_gets_the_same(saved, tmp_path):
    image = picture(60, 90)
    image.save(tmp_path / "picture.png")
    cache = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    theirs = run_as_stranger(STRANGER, tmp_path, saved, tmp_path / "picture.png", **cache)

    model, processor = tiny_model()
    ours = model.generate(**processor(image, return_tensors="pt"), task="depth")
    (prediction,) = predict_depth(model, processor, [image])
    classes = [AiTConfig, AiTImageProcessor, AiTForDenseTokenGeneration, AiTForDepthEstimation, AiTForDepthEstimation]
    assert theirs["classes"] == [expected.__name__ for expected in classes]
    assert torch.equal(theirs["sequences"], ours.sequences)
    close = {"rtol": 1e-5, "atol": 1e-5}  # kernels round by the alignment of the weights in memory
    torch.testing.assert_close(theirs["generated"].clamp(min=1e-3), ours.predicted_depth, **close)
    torch.testing.assert_close(theirs["estimated"], ours.predicted_depth, **close)
    torch.testing.assert_close(theirs["post_processed"], prediction["predicted_depth"], **close)
    assert theirs["piped"].shape == (60, 90)


def test_the_auto_classes_know_the_package(saved):
    assert type(AutoConfig.from_pretrained(saved)) is AiTConfig
    assert type(AutoImageProcessor.from_pretrained(saved)) is AiTImageProcessor
    for auto_class, expected in (
        (AutoModel, AiTForDenseTokenGeneration),
        (AutoModelForDepthEstimation, AiTForDepthEstimation),
    ):
        model, report = auto_class.from_pretrained(saved, output_loading_info=True)
        assert type(model) is expected
        assert not report["missing_keys"] and not report["unexpected_keys"]


def test_every_head_saves_the_same_folder(saved, tmp_path):
    processor = AiTImageProcessor.from_pretrained(saved)
    save_with_remote_code(AiTForDepthEstimation.from_pretrained(saved), processor, tmp_path / "head")
    assert {path.name for path in (tmp_path / "head").iterdir()} == {path.name for path in saved.iterdir()}
    configs = [json.loads((folder / "config.json").read_text()) for folder in (saved, tmp_path / "head")]
    assert configs[0]["auto_map"] == configs[1]["auto_map"]
    # What a pipeline of segmentation looks up has one class: that of semantics where there is no task of instances.
    semantic = MODEL_AUTO_MAP["AutoModelForSemanticSegmentation"]
    assert configs[0]["auto_map"] == MODEL_AUTO_MAP | {"AutoModelForImageSegmentation": semantic}


def test_saving_with_code_leaves_other_saves_alone(saved, tmp_path):
    model, processor = tiny_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "config.json").read_text())


def test_the_packages_own_classes_win_over_the_folders_code(saved, tmp_path, monkeypatch):
    """With `import ait_hf`, nothing of the folder is executed."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path))
    model = AutoModelForDepthEstimation.from_pretrained(saved)
    assert type(model).__module__ == "ait_hf.model.modeling_ait"
    assert not any(tmp_path.iterdir())
