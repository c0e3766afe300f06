# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The released AiT checkpoints as ours: configuration, parameter names, weights."""

import re
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

from ..model.configuration_ait import AiTConfig, AiTTaskConfig
from ..model.generation_ait import AiTGenerationConfig
from ..model.image_processing_ait import AiTImageProcessor
from ..model.modeling_ait import AiTForDenseTokenGeneration
from .swinv2 import convert_swinv2_state_dict, renamed, swinv2_config_from_original
from .vq_tokenizer import convert_vq_tokenizer_state_dict, vq_tokenizer_config_from_original
from .weight_files import check_weights, read_original_checkpoint


# The task embeddings and the parallel token are rows of one table of ours.
SPECIAL_EMBEDDINGS = ("transformer.det_embed", "transformer.mask_embed")
SPECIAL_EMBEDDING = "model.decoder.embed_special.weight"
# From names in the original task-solver to ours, see `renamed`.
RULES = (
    (r"^transformer\.(?:det|mask)_embed$", SPECIAL_EMBEDDING),
    (r"^transformer\.encoder\.blocks\.(\d+)\.norm2\.", r"model.encoder.layers.\1.mlp_norm."),
    (r"^transformer\.encoder\.blocks\.", "model.encoder.layers."),
    (r"^transformer\.decoder\.blocks\.(\d+)\.norm2\.", r"model.decoder.layers.\1.cross_attn_norm."),
    (r"^transformer\.decoder\.blocks\.(\d+)\.norm3\.", r"model.decoder.layers.\1.mlp_norm."),
    (r"^transformer\.decoder\.blocks\.", "model.decoder.layers."),
    (r"^transformer\.input_proj\.", "model.encoder.input_projection."),
    (r"^transformer\.stem_ln\.", "model.encoder.input_norm."),
    (r"^transformer\.encout_ln\.", "model.encoder.norm."),
    (r"^transformer\.proj_mlp_ln\.", "model.encoder.memory_mlp_norm."),
    (r"^transformer\.proj\.", "model.encoder.memory_projection."),
    (r"^transformer\.proj_ln\.", "model.encoder.memory_norm."),
    (r"^transformer\.proj_mlp\.", "model.encoder.memory_mlp."),
    (r"^transformer\.norm\.", "model.decoder.norm."),
    (r"^transformer\.voc_embed$", "model.decoder.embed_tokens.weight"),
    (r"^transformer\.dec_embed$", "model.decoder.embed_positions.weight"),
    (r"^transformer\.outp_bias$", "lm_head.bias"),
    (r"\.norm1\.", ".self_attn_norm."),
    (r"\.crossattn\.", ".cross_attn."),
    (r"\.attn\.", ".self_attn."),
    (r"\.w([qkv])\.", r".\1_proj."),
    (r"_attn\.proj\.", "_attn.out_proj."),
)
# Buffers that follow from the configuration.
DERIVED = re.compile(r"(^transformer\.enc_embed|\.loss_seq\.weight|relative_coords_table|relative_position_index)$")
# A head repeats the whole task-solver under its own name.
DUPLICATE = re.compile(r"^\w+_head\.transformer\.")
TOKENIZER = re.compile(r"^(\w+)_head\.vqvae\.")
TASK_OF_HEAD = {"det": "object-detection", "insseg": "instance-segmentation", "depth": "depth"}
CODEBOOK_OF_HEAD = {"insseg": "mask", "depth": "depth"}
# COCO's 80 object classes in the order of their category ids, which original checkpoints do not store.
_CATEGORIES = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]
COCO_CLASSES = [name for name in _CATEGORIES if name not in ("__background__", "N/A")]
# Of configurations that do not say, such as the released detection model's (reference §4 and §10).
DEFAULT_NUM_OBJECTS = 100
DEFAULT_TOP_P = 0.4


def original_parameter_name(name: str) -> str:
    """Our name of an original task-solver parameter (`transformer.*`); `ValueError` if there is no such."""
    ours = renamed(name, RULES)
    if ours == name:
        raise ValueError(f"{name!r} is not a parameter of the original task-solver.")
    return ours


def config_from_original(original: dict[str, Any]) -> AiTConfig:
    """
    [`AiTConfig`] of an original model dictionary (`{"type": "AiT", "backbone": ..., "transformer": ..., "task_heads":
    ...}`). `ValueError` if an entry is missing, or a head or a setting of one is not supported.
    """
    try:
        solver, heads = original["transformer"], original["task_heads"]
        if unsupported := sorted(heads.keys() - TASK_OF_HEAD.keys()):
            raise ValueError(f"Heads {unsupported} cannot be converted; supported are {sorted(TASK_OF_HEAD)}.")
        tasks = {TASK_OF_HEAD[name]: _task_from_head(name, heads[name]) for name in TASK_OF_HEAD if name in heads}
        if not tasks:
            raise ValueError(
                f"task_heads of the original configuration is empty; it needs some of {sorted(TASK_OF_HEAD)}."
            )
        frame = original.get("padto") or max(max(task["image_size"]) for task in tasks.values())
        codebooks = [["mask", solver["num_embeddings"]], ["depth", solver["num_embeddings_depth"]]]
        used = solver["num_bins"] + 1 + solver["num_classes"] + 2 + sum(size for _, size in codebooks)
        config = AiTConfig(
            backbone_config={"model_type": "ait_swinv2", **swinv2_config_from_original(original["backbone"], frame)},
            tokenizers={
                codebook: vq_tokenizer_config_from_original(heads[name]["vae_cfg"])
                for name, codebook in CODEBOOK_OF_HEAD.items()
                if name in heads
            },
            tasks=tasks,
            codebooks=codebooks,
            num_coordinate_bins=solver["num_bins"],
            num_classes=solver["num_classes"],
            id2label=dict(enumerate(COCO_CLASSES)) if solver["num_classes"] == len(COCO_CLASSES) else None,
            num_reserved_ids=solver["num_vocal"] - used,
            num_task_ids=solver.get("ntasks", 4),
            parallel=solver.get("parallel", False),
            d_model=solver["d_model"],
            encoder_layers=solver["num_encoder_layers"],
            decoder_layers=solver["num_decoder_layers"],
            num_heads=solver["nhead"],
            ffn_dim=solver["dim_feedforward"],
            dropout=solver["drop_out"],
            drop_path_rate=solver["drop_path"],
            max_position_embeddings=solver["dec_length"],
            pad_images_to=[original["padto"]] * 2 if original.get("padto") else None,
        )
        ours = config.vocabulary.codebooks["depth"].start
        if "depth" in heads and heads["depth"]["depth_token_offset"] != ours:
            raise ValueError(
                f"The original depth codes begin at id {heads['depth']['depth_token_offset']}, the configured vocabulary "
                f"puts them at {ours}."
            )
    except KeyError as error:
        raise ValueError(f"The original configuration lacks the entry {error}.") from error
    return config


def _task_from_head(name: str, head: dict[str, Any]) -> dict[str, Any]:
    """Arguments of [`AiTTaskConfig`] for an original head."""
    task = {"task_id": head["task_id"], "loss_weight": float(head.get("loss_weight", 1.0))}
    if name == "depth":
        side = head["vae_cfg"]["mask_size"]
        depth = {"output_type": "depth", "slots": ["depth"], "image_size": [side, side]}
        return task | depth | _codes(head, "silog")
    if head.get("coord_norm", "abs") != "abs":
        raise ValueError(f"coord_norm of the head {name!r} is {head['coord_norm']!r}; only 'abs' can be converted.")
    task |= {"output_type": "objects", "slots": ["coordinate"] * 4 + ["class"], "image_size": [head["norm_val"]] * 2}
    task["num_groups"] = head.get("num_query", DEFAULT_NUM_OBJECTS)
    if name == "insseg":
        task["slots"] += ["mask"]
        task |= {"dense_loss_weight": float(head["mask_weight"]), **_codes(head, "dice_mse")}
    return task


def _codes(head: dict[str, Any], auxiliary_loss: str) -> dict[str, Any]:
    """What a task with codes declares about them and about the loss on what they decode to."""
    vae = head["vae_cfg"]
    rows = int(vae["token_length"] ** 0.5)
    return {
        "grid_size": [rows, rows],
        "soft_temperature": float(vae.get("tau", 1.0)),
        "auxiliary_loss": auxiliary_loss if head.get("decoder_loss_weight") else None,
        "auxiliary_loss_weight": float(head.get("decoder_loss_weight", 1.0)),
    }


def generation_config_from_original(original: dict[str, Any], config: AiTConfig) -> AiTGenerationConfig:
    """
    How the released evaluation decodes: soft or hard, separately for task-solver and detokenizer; boxes and classes by
    nucleus sampling, or the most likely ones where `top_p` is 0.
    """
    generation_config = AiTGenerationConfig.from_model_config(config)
    solver = original["transformer"]
    generation_config.soft_solver = bool(solver.get("soft_transformer", False)) and not config.parallel
    generation_config.soft_detokenizer = bool(solver.get("soft_vae", False))
    if top_p := solver.get("top_p", DEFAULT_TOP_P):
        generation_config.do_sample, generation_config.top_p = True, top_p
    return generation_config


def convert_state_dict(
    original: dict[str, torch.Tensor], config: AiTConfig, tokenizers: dict[str, dict[str, torch.Tensor]] | None = None
) -> dict[str, torch.Tensor]:
    """
    All weights of [`AiTForDenseTokenGeneration`] from an original state dict as of [`read_original_checkpoint`], for a
    config as of [`config_from_original`]; original tokenizer weights by name take the place of those inside.
    `ValueError` if keys are missing or unexpected, shapes differ, or a head's copy of the solver differs.
    """
    backbone, solver, inside, unexpected = {}, {}, {}, []
    for key, tensor in original.items():
        if DUPLICATE.match(key):
            canonical = "transformer." + key.split(".transformer.", 1)[1]
            if canonical not in original or not torch.equal(tensor, original[canonical]):
                raise ValueError(f"{key} should repeat {canonical}, but the two differ: this is no released layout.")
        elif key.startswith("backbone."):
            backbone[key] = tensor
        elif match := TOKENIZER.match(key):
            inside.setdefault(CODEBOOK_OF_HEAD.get(match[1], match[1]), {})[key[match.end() :]] = tensor
        elif key.startswith("transformer.") and not DERIVED.search(key):
            solver[key] = tensor
        elif not DERIVED.search(key):
            unexpected.append(key)
    if unexpected:
        raise ValueError(f"Unexpected keys in the checkpoint: {', '.join(sorted(unexpected))}.")
    converted = _convert_solver(solver, config)
    backbone = convert_swinv2_state_dict(backbone, config.backbone_config, "original")
    converted |= {f"model.encoder.backbone.{key}": tensor for key, tensor in backbone.items()}
    for name, weights in (inside | (tokenizers or {})).items():
        if name not in config.tokenizers:
            raise ValueError(
                f"There are weights of a {name!r} tokenizer, but the configuration has none of that name."
            )
        ours = convert_vq_tokenizer_state_dict(weights, config.tokenizers[name])
        converted |= {f"tokenizers.{name}.{key}": tensor for key, tensor in ours.items()}
    return converted


def _convert_solver(original: dict[str, torch.Tensor], config: AiTConfig) -> dict[str, torch.Tensor]:
    special = list(SPECIAL_EMBEDDINGS[: 2 if config.parallel else 1])
    if missing := [key for key in special if key not in original]:
        raise ValueError(
            f"The checkpoint lacks {', '.join(missing)}; the configuration says parallel={config.parallel}."
        )
    if not config.parallel and SPECIAL_EMBEDDINGS[1] in original:
        raise ValueError(
            f"The checkpoint has {SPECIAL_EMBEDDINGS[1]}, so it is a parallel model, but the configuration says it is not."
        )
    rest = {key: tensor for key, tensor in original.items() if key not in special}
    converted = {original_parameter_name(key): tensor for key, tensor in rest.items()}
    converted[SPECIAL_EMBEDDING] = torch.cat([original[key].flatten(0, 1) for key in special])
    positions = "model.decoder.embed_positions.weight"
    if positions in converted:
        converted[positions] = converted[positions].flatten(0, 1)
    return converted


def convert_original_checkpoint(
    checkpoint: str | Path, original_config: dict[str, Any], tokenizers: dict[str, str | Path] | None = None
) -> tuple[AiTForDenseTokenGeneration, dict[str, AiTImageProcessor]]:
    """
    Model of a released checkpoint (a `.pth` file, its model dictionary and perhaps files of tokenizer weights by
    name), and the image processor of each of its tasks, object tasks first. `FileNotFoundError` if a file is missing,
    `ValueError`, which names the keys, if files and configuration do not fit.
    """
    config = config_from_original(original_config)
    original = read_original_checkpoint(checkpoint)
    weights = {name: read_original_checkpoint(path) for name, path in (tokenizers or {}).items()}
    converted = convert_state_dict(original, config, weights)
    model = AiTForDenseTokenGeneration(config)
    expected = {key: tensor.shape for key, tensor in model.state_dict().items() if key != "lm_head.weight"}
    check_weights(converted, expected, "The checkpoint, by our names,")
    model.load_state_dict(converted, strict=False)  # strict but for the tied classifier, as just checked
    model.generation_config = generation_config_from_original(original_config, config)
    return model.eval(), {name: _image_processor(config.task(name)) for name in config.tasks}


def _image_processor(task: AiTTaskConfig) -> AiTImageProcessor:
    """Depth models see images in 0..1, object models ImageNet-normalised ones at the top left of a frame."""
    size = dict(zip(("height", "width"), task.image_size))
    if task.output_type == "depth":
        return AiTImageProcessor(size=size, do_normalize=False)
    within = {f"max_{name}": side for name, side in size.items()}
    return AiTImageProcessor(size=within, do_normalize=True, do_pad=True, pad_size=size)
