# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json

import pytest
import torch
from golden_data import load_case, relative_error
from golden_models import full_size_image, full_size_model, full_size_weights, released_keys

from ait_hf import AiTForDenseTokenGeneration, predict_with_windows_and_flip
from ait_hf.conversion.original import (
    DERIVED,
    DUPLICATE,
    config_from_original,
    convert_original_checkpoint,
    convert_state_dict,
    generation_config_from_original,
    read_original_checkpoint,
)


CASES = ["08_e2e_depth_ar", "08_e2e_depth_parallel"]
INVENTORIES = [
    "swinv2b_480reso_depthonly",
    "swinv2b_480reso_depthonly_wosoft",
    "swinv2b_480reso_parallel_depthonly",
    "swinv2b_640reso_detonly",
    "swinv2b_640reso_inssegonly",
    "swinv2b_640reso_inssegonly_wosoft",
    "swinv2b_640reso_joint",
    "swinv2l_480reso_depthonly",
    "swinv2l_480reso_parallel_depthonly",
]


@pytest.fixture(scope="module", params=CASES)
def converted(request, golden_dir):
    case, tensors = load_case(golden_dir, request.param)
    model, processors = convert_original_checkpoint(golden_dir / request.param / "checkpoint.pth", case["config"])
    assert list(processors) == ["depth"]
    return model, processors["depth"], tensors


def test_end_to_end_depth_matches_the_released_model(converted):
    model, _, tensors = converted
    crop = tensors["image"][..., : tensors["image"].shape[-2]]
    with torch.no_grad():
        features = model.model.encoder.backbone(crop).feature_maps[-1]
    assert relative_error(features, tensors["crop0_feat"]) < 1e-4
    codes = model.config.vocabulary.codebooks["depth"]
    settings = {"soft_soft": (True, True), "hard_hard": (False, False), "softtf_hardvae": (True, False)}
    settings["hardtf_softvae"] = (False, True)
    tested = 0
    for name, (soft_solver, soft_detokenizer) in settings.items():
        if f"depth_{name}" not in tensors:
            continue
        outputs = model.generate(
            pixel_values=crop,
            task="depth",
            soft_solver=soft_solver,
            soft_detokenizer=soft_detokenizer,
            soft_temperature=0.8,
        )
        assert torch.equal(outputs.sequences[:, 1:] - codes.start, tensors[f"tokens_{name}"])
        assert relative_error(outputs.soft_tokens, tensors[f"logits_{name}"].softmax(-1)) < 1e-4
        assert relative_error(model.detokenize(outputs, task="depth"), tensors[f"depth_{name}"]) < 1e-4
        tested += 1
    assert tested == (2 if model.config.parallel else 4)


def test_published_protocol_matches_the_released_model(converted):
    model, _, tensors = converted
    # The released settings come with the conversion.
    depth = predict_with_windows_and_flip(
        tensors["image"], lambda crops: model.generate(pixel_values=crops).predicted_depth, num_windows=2, flip=True
    )
    assert relative_error(depth, tensors["depth_full"]) < 1e-4


def test_conversion_survives_saving(converted, tmp_path):
    model, processor, tensors = converted
    crop = tensors["image"][..., :96]
    model.save_pretrained(tmp_path)
    loaded = AiTForDenseTokenGeneration.from_pretrained(tmp_path)
    before, after = model.generate(pixel_values=crop), loaded.generate(pixel_values=crop)
    assert torch.equal(before.sequences, after.sequences)
    # Not to the bit: the CPU's matrix kernels round by the alignment of the weights in memory.
    torch.testing.assert_close(before.predicted_depth, after.predicted_depth, rtol=1e-5, atol=1e-5)
    assert processor.size == {"height": 96, "width": 96} and not processor.do_normalize


def hyperparameters(golden_dir, name: str) -> dict:
    return json.loads((golden_dir / "07_inventory" / "released_hyperparameters.json").read_text())[name]["model"]


@pytest.mark.parametrize("name", INVENTORIES)
def test_every_key_of_a_released_model_is_consumed(golden_dir, name):
    released = hyperparameters(golden_dir, name)
    config = config_from_original(released)
    original = {key: torch.zeros(1).expand(entry["shape"]) for key, entry in released_keys(golden_dir, name).items()}
    solver = {key: tensor for key, tensor in original.items() if key.startswith("transformer.")}
    duplicates = {f"{head}_head.{key}": tensor for head in released["task_heads"] for key, tensor in solver.items()}
    inventory = json.loads((golden_dir / "07_inventory" / f"{name}.json").read_text())
    assert len(original) + len(duplicates) == inventory["num_keys_total"]
    assert all(DUPLICATE.match(key) for key in duplicates)
    converted = convert_state_dict(original | duplicates, config)
    with torch.device("meta"):
        expected = AiTForDenseTokenGeneration(config).state_dict()
    expected.pop("lm_head.weight")  # tied
    assert {key: tensor.shape for key, tensor in converted.items()} == {k: t.shape for k, t in expected.items()}
    consumed = [key for key in original if not DERIVED.search(key)]
    assert sum(original[key].numel() for key in consumed) == sum(tensor.numel() for tensor in converted.values())


def test_configurations_of_the_released_object_models(golden_dir):
    detection, instance, joint = (
        config_from_original(hyperparameters(golden_dir, f"swinv2b_640reso_{name}"))
        for name in ("detonly", "inssegonly", "joint")
    )
    assert (detection.vocab_size, instance.vocab_size, joint.vocab_size) == (2339, 2467, 2467)
    assert [list(config.tokenizers) for config in (detection, instance, joint)] == [[], ["mask"], ["mask", "depth"]]
    assert list(detection.tasks) == ["object-detection"]
    assert list(instance.tasks) == ["object-detection", "instance-segmentation"]
    assert list(joint.tasks) == ["instance-segmentation", "depth"]
    assert joint.pad_images_to == [640, 640] and joint.backbone_config.image_size == 640
    task = instance.task("instance-segmentation")
    assert (task.task_id, task.num_groups, task.image_size, task.grid_size) == (1, 100, [640, 640], [4, 4])
    assert (task.dense_loss_weight, task.auxiliary_loss, task.auxiliary_loss_weight) == (0.2, "dice_mse", 5.0)
    assert joint.task("depth").loss_weight == 0.2 and joint.task("depth").soft_temperature == 1.0
    assert joint.vocabulary.codebooks == {"mask": range(2083, 2211), "depth": range(2211, 2339)}
    assert len(set(joint.id2label.values())) == 80
    assert [joint.id2label[index] for index in (0, 17, 56, 79)] == ["person", "horse", "chair", "toothbrush"]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("swinv2b_480reso_depthonly", {"do_sample": None, "soft_solver": True, "task": "depth"}),
        ("swinv2b_480reso_parallel_depthonly", {"do_sample": None, "soft_solver": False, "soft_detokenizer": True}),
        ("swinv2b_640reso_detonly", {"do_sample": True, "top_p": 0.4, "task": "object-detection"}),
        ("swinv2b_640reso_inssegonly", {"do_sample": True, "top_p": 0.3, "soft_solver": True, "task": None}),
        ("swinv2b_640reso_inssegonly_wosoft", {"do_sample": True, "soft_solver": False, "soft_detokenizer": False}),
        ("swinv2b_640reso_joint", {"do_sample": True, "top_p": 0.3, "soft_detokenizer": True, "task": None}),
    ],
)
def test_released_models_decode_as_they_were_evaluated(golden_dir, name, expected):
    original = hyperparameters(golden_dir, name)
    settings = generation_config_from_original(original, config_from_original(original))
    assert {key: getattr(settings, key) for key in expected} == expected


def test_full_size_depth_model_matches_the_released_one(golden_dir):
    case, tensors = load_case(golden_dir, "09_full_swinv2b_depth_ar")
    weights = full_size_weights(golden_dir, case)
    last = "depth_head.vqvae.decoder.14"
    weights[f"{last}.weight"] *= case["dec_scale"]
    weights[f"{last}.bias"].fill_(4.0)
    model, captured = full_size_model(case, weights), []
    image = full_size_image(case["input_seed"], model.config.tasks["depth"]["image_size"][0])
    model.model.encoder.backbone.register_forward_hook(lambda *args: captured.append(args[-1].feature_maps[-1]))
    outputs = model.generate(pixel_values=image, task="depth", soft_temperature=0.8, output_logits=True)
    codes = model.config.vocabulary.codebooks["depth"]
    assert relative_error(captured[0][:, ::16], tensors["feat"]) < 1e-3
    logits = torch.stack(outputs.logits, dim=1)[..., codes.start : codes.stop]
    assert relative_error(logits, tensors["logits"]) < 1e-3
    assert torch.equal(outputs.sequences[:, 1:] - codes.start, tensors["tokens"])
    assert relative_error(model.detokenize(outputs)[:, ::4, ::4], tensors["depth"]) < 1e-3


@pytest.fixture()
def small_checkpoint(golden_dir):
    case, _ = load_case(golden_dir, CASES[0])
    return case["config"], read_original_checkpoint(golden_dir / CASES[0] / "checkpoint.pth")


def test_bad_checkpoints_are_refused_by_name(small_checkpoint, golden_dir, tmp_path):
    config, weights = small_checkpoint

    def convert(changed, original_config=config):
        torch.save({"state_dict": changed}, tmp_path / "changed.pth")
        return convert_original_checkpoint(tmp_path / "changed.pth", original_config)

    lacking = {k: t for k, t in weights.items() if not k.endswith("transformer.stem_ln.bias")}
    with pytest.raises(ValueError, match="input_norm.bias"):
        convert(lacking)
    with pytest.raises(ValueError, match="extra.weight"):
        convert(weights | {"extra.weight": torch.zeros(2)})
    with pytest.raises(ValueError, match="two differ"):
        convert(weights | {"depth_head.transformer.norm.bias": torch.ones(32)})
    wrong = {k: torch.zeros(5) if k.endswith("transformer.norm.bias") else t for k, t in weights.items()}
    with pytest.raises(ValueError, match=r"decoder.norm.bias is \(5,\)"):
        convert(wrong)
    parallel = config | {"transformer": config["transformer"] | {"parallel": True}}
    with pytest.raises(ValueError, match="mask_embed"):
        convert(weights, parallel)
    with pytest.raises(ValueError, match="lacks the entry 'transformer'"):
        convert(weights, {key: value for key, value in config.items() if key != "transformer"})
    with pytest.raises(ValueError, match="task_heads .* is empty"):
        convert(weights, config | {"task_heads": {}})
    unsupported = config | {"task_heads": config["task_heads"] | {"caption": {}}}
    with pytest.raises(ValueError, match="caption"):
        convert(weights, unsupported)
    depth_head = config["task_heads"]["depth"]
    with pytest.raises(ValueError, match="codes begin at id 5"):
        convert(weights, config | {"task_heads": {"depth": depth_head | {"depth_token_offset": 5}}})
    with pytest.raises(ValueError, match="only 'abs' can be converted"):
        convert(weights, config | {"task_heads": {"det": {"task_id": 0, "norm_val": 96, "coord_norm": "rel"}}})
    content = (golden_dir / CASES[0] / "checkpoint.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="truncated"):
        convert_original_checkpoint(tmp_path / "cut.pth", config)
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        convert_original_checkpoint(tmp_path / "none.pth", config)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_pickled_code_is_not_executed(tmp_path, capsys):
    torch.save({"state_dict": {"x": Evil()}}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="tensors only"):
        read_original_checkpoint(tmp_path / "evil.pth")
    assert "executed" not in capsys.readouterr().out


def test_prefixed_and_bare_layouts_are_read(small_checkpoint, tmp_path):
    _, weights = small_checkpoint
    torch.save({f"module.{key}": tensor for key, tensor in weights.items()}, tmp_path / "bare.pth")
    assert read_original_checkpoint(tmp_path / "bare.pth").keys() == weights.keys()
    torch.save({"weights": weights}, tmp_path / "weights.pt")
    assert read_original_checkpoint(tmp_path / "weights.pt").keys() == weights.keys()
