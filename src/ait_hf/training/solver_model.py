# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The model that a task-solver's recipe starts from."""

import difflib
import itertools
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from transformers import AutoBackbone, AutoConfig, PreTrainedConfig, PreTrainedModel, TimmBackboneConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES
from transformers.utils import cached_file

from ait_hf_cli.models import find_model

from ..conversion.efficientnet import NAME as EFFICIENTNET_LITE0
from ..conversion.efficientnet import load_efficientnet_lite0
from ..conversion.swinv2 import load_pretrained_backbone
from ..data.pixels import Normalize, mean_and_std, normalization
from ..inference.loading import load_solver, load_tokenizer, loading
from ..model.configuration_ait import AiTConfig, AiTSwinv2Config
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..recipes.parsing import check_keys, speaking_of
from ..tasks.base import RELEASED_CODEBOOKS, Kind, class_table, classes_of_model, name_by_order, tokenizer_arguments
from .adaptation import adapt_solver, start_from_codebooks
from .lora import LoRARecipe, add_adapters


logger = logging.getLogger(__name__)

RELEASED_TASK_IDS = 4
FIRST_OWN_TASK_ID = 5  # behind those of the known tasks
# What the recipe sets elsewhere is not a key of its sections `model.config` and `model.backbone_config`.
_CONFIG_KEYS = set(AiTConfig.__annotations__) - {"backbone_config", "tokenizers", "tasks", "parallel", "model_type"}
_CONFIG_KEYS.add("attn_implementation")
_SWINV2_KEYS = {key for key in AiTSwinv2Config.__annotations__ if not key.startswith("_")} - {"image_size"}
_PRETRAINED_SWINV2_KEYS = {"window_sizes", "shifted_stages", "drop_path_rate"}
_KEYS_WITH_PRETRAINED = ("pretrained", "adapt", "classes_by_order", "lora", "gradient_checkpointing")
_ENCODER_KEYS = ("feature_stride", "d_model", "encoder_layers", "num_heads", "ffn_dim")


@strict
@dataclass
class SolverModelRecipe:
    """
    Args:
        pretrained (`str`, *optional*): Folder or Hub name of a whole AiT model to train on; nothing else but `adapt`,
            `classes_by_order`, `lora` and `gradient_checkpointing` goes with it, and no tokenizers and settings in the tasks.
        adapt (`bool`): Changes the pretrained model to classes and image sizes of the data, and to tokenizers that
            tasks name; what does not mean the same any more starts anew, and is named in the log. Without it, other
            classes or sizes are an error.
        classes_by_order (`bool`): The pretrained model has no names of its classes (`LABEL_0`, ...): they are those of the
            data, in the same order, and are called so from now on. Classes with names are paired by these.
        lora (`LoRARecipe`, *optional*): Trains low-rank adapters of the pretrained model's attentions instead of all
            weights. The saved model has them merged; without `adapt` they also lie beside it, in `adapter/`.
        initialize_from (`str`, *optional*): Folder or Hub name of an AiT model whose backbone and encoder are taken
            over; decoder, embeddings and classifier are new. `backbone_config` may change `window_sizes`,
            `shifted_stages` and `drop_path_rate` of a SwinV2.
        backbone (`str`, *optional*): Folder or Hub name of weights to start the backbone from: a SwinV2 of
            transformers or timm (which becomes ours), or any `AutoBackbone`; a name without a slash is timm's, but
            "efficientnet-lite0" that of the extra `imagenet`, for which nothing is downloaded.
        backbone_config (`dict`): Fields of [`AiTSwinv2Config`] (but `image_size`, which is the largest of the tasks),
            or of another backbone's configuration if `model_type` is among them. With a SwinV2 `backbone` only
            `window_sizes`, `shifted_stages`, `drop_path_rate`; with another none.
        parallel (`bool`): AiT-P: all codes of a dense block are predicted in one forward.
        config (`dict`): Other fields of [`AiTConfig`]. `codebooks` are those of the tasks' tokenizers by default,
            `num_classes` and `id2label` those of the data, `pad_images_to` the largest image if they differ.
        gradient_checkpointing (`bool`): Computes activations twice instead of keeping them.
        code_embeddings (`str`): What the embeddings of codes start from: `"normal"` (as released) or `"waves"` over
            the codebooks, from which small models learn several times sooner (`docs/log.md`).
    """

    pretrained: str | None = None
    adapt: bool = False
    classes_by_order: bool = False
    lora: LoRARecipe | None = None
    initialize_from: str | None = None
    backbone: str | None = None
    backbone_config: dict[str, Any] = field(default_factory=dict)
    parallel: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    gradient_checkpointing: bool = False
    code_embeddings: Literal["normal", "waves"] = "normal"

    def __post_init__(self):
        for name in ("pretrained", "initialize_from"):
            if (source := getattr(self, name)) is not None:
                setattr(self, name, find_model(source))

    def validate_source(self):
        check_keys("section model.config", self.config, _CONFIG_KEYS)
        if self.initialize_from is not None and self.backbone is not None:
            raise ValueError("backbone has no effect with initialize_from, which brings its own: leave it out.")
        if self.pretrained is None:
            if self.adapt or self.classes_by_order or self.lora is not None:
                raise ValueError(
                    "adapt, classes_by_order and lora go with pretrained, the model to change: give that."
                )
            return
        for f in fields(self):
            default = f.default_factory() if callable(f.default_factory) else f.default
            if f.name not in _KEYS_WITH_PRETRAINED and getattr(self, f.name) != default:
                raise ValueError(f"{f.name} has no effect with pretrained, which is a whole model: leave it out.")


def build_solver(tasks: Mapping[str, Kind], options: SolverModelRecipe) -> AiTForDenseTokenGeneration:
    """
    The model that a recipe starts from, with its tokenizers and its pretrained backbone: the head of its task, or
    [`AiTForDenseTokenGeneration`] for several.

    Raises:
        FileNotFoundError, OSError: A checkpoint does not exist.
        ValueError: The parts do not fit together.
    """
    model_class = next(iter(tasks.values())).model_class if len(tasks) == 1 else AiTForDenseTokenGeneration
    if options.pretrained is not None:
        return _pretrained(model_class, tasks, options)
    tokenizers = {task.codebook: trained_tokenizer(task) for task in tasks.values() if task.codebook is not None}
    size = largest_size(tasks)
    donor = None
    if options.initialize_from is not None:
        donor = load_solver(options.initialize_from)
        backbone_config, backbone_weights = donated_backbone(options, size, donor.config), None
    else:
        backbone_config, backbone_weights = named_backbone(options, size)
    with speaking_of("In section model"):
        config = solver_config(tasks, options, size, tokenizers, backbone_config)
    if donor is not None:
        _check_encoders(donor.config, config, options.initialize_from)
    model = model_class(config)
    if donor is not None:
        model.model.encoder.load_state_dict(donor.model.encoder.state_dict())
    if backbone_weights is not None:
        _load_backbone(model.model.encoder.backbone, backbone_weights, options.backbone)
    for name, tokenizer in tokenizers.items():
        model.load_tokenizer(name, tokenizer)
    if options.code_embeddings == "waves":
        start_from_codebooks(model)
    return model


def _pretrained(
    model_class: type[AiTForDenseTokenGeneration], tasks: Mapping[str, Kind], options: SolverModelRecipe
) -> AiTForDenseTokenGeneration:
    model, has_new_tokens = load_solver(options.pretrained, model_class), False
    for declared in model.config.tasks.values():
        declared["entropy_temperature"] = 1.0  # it was fitted to weights that now change
    if options.classes_by_order:
        name_by_order(model.config, tasks, options.pretrained)
    if options.adapt:
        tokenizers = {
            task.codebook: trained_tokenizer(task)
            for task in tasks.values()
            if task.codebook is not None and task.tokenizer is not None
        }
        adaptation = adapt_solver(model, tasks, tokenizers, options.pretrained)
        model, has_new_tokens = adaptation.model, bool(adaptation.fresh_ids)
    else:
        _check_pretrained(model.config, tasks, options.pretrained)
    if options.lora is not None:
        add_adapters(model, options.lora, train_tokens=has_new_tokens)
    return model


def largest_size(tasks: Mapping[str, Kind]) -> list[int]:
    """Height and width in pixels that hold the images of all tasks."""
    return [max(sides) for sides in zip(*(task.data.image_size for task in tasks.values()))]


def trained_tokenizer(task: Kind) -> Tokenizer:
    """
    The trained tokenizer that a task's section names.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of maps in another unit.
    """
    path = task.tokenizer
    if not Path(path).exists() and path.count("/") != 1:  # so it is no Hub name either
        raise FileNotFoundError(f"There is no tokenizer at {path}: train one first (`ait train --list`).")
    tokenizer = load_tokenizer(path)
    if tokenizer.config.unit != task.unit:
        raise ValueError(
            f"tasks.{task.name}.tokenizer ({path}) is of maps in {tokenizer.config.unit!r}; this task needs one in "
            f"{task.unit!r}."
        )
    return tokenizer


def _task_ids(tasks: Mapping[str, Kind]) -> dict[str, int]:
    own = (name for name, task in tasks.items() if task.task_id is None)
    free = dict(zip(own, itertools.count(FIRST_OWN_TASK_ID)))
    return {name: free[name] if task.task_id is None else task.task_id for name, task in tasks.items()}


def _check_pretrained(config: AiTConfig, tasks: Mapping[str, Kind], path: str) -> None:
    for name, task in tasks.items():
        trained = config.task(name)
        if trained.image_size != list(task.data.image_size):
            raise ValueError(
                f"{path} takes images of {trained.image_size} pixels for {name!r}, but the transform of "
                f"tasks.{name}.data makes them {list(task.data.image_size)}; model.adapt=true changes the model."
            )


def solver_config(
    tasks: Mapping[str, Kind],
    options: SolverModelRecipe,
    size: list[int],
    tokenizers: Mapping[str, Tokenizer],
    backbone_config: PreTrainedConfig,
) -> AiTConfig:
    """Configuration of a new model for images of `size` (height, width in pixels) at most."""
    order = [name for name in RELEASED_CODEBOOKS if name in tokenizers]
    order += [name for name in tokenizers if name not in RELEASED_CODEBOOKS]
    task_ids = _task_ids(tasks)
    defaults = {
        "codebooks": [[name, tokenizers[name].config.num_vq_embeddings] for name in order],
        "num_task_ids": max(RELEASED_TASK_IDS, *(task_id + 1 for task_id in task_ids.values())),
    }
    class_names, ranges = class_table(
        {name: classes_of_model(task, tokenizers.get(task.codebook)) for name, task in tasks.items()}
    )
    if class_names:
        given = options.config.get("num_classes", len(class_names))
        if given != len(class_names):
            raise ValueError(
                f"The data have {len(class_names)} classes, but num_classes of section model.config is {given}."
            )
        defaults |= {"num_classes": len(class_names), "id2label": dict(enumerate(class_names))}
    if len({tuple(task.data.image_size) for task in tasks.values()}) > 1:
        defaults["pad_images_to"] = size
    declared = {}
    for name, task in tasks.items():
        declared[name] = {"task_id": task_ids[name], **task.declaration(tokenizers.get(task.codebook))}
        if name in ranges and ranges[name] != [0, len(class_names)]:
            declared[name]["class_range"] = ranges[name]
    arguments = {
        "backbone_config": backbone_config,
        "tokenizers": {name: tokenizer_arguments(tokenizer) for name, tokenizer in tokenizers.items()},
        "tasks": declared,
        "parallel": options.parallel,
    }
    return AiTConfig(**(defaults | options.config | arguments))


def donated_backbone(options: SolverModelRecipe, size: list[int], donor: AiTConfig) -> PreTrainedConfig:
    """Configuration of another model's backbone, at the size of the tasks' images."""
    config = donor.backbone_config
    is_ours = isinstance(config, AiTSwinv2Config)
    allowed = _PRETRAINED_SWINV2_KEYS if is_ours else ()
    check_keys("section model.backbone_config beside model.initialize_from", options.backbone_config, allowed)
    return AiTSwinv2Config(**config.to_dict() | {"image_size": size, **options.backbone_config}) if is_ours else config


def _check_encoders(donor: AiTConfig, config: AiTConfig, path: str) -> None:
    for key in _ENCODER_KEYS:
        if getattr(donor, key) != getattr(config, key):
            raise ValueError(
                f"{path} has {key} {getattr(donor, key)}, but model.config gives {getattr(config, key)}: "
                "model.initialize_from needs the same encoder."
            )


def named_backbone(
    options: SolverModelRecipe, size: list[int]
) -> tuple[PreTrainedConfig, dict[str, torch.Tensor] | None]:
    """Configuration and, if there are any, weights of the backbone."""
    arguments = dict(options.backbone_config)
    if options.backbone is None:
        model_type = arguments.pop("model_type", AiTSwinv2Config.model_type)
        return _new_backbone(model_type, size, arguments), None
    is_folder = Path(options.backbone).is_dir()
    if options.backbone == EFFICIENTNET_LITE0 and not is_folder:
        check_keys("section model.backbone_config beside model.backbone", arguments, ())
        return load_efficientnet_lite0()
    with loading(options.backbone, "a backbone"):
        is_swinv2 = (is_folder or "/" in options.backbone) and _is_swinv2(options.backbone)
    allowed = _PRETRAINED_SWINV2_KEYS if is_swinv2 else ()
    check_keys("section model.backbone_config beside model.backbone", arguments, allowed)
    with loading(options.backbone, "a backbone"):
        if is_swinv2:
            config, backbone = load_pretrained_backbone(options.backbone, image_size=size, **arguments)
            return config, backbone.state_dict()
        if is_folder:  # which AutoBackbone.from_pretrained takes for a Hub name
            with torch.device("meta"):
                backbone_class = type(AutoBackbone.from_config(AutoConfig.from_pretrained(options.backbone)))
            # Not its own, which of timm's backbones takes names only.
            backbone = PreTrainedModel.from_pretrained.__func__(backbone_class, options.backbone)
        else:
            backbone = AutoBackbone.from_pretrained(options.backbone)
    return backbone.config, backbone.state_dict()


def _load_backbone(backbone: PreTrainedModel, weights: Mapping[str, torch.Tensor], name: str) -> None:
    """All weights but those of stages behind the one that is read. A stage that was not read before may have a new norm."""
    missing, _ = backbone.load_state_dict(weights, strict=False)
    if any(backbone.state_dict()[key].dim() > 1 for key in missing):
        raise ValueError(
            f"{name} has no weights of the stage that model.config.feature_stride reads, as {missing[0]}."
        )
    if missing:
        logger.warning("%s has no weights %s, which start anew.", name, ", ".join(missing))


def normalize_as_weights(tasks: Mapping[str, Kind], options: SolverModelRecipe, config: AiTConfig) -> list[str]:
    """
    Tasks that do not say how their images are normalised do it as the images were that the model's weights were trained on, as
    far as their image processor or timm says how. Of those that say something else the results warn.
    """
    warnings = []
    for name, task in tasks.items():
        wanted, transform = _normalization_of_weights(options, config, name), task.data.transform
        if wanted is not None and transform.normalize is None:
            transform.normalize = wanted
            chosen = mean_and_std(wanted) or "pixels in 0..1"
            logger.info("Images of %s are normalised as those of the weights: %s.", name, chosen)
        elif wanted is not None and mean_and_std(transform.normalize) != mean_and_std(wanted):
            warnings.append(
                f"tasks.{name}.data.transform.normalize is {transform.normalize}, but the weights that the model starts "
                f"from were trained with {wanted}."
            )
    return warnings


def _normalization_of_weights(options: SolverModelRecipe, config: AiTConfig, task: str) -> Normalize | None:
    """As an image processor beside the weights says, or timm; `None` if nothing does."""
    source = options.pretrained or options.initialize_from or options.backbone
    if source is None:
        return None
    if Path(source).is_dir() or "/" in source:
        with loading(source, "weights with an image processor"):
            for folder in ("",) if source == options.backbone else (f"image_processors/{task}", ""):
                stored = _stored(source, "preprocessor_config.json", folder)
                if stored.get("do_normalize") is not None:
                    return normalization(stored["do_normalize"], stored.get("image_mean"), stored.get("image_std"))
            if trained := _stored(source, "config.json").get("pretrained_cfg"):
                return normalization(True, trained.get("mean"), trained.get("std"))
    if source == options.backbone and isinstance(config.backbone_config, TimmBackboneConfig):
        from timm.models import get_pretrained_cfg

        if (trained := get_pretrained_cfg(config.backbone_config.backbone)) is not None:
            return normalization(True, trained.mean, trained.std)
    return None


def _stored(source: str, name: str, folder: str = "") -> dict[str, Any]:
    """What a JSON file in a folder, or on the Hub, holds; nothing if there is none. `ValueError` if that is no mapping."""
    quiet = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    file = cached_file(source, name, subfolder=folder, **quiet)
    stored = {} if file is None else json.loads(Path(file).read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError(f"its {name} holds {type(stored).__name__}, not the keys of a model.")
    return stored


def _new_backbone(model_type: str, size: list[int], arguments: dict[str, Any]) -> PreTrainedConfig:
    section = "section model.backbone_config"
    is_ours = model_type == AiTSwinv2Config.model_type
    if not is_ours and model_type not in MODEL_FOR_BACKBONE_MAPPING_NAMES:
        known = [AiTSwinv2Config.model_type, *MODEL_FOR_BACKBONE_MAPPING_NAMES]
        nearest = difflib.get_close_matches(str(model_type), known, n=1, cutoff=0)
        raise ValueError(f"model_type {model_type!r} of {section} is no backbone's: did you mean {nearest[0]}?")
    with speaking_of(f"In {section}"):
        if is_ours:
            check_keys(section, arguments, _SWINV2_KEYS)
            return AiTSwinv2Config(image_size=size, **arguments)
        known = {"out_features", "out_indices"} | AutoConfig.for_model(model_type).to_dict().keys()
        check_keys(section, arguments, known)
        return AutoConfig.for_model(model_type, **arguments)


def _is_swinv2(name_or_path: str) -> bool:
    stored = _stored(name_or_path, "config.json")
    return stored.get("model_type") == "swinv2" or stored.get("architecture", "").startswith("swinv2_")
