# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import inspect
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from imports import imported_modules
from tiny import clear_model, mixed_config, tiny_config
from tiny_dense import CLASSES, LABELS, NORMALS, SEMANTICS, dense_config
from transformers import AutoConfig, ResNetConfig

from ait_hf import AiTConfig
from ait_hf.model.configuration_ait import OUTPUT_RULES, TOKENIZER_CONFIGS
from ait_hf.model.modeling_ait import OBJECTIVES, TOKENIZER_CLASSES


def test_released_vocabulary():
    """Offsets of reference.md, section 3."""
    config = AiTConfig()
    vocabulary = config.vocabulary
    assert vocabulary.coordinates == range(2001)
    assert vocabulary.classes == range(2001, 2081)
    assert vocabulary.noise_id == 2082
    assert vocabulary.codebooks == {"mask": range(2083, 2211), "depth": range(2211, 2339)}
    assert config.vocab_size == vocabulary.size == 2339
    assert AiTConfig(num_reserved_ids=128).vocab_size == 2467
    assert vocabulary.task_token_id(2) == 2341 and vocabulary.parallel_token_id == 2343


def test_a_depth_model_needs_no_object_ids():
    config = tiny_config(num_coordinate_bins=0, num_classes=0, codebooks=[["depth", 20]])
    assert config.vocabulary.codebooks["depth"] == range(2, 22) and config.vocab_size == 22


def fields(config: AiTConfig) -> dict:
    return {key: value for key, value in config.to_dict().items() if key != "_name_or_path"}


@pytest.mark.parametrize("make", [AiTConfig, tiny_config, mixed_config])
def test_json_round_trip_is_the_identity(make, tmp_path):
    config = make(parallel=True)
    config.save_pretrained(tmp_path)
    loaded = AiTConfig.from_pretrained(tmp_path)
    assert fields(loaded) == fields(config) == fields(AutoConfig.from_pretrained(tmp_path))
    assert loaded.vocabulary == config.vocabulary
    assert type(loaded.backbone_config) is type(config.backbone_config)
    assert fields(AiTConfig(**json.loads(config.to_json_string()))) == fields(config)


@given(
    bins=st.integers(0, 3000),
    classes=st.integers(0, 1500),
    codes=st.lists(st.integers(1, 9000), max_size=4),
    reserved=st.integers(0, 300),
)
def test_id_ranges_never_overlap_and_fill_the_vocabulary(bins, classes, codes, reserved):
    codebooks = [[f"book{number}", count] for number, count in enumerate(codes)]
    config = AiTConfig(
        num_coordinate_bins=bins,
        num_classes=classes,
        codebooks=codebooks,
        num_reserved_ids=reserved,
        tokenizers={},
        tasks={},
    )
    vocabulary = config.vocabulary
    ids = [*vocabulary.coordinates, *vocabulary.classes, vocabulary.noise_id]
    for book in vocabulary.codebooks.values():
        ids += [*book]
    assert len(ids) == len(set(ids)) and max(ids) < vocabulary.size
    assert vocabulary.size == len(ids) + 1 + reserved  # one id is unused, as released
    assert vocabulary.task_token_id(0) == vocabulary.size


DEPTH = tiny_config().tasks["depth"]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"d_model": 30}, "must be divisible by num_heads"),
        ({"codebooks": [["depth", 21]]}, "has 20 codes but codebooks gives it 21"),
        ({"codebooks": [["depth", 20], ["depth", 20]]}, "one codebook twice"),
        ({"tasks": {"depth": DEPTH | {"task_id": 4}}}, "Task ids must differ and lie in 0..3"),
        ({"tasks": {"a": DEPTH, "b": DEPTH}}, "Task ids must differ"),
        ({"tasks": {"depth": DEPTH | {"slots": ["deep"]}}}, r"unknown slots \['deep'\]"),
        ({"tasks": {"depth": DEPTH | {"grid_size": None}}}, "needs grid_size"),
        ({"tasks": {"depth": DEPTH | {"slots": ["mask"], "output_type": None}}}, "there is no tokenizer of that name"),
        ({"tasks": {"depth": DEPTH | {"auxiliary_loss": "ssim"}}}, "auxiliary_loss is one of"),
        ({"tasks": {"depth": DEPTH | {"output_type": "flow"}}}, "output_type is one of"),
        ({"tasks": {"depth": DEPTH | {"num_groups": 2}}}, "one dense block and nothing else"),
        ({"max_position_embeddings": 8}, "has 9 tokens"),
        ({"num_coordinate_bins": 0, "tasks": mixed_config().tasks, "tokenizers": mixed_config().tokenizers}, "coord"),
        ({"num_classes": 0, "tasks": mixed_config().tasks, "tokenizers": mixed_config().tokenizers}, "classes"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


def test_number_of_labels_is_the_number_of_classes(tmp_path):
    names = [f"LABEL_{index}" for index in range(5)]
    config = mixed_config(num_classes=7)
    config.save_pretrained(tmp_path)
    set_later = mixed_config()
    set_later.num_labels = 5
    for config in (mixed_config(num_labels=5), AiTConfig.from_pretrained(tmp_path, num_labels=5), set_later):
        assert config.num_labels == config.num_classes == len(config.vocabulary.classes) == 5
        assert list(config.id2label.values()) == list(config.label2id) == names
        config.save_pretrained(tmp_path / "changed")
        assert AiTConfig.from_pretrained(tmp_path / "changed").num_classes == 5


def test_names_of_classes_stay_if_their_number_does():
    config = mixed_config(num_classes=2, id2label={0: "chair", 1: "lamp"})
    config.num_labels = 2
    assert config.id2label == {0: "chair", 1: "lamp"}


def test_unknown_task_names_the_known_ones():
    with pytest.raises(ValueError, match=r"Unknown task 'normals': this model was built for \['depth'\]"):
        tiny_config().task("normals")


def test_unknown_fields_of_a_task_or_tokenizer_are_refused():
    with pytest.raises(TypeError, match="grid"):
        tiny_config(tasks={"depth": DEPTH | {"grid": [3, 3]}})
    with pytest.raises(TypeError, match="codes"):
        tiny_config(tokenizers={"depth": {"codes": 3}})


def test_another_architecture_is_refused(tmp_path):
    ResNetConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="holds a 'resnet' model, not an AiT model"):
        AiTConfig.from_pretrained(tmp_path)


def test_every_output_type_has_rules_and_an_objective_and_every_tokenizer_a_class():
    assert [objective.output_type for objective in OBJECTIVES].count(None) == 1
    assert {objective.output_type for objective in OBJECTIVES} == {None, *OUTPUT_RULES} and len(OBJECTIVES) == 7
    assert TOKENIZER_CONFIGS.keys() == TOKENIZER_CLASSES.keys() >= {r.tokenizer_type for r in OUTPUT_RULES.values()}


def test_a_configuration_is_validated_without_torch():
    assert not {"torch", "torchvision"} & imported_modules(Path(inspect.getfile(AiTConfig)))


def test_classes_of_a_task():
    config = dense_config()
    assert config.classes(SEMANTICS) == config.classes(LABELS) == range(CLASSES.start, CLASSES.stop)
    assert config.classes(NORMALS) == range(0)  # it has none
    assert mixed_config().classes("objects") == range(6)  # all of the model's
    assert config.class_names(SEMANTICS) == [config.id2label[number] for number in CLASSES]
    with pytest.raises(ValueError, match="Unknown task 'flow'"):
        config.classes("flow")


def test_a_task_without_a_meaning_is_decoded_but_not_learned():
    model = clear_model(mixed_config())
    images = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    outputs = model.generate(pixel_values=images)
    assert model.detokenize(outputs).shape == (1, 3, 32, 32) and outputs.pred_boxes is None
    with pytest.raises(ValueError, match="Task 'objects' declares no output_type"):
        model(batches={"objects": {"pixel_values": images, "labels": [{}]}})
