# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import zlib

import numpy as np
import pytest
import torch
from golden_data import load_case, relative_error

from ait_hf import AiTForDenseTokenGeneration, predict_with_windows_and_flip
from ait_hf.conversion.original import (
    DERIVED,
    DUPLICATE,
    config_from_original,
    convert_original_checkpoint,
    convert_state_dict,
    read_original_checkpoint,
)


CASES = ["08_e2e_depth_ar", "08_e2e_depth_parallel"]
INVENTORIES = [
    "swinv2b_480reso_depthonly",
    "swinv2b_480reso_depthonly_wosoft",
    "swinv2b_480reso_parallel_depthonly",
    "swinv2l_480reso_depthonly",
    "swinv2l_480reso_parallel_depthonly",
]


@pytest.fixture(scope="module", params=CASES)
def converted(request, golden_dir):
    case, tensors = load_case(golden_dir, request.param)
    model, processor = convert_original_checkpoint(golden_dir / request.param / "checkpoint.pth", case["config"])
    return model, processor, tensors


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
        assert torch.equal(outputs.sequences - codes.start, tensors[f"tokens_{name}"])
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
def test_every_key_of_a_released_depth_model_is_consumed(golden_dir, name):
    inventory = json.loads((golden_dir / "07_inventory" / f"{name}.json").read_text())
    config = config_from_original(hyperparameters(golden_dir, name))
    original = {key: torch.zeros(1).expand(entry["shape"]) for key, entry in inventory["keys"].items()}
    duplicates = {f"depth_head.{key}": tensor for key, tensor in original.items() if key.startswith("transformer.")}
    assert len(original) + len(duplicates) == inventory["num_keys_total"]
    assert all(DUPLICATE.match(key) for key in duplicates)
    converted = convert_state_dict(original | duplicates, config)
    with torch.device("meta"):
        expected = AiTForDenseTokenGeneration(config).state_dict()
    expected.pop("lm_head.weight")  # tied
    assert {key: tensor.shape for key, tensor in converted.items()} == {k: t.shape for k, t in expected.items()}
    consumed = [key for key in original if not DERIVED.search(key)]
    assert sum(original[key].numel() for key in consumed) == sum(tensor.numel() for tensor in converted.values())


def generated_weights(inventory: dict, case: dict) -> dict[str, torch.Tensor]:
    """The full-size golden case's weights, made from the key names by the recipe in its case.json."""
    weights = {}
    for key, entry in inventory.items():
        if DUPLICATE.match(key) or DERIVED.search(key):
            continue
        shape, leaf = entry["shape"], key.rsplit(".", 1)[-1]
        rs = np.random.RandomState((zlib.crc32(key.encode()) + 7919 * case["seed"]) % 2**32)
        if leaf == "logit_scale":
            value = rs.uniform(1.0, 5.2, shape)
        elif leaf == "_ema_cluster_size":
            value = rs.uniform(0.5, 20, shape)
        else:
            z = rs.standard_normal(shape)
            if len(shape) == 1 and leaf == "weight":
                value = 1 + 0.1 * z
            elif leaf == "outp_bias":
                value = 0.3 * z
            elif leaf in ("det_embed", "voc_embed", "dec_embed", "mask_embed"):
                value = 0.15 * z
            elif leaf in ("_embedding", "_ema_w"):
                value = z
            elif len(shape) == 1:
                value = 0.1 * z
            else:
                value = z * 1.4 / np.sqrt(np.prod(shape[1:]))
        weights[key] = torch.from_numpy(np.asarray(value, dtype=np.float32))
    last = "depth_head.vqvae.decoder.14"
    weights[f"{last}.weight"] *= case["dec_scale"]
    weights[f"{last}.bias"].fill_(4.0)
    return weights


def test_full_size_depth_model_matches_the_released_one(golden_dir):
    case, tensors = load_case(golden_dir, "09_full_swinv2b_depth_ar")
    inventory = json.loads((golden_dir / "07_inventory" / f"{case['released_config']}.json").read_text())["keys"]
    config = config_from_original(case["config"])
    with torch.device("meta"):
        model = AiTForDenseTokenGeneration(config).eval()
    converted = convert_state_dict(generated_weights(inventory, case), config)
    model.load_state_dict(converted, strict=False, assign=True)
    model.tie_weights()
    side = config.tasks["depth"]["image_size"][0]
    u8 = np.random.RandomState(case["input_seed"]).randint(0, 256, (3, side // 4, side // 4))
    image = torch.from_numpy((u8 / 255).astype(np.float32))[None]
    image = image.repeat_interleave(4, dim=-1).repeat_interleave(4, dim=-2)
    captured = []
    model.model.encoder.backbone.register_forward_hook(lambda *args: captured.append(args[-1].feature_maps[-1]))
    outputs = model.generate(pixel_values=image, task="depth", soft_temperature=0.8, output_logits=True)
    codes = config.vocabulary.codebooks["depth"]
    assert relative_error(captured[0][:, ::16], tensors["feat"]) < 1e-3
    logits = torch.stack(outputs.logits, dim=1)[..., codes.start : codes.stop]
    assert relative_error(logits, tensors["logits"]) < 1e-3
    assert torch.equal(outputs.sequences - codes.start, tensors["tokens"])
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
    unsupported = config | {"task_heads": config["task_heads"] | {"caption": {}}}
    with pytest.raises(ValueError, match="caption"):
        convert(weights, unsupported)
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
