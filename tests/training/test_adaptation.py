# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained model for other data: what is kept, what starts anew; adapters; the command that does it all."""

import json
import logging
import math
import runpy
import sys
from pathlib import Path

import datasets
import pytest
import torch
from data_sections import data_section
from peft import PeftModel
from PIL import Image
from repository import SCRIPTS
from small_data import write_objects, write_rooms
from tiny import randomized, tiny_config
from tiny_objects import INSTANCES, object_config, object_processor

from ait_hf import AiTForDepthEstimation, AiTForInstanceSegmentation, AiTImageProcessor, VQTokenizer
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.recipes.parsing import build
from ait_hf.tasks.depth.task import Depth
from ait_hf.tasks.objects.task import Objects
from ait_hf.training.adaptation import adapt_solver
from ait_hf.training.lora import LoRARecipe, add_adapters, attention_projections, merged
from ait_hf.training.solver import SolverRecipe, SolverTraining


SCRIPT = SCRIPTS / "finetune.py"
NAMES = ["cat", "dog", "hen", "cow", "pig", "ant"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def detector():
    config = object_config(tasks=(INSTANCES, "depth"), id2label=dict(enumerate(NAMES)))
    return randomized(AiTForInstanceSegmentation(config))


class FewClasses:
    """All that an adaptation asks of a section of objects."""

    adapted = Objects.adapted

    def __init__(self, names, size=(64, 96)):
        facts = {"image_size": size, "name": "few", "class_names": lambda data: names}
        self.data = type("Data", (), facts)()


def logits(model, images: torch.Tensor) -> torch.Tensor:
    """Of the first codes of a depth model: what every weight but the tokenizer's has a part in."""
    ids = torch.tensor([[model.config.vocabulary.task_token_id(2), 0, 1]]).expand(len(images), -1)
    with torch.no_grad():
        return model(pixel_values=images, decoder_input_ids=ids).logits


def depth_section(height: int, width: int) -> Depth:
    data = data_section("synthetic", batch_size=1, transform={"crop_size": [height, width]}, size=[height, width])
    return Depth(data=data)


def test_rows_of_what_still_means_the_same_are_kept(detector, caplog):
    names = ["pig", "yak", "cat"]
    with caplog.at_level(logging.INFO):
        result = adapt_solver(detector, {INSTANCES: FewClasses(names)}, {}, "donor")
    (message,) = [record.message for record in caplog.records if record.name.endswith("adaptation")]
    assert "yak start anew" in message and "classes dog, hen, cow, ant are gone" in message
    old, new = detector.config.vocabulary, result.model.config.vocabulary
    assert result.model.config.id2label == dict(enumerate(names)) and len(new.classes) == 3
    assert result.fresh_ids == [new.classes[1]]
    pairs = [*zip(old.coordinates, new.coordinates), (old.noise_id, new.noise_id)]
    for book in ("mask", "depth"):
        pairs += zip(old.codebooks[book], new.codebooks[book])
    pairs += [(old.classes[NAMES.index(name)], new.classes[names.index(name)]) for name in ("pig", "cat")]
    before, after = zip(*pairs)
    fresh = result.fresh_ids[0]
    for key in ("model.decoder.embed_tokens.weight", "lm_head.bias"):
        mine, theirs = result.model.state_dict()[key], detector.state_dict()[key]
        torch.testing.assert_close(mine[list(after)], theirs[list(before)], rtol=0, atol=0)
        assert not (theirs == mine[fresh]).flatten(1).all(1).any() if mine.ndim > 1 else mine[fresh] == 0
    assert result.model.lm_head.weight is result.model.model.decoder.embed_tokens.weight
    others = {key: value for key, value in detector.state_dict().items() if value.shape[:1] != (old.size,)}
    for key, value in others.items():
        assert torch.equal(result.model.state_dict()[key], value), key
    assert set(others) == {key for key, value in result.model.state_dict().items() if value.shape[:1] != (new.size,)}


def test_the_same_data_change_nothing(detector):
    result = adapt_solver(detector, {INSTANCES: FewClasses(NAMES), "depth": depth_section(96, 96)}, {}, "donor")
    assert result.model is detector and not result.changes


def test_fewer_classes_of_one_task_leave_those_of_another():
    config = object_config(id2label=dict(enumerate(NAMES)))
    names = [*NAMES[:5], "yak"]
    model = adapt_solver(AiTForInstanceSegmentation(config), {INSTANCES: FewClasses(names)}, {}, "donor").model
    ranges = {name: model.config.task(name).class_range for name in model.config.tasks}
    assert ranges == {"object-detection": [0, 6], INSTANCES: [6, 12]}
    assert list(model.config.id2label.values()) == NAMES + names


def test_positions_of_another_image_size_are_resampled(detector):
    """What is linear in row and column stays so: bilinear resampling is exact on it, away from the borders."""
    config, row = detector.config, detector.config.tasks["depth"]["task_id"] * detector.config.max_position_embeddings
    table = detector.model.decoder.embed_positions.weight
    with torch.no_grad():
        table[row : row + 9] = torch.arange(3.0).repeat_interleave(3)[:, None].expand(9, config.d_model)
    result = adapt_solver(detector, {"depth": depth_section(192, 96)}, {}, "donor")
    declared = result.model.config.task("depth")
    assert declared.grid_size == [6, 3] and declared.image_size == [192, 96] and not result.fresh_ids
    assert result.model.config.pad_images_to == [192, 96] == result.model.config.backbone_config.image_size
    after = result.model.model.decoder.embed_positions.weight
    rows = after[row : row + 18].view(6, 3, -1)[:, 0, 0]
    torch.testing.assert_close(rows, torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.0]))
    assert torch.equal(after[:row], table[:row]) and torch.equal(after[row + 18 :], table[row + 18 :])
    with torch.no_grad():
        assert result.model.generate(torch.rand(1, 3, 192, 96), task="depth").predicted_depth.shape == (1, 192, 96)


def test_what_cannot_be_adapted_is_refused(detector):
    with pytest.raises(ValueError, match="must be a multiple of the tokenizer's 32 pixels"):
        adapt_solver(detector, {"depth": depth_section(100, 96)}, {}, "donor")
    with pytest.raises(ValueError, match="donor cannot be adapted to these data: .* at most max_position_embeddings"):
        adapt_solver(detector, {"depth": depth_section(384, 384)}, {}, "donor")
    with pytest.raises(ValueError, match="donor was not trained for 'poses' but for instance-segmentation, depth"):
        adapt_solver(detector, {"poses": FewClasses([])}, {}, "donor")


def test_another_tokenizer_starts_its_codes_anew(detector):
    arguments = tiny_config().tokenizers["depth"] | {"num_vq_embeddings": 30, "downsample_ratio": 16}
    tokenizer = VQTokenizer(**arguments)
    result = adapt_solver(detector, {"depth": depth_section(96, 96)}, {"depth": tokenizer}, "donor")
    vocabulary = result.model.config.vocabulary
    assert result.fresh_ids == list(vocabulary.codebooks["depth"]) and len(result.fresh_ids) == 30
    assert result.model.config.task("depth").grid_size == [6, 6]
    mine = result.model.tokenizers["depth"].state_dict()
    torch.testing.assert_close(mine, tokenizer.state_dict(), rtol=0, atol=0)
    kept = list(vocabulary.codebooks["mask"])
    theirs = detector.model.decoder.embed_tokens.weight[list(detector.config.vocabulary.codebooks["mask"])]
    assert torch.equal(result.model.model.decoder.embed_tokens.weight[kept], theirs)


def test_only_adapters_are_trained_and_merged_they_give_the_same():
    model = randomized(AiTForDepthEstimation(tiny_config()))
    plain = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    names = attention_projections(model)
    # Four stages of one block, with queries, keys and values in one; encoder, and decoder with two attentions each.
    assert len(names) == 4 * 2 + 2 * 4 + 2 * 8
    images, depth = torch.rand(2, 3, 96, 96), torch.rand(2, 96, 96) + 1
    before = logits(model.eval(), images)
    add_adapters(model, LoRARecipe(rank=2), train_tokens=False)
    torch.testing.assert_close(logits(model, images), before)
    model.train()
    model(images, labels=depth).loss.backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert with_gradient == {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name.partition(".lora_")[0] for name in with_gradient} == set(names)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.3)
    model.eval()
    adapted, whole = logits(model, images), merged(model).eval()
    assert (adapted - before).abs().max() > 1e-2
    torch.testing.assert_close(logits(whole, images), adapted, rtol=1e-4, atol=1e-5)
    assert {name: tensor.shape for name, tensor in whole.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.items()
    }
    base = {key.replace(".base_layer.", "."): value for key, value in model.state_dict().items() if "lora_" not in key}
    torch.testing.assert_close(base, plain, rtol=0, atol=0)


@pytest.fixture
def depth_model(tmp_path) -> Path:
    model = randomized(AiTForDepthEstimation(tiny_config()))
    save_with_remote_code(
        model, AiTImageProcessor(size={"height": 96, "width": 96}, do_normalize=False), tmp_path / "base"
    )
    return tmp_path / "base"


@pytest.fixture
def detector_folder(tmp_path, detector) -> Path:
    processors = {INSTANCES: object_processor(), "depth": AiTImageProcessor(size={"height": 96, "width": 96})}
    save_with_remote_code(detector, processors, tmp_path / "base")
    return tmp_path / "base"


def run(monkeypatch, *arguments: object) -> None:
    command = [*arguments, "--steps", 4, "--batch-size", 2, "--override", "train.trackers=[]", "train.log_every=1"]
    monkeypatch.setattr(sys, "argv", ["finetune.py", *map(str, command)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_a_folder_of_rooms_makes_a_new_depth_model(tmp_path, depth_model, monkeypatch):
    rooms, output = write_rooms(tmp_path / "rooms"), tmp_path / "new"
    common = ["--model", depth_model, "--task", "depth", "--data", rooms, "--depth-scale", 1000]
    run(monkeypatch, *common, "--output", output, "--image-size", 96, 128)
    history = json.loads((output / "history.json").read_text())
    assert history[-1]["step"] == 4 and math.isfinite(history[-1]["eval_depth/rmse"])
    assert history[-1]["eval_depth/num_images"] == 1  # of 12 one is held out
    model = AiTForDepthEstimation.from_pretrained(output).eval()
    assert model(torch.rand(1, 3, 96, 128)).predicted_depth.shape == (1, 96, 128)
    base = AiTForDepthEstimation.from_pretrained(depth_model).state_dict()
    moved = [key for key, value in model.state_dict().items() if not torch.equal(value, base[key])]
    assert any("backbone" in key for key in moved) and not any("tokenizers" in key for key in moved)


def test_adapters_lie_beside_the_model_that_has_them_merged(tmp_path, depth_model):
    recipe = {
        "output_dir": str(tmp_path / "new"),
        "tasks": {"depth": {"data": {"name": "synthetic", "size": [96, 96], "batch_size": 2}}},
        "model": {"pretrained": str(depth_model), "lora": {"rank": 2}},
        "optimizer": {"lr": 1e-2},
        "train": {"max_steps": 2, "trackers": []},
        "evaluation": {"split": "validation", "num_samples": 2},
    }
    recipe["tasks"]["depth"]["data"]["transform"] = {"crop_size": 96}
    training = SolverTraining(build(SolverRecipe, recipe))
    with torch.no_grad():
        for parameter in training.model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    training.save(training.model, tmp_path / "new")
    images = torch.rand(2, 3, 96, 96)
    whole = logits(AiTForDepthEstimation.from_pretrained(tmp_path / "new").eval(), images)
    base = AiTForDepthEstimation.from_pretrained(depth_model).eval()
    before = logits(base, images)
    adapted = logits(PeftModel.from_pretrained(base, tmp_path / "new/adapter").eval(), images)
    assert (adapted - before).abs().max() > 1e-2
    torch.testing.assert_close(adapted, whole, rtol=1e-4, atol=1e-5)


def test_own_classes_with_adapters(tmp_path, detector_folder, monkeypatch, detector):
    objects, output = write_objects(tmp_path / "objects"), tmp_path / "new"
    common = ["--model", detector_folder, "--task", INSTANCES, "--data", objects]
    run(monkeypatch, *common, "--output", output, "--lora", 2)
    model = AiTForInstanceSegmentation.from_pretrained(output)
    assert model.config.id2label == {0: "cat", 1: "yak"} and not (output / "adapter").exists()
    assert json.loads((output / "history.json").read_text())[-1][f"eval_{INSTANCES}/num_images"] == 1
    frozen = [key for key in model.state_dict() if "mlp" in key or "norm" in key]
    for key in frozen:
        assert torch.equal(model.state_dict()[key], detector.state_dict()[key]), key
    key = "model.decoder.layers.0.cross_attn.q_proj.weight"
    assert not torch.equal(model.state_dict()[key], detector.state_dict()[key])
    for part, count in {"train": 11, "validation": 1}.items():
        assert len(json.loads((output / f"data/{part}.json").read_text())["images"]) == count


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", INSTANCES], "was not trained for 'instance-segmentation' but for depth"),
        (["--task", "depth", "--classes", "a"], "classes has no meaning for 'depth'"),
        (["--task", "depth", "--image-size", "100", "96"], "multiple of the tokenizer's 32 pixels"),
        (["--task", "depth", "--override", "model.lora.rnk=2"], "did you mean rank"),
    ],
)
def test_wrong_requests_are_one_sentence(tmp_path, depth_model, monkeypatch, capsys, arguments, message):
    rooms = write_rooms(tmp_path / "rooms")
    command = ["--model", depth_model, "--data", rooms, "--output", tmp_path / "new", "--depth-scale", 1000]
    monkeypatch.setattr(sys, "argv", ["finetune.py", *map(str, command), *arguments])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    sentence = capsys.readouterr().err.splitlines()[-1]
    assert sentence.startswith("finetune.py: ") and message in sentence


@pytest.mark.parametrize(
    ("names", "side", "message"),
    [(range(9), 64, "must be at least 10"), (range(12), 32, "give the pictures that"), (range(100, 112), 64, "exist")],
)
def test_nothing_is_written_before_a_file_is_divided(tmp_path, detector, monkeypatch, capsys, names, side, message):
    save_with_remote_code(detector, object_processor(), tmp_path / "model")
    (tmp_path / "images").mkdir()
    for number in range(12):
        Image.new("RGB", (64, side)).save(tmp_path / f"images/{number}.png")
    images = [{"id": k, "file_name": f"{name}.png", "height": 64, "width": 64} for k, name in enumerate(names)]
    own = {"category_id": 1, "bbox": [4, 4, 30, 30], "area": 900.0, "iscrowd": 0}
    content = {"images": images, "categories": [{"id": 1, "name": "cat"}]}
    content["annotations"] = [own | {"id": image["id"], "image_id": image["id"]} for image in images]
    (tmp_path / "objects.json").write_text(json.dumps(content))
    command = ["--model", tmp_path / "model", "--task", INSTANCES, "--data", tmp_path / "objects.json"]
    monkeypatch.setattr(sys, "argv", ["finetune.py", *map(str, command), "--output", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert message in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "new").exists()
