# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A trained model for other data: other classes, another image size, another tokenizer. Everything that still means the
same keeps its weights; what does not starts anew, and is named. And what the embeddings of a new model's codes start from, if
not from noise: waves over the codebook.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F

from ..data.classes import clean_name, enumerated
from ..model.configuration_ait import AiTConfig, AiTSwinv2Config, AiTTaskConfig
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.objectives_ait import Tokenizer
from ..recipes.parsing import speaking_of
from ..tasks.base import Kind, class_table, classes_of_model, tokenizer_arguments


logger = logging.getLogger(__name__)

# Rows by token: the table of embeddings, which is the classifier's too, and the classifier's biases.
_TOKEN_TABLES = ("model.decoder.embed_tokens.weight", "lm_head.weight", "lm_head.bias")
_POSITIONS = "model.decoder.embed_positions.weight"


@dataclass
class Adaptation:
    """An adapted model, with the weights of the trained one wherever they fit, and what is new in it."""

    model: AiTForDenseTokenGeneration
    fresh_ids: list[int] = field(default_factory=list)  # of the vocabulary, whose rows start anew
    changes: list[str] = field(default_factory=list)  # in words


def adapt_solver(
    trained: AiTForDenseTokenGeneration, tasks: Mapping[str, Kind], tokenizers: Mapping[str, Tokenizer], name: str
) -> Adaptation:
    """
    The trained model with the classes and image sizes of other data.

    Classes of the same name keep their rows, and so do coordinates, noise, codes and tasks. A new image size changes
    grids of codes, whose positions are then resampled; window sizes stay, as their position bias does. Tasks of the
    model that are not among `tasks` stay as they are.

    Args:
        trained: Any task head.
        tasks: Sections of the recipe by name, all of them tasks of the model.
        tokenizers: Trained ones that replace the model's, by the name of their codebook; these codes start anew.
        name: What the model is called in messages; what has changed is logged.

    Raises:
        ValueError: The model does not have a task, a tokenizer cannot take the data's classes or image size, or a
            sequence becomes longer than the model's positions.
    """
    for task in tasks:
        if task not in trained.config.tasks:
            raise ValueError(
                f"{name} was not trained for {task!r} but for {', '.join(trained.config.tasks)}: a new task needs a new "
                "decoder, see model.initialize_from."
            )
    config = _adapted_config(trained, tasks, tokenizers, name)
    if not tokenizers and config.to_dict() == trained.config.to_dict():
        return Adaptation(trained)
    model = type(trained)(config)
    own, state = model.state_dict(), dict(trained.state_dict())
    before, after = (_meanings(each.config, without) for each, without in ((trained, tokenizers), (model, ())))
    kept = {id: before[meaning] for meaning, id in reversed(after.items()) if meaning in before}
    for key in _TOKEN_TABLES:
        table = own[key].clone()
        table[list(kept)] = state[key][list(kept.values())].to(table)
        state[key] = table
    state[_POSITIONS] = _resampled_positions(state[_POSITIONS], trained.config, config)
    for codebook in tokenizers:
        prefix = f"tokenizers.{codebook}."
        state = {key: value for key, value in state.items() if not key.startswith(prefix)}
        state |= {key: value for key, value in own.items() if key.startswith(prefix)}
    model.load_state_dict(state)
    for codebook, tokenizer in tokenizers.items():
        model.load_tokenizer(codebook, tokenizer)
    model.generation_config = trained.generation_config
    changes = list(_changes(trained.config, config, kept, tokenizers))
    logger.info("%s is adapted: %s. All else is kept.", name, "; ".join(changes))
    return Adaptation(model, sorted(set(after.values()) - set(kept)), changes)


def _adapted_config(
    trained: AiTForDenseTokenGeneration, tasks: Mapping[str, Kind], tokenizers: Mapping[str, Tokenizer], name: str
) -> AiTConfig:
    old = trained.config
    values = old.to_dict()
    for codebook, tokenizer in tokenizers.items():
        values["tokenizers"][codebook] = tokenizer_arguments(tokenizer)
    sizes = {book: tokenizer.config.num_vq_embeddings for book, tokenizer in tokenizers.items()}
    values["codebooks"] = [[book, sizes.get(book, count)] for book, count in old.codebooks]
    names, ranges = class_table({name: _classes_after(old, tasks, tokenizers, name) for name in old.tasks})
    values |= {"num_classes": len(names), "id2label": dict(enumerate(names)), "label2id": None}
    for key, declared in values["tasks"].items():
        if key in ranges:
            declared["class_range"] = None if ranges[key] == [0, len(names)] else ranges[key]
        if key in tasks:
            fresh = tokenizers.get(trained.grammar(key).codebook)
            tokenizer, keeping = (fresh, None) if fresh is not None else (trained.task_tokenizer(key), name)
            after = names[slice(*ranges[key])] if key in ranges else []
            declared |= tasks[key].adapted(old.task(key), tokenizer, old.class_names(key), after, keeping)
    sizes = [tuple(declared["image_size"]) for declared in values["tasks"].values()]
    if sizes != [tuple(declared["image_size"]) for declared in old.tasks.values()]:
        largest = [max(sides) for sides in zip(*sizes)]
        values["pad_images_to"] = largest if len(set(sizes)) > 1 else None
        if isinstance(old.backbone_config, AiTSwinv2Config):
            values["backbone_config"]["image_size"] = largest
    with speaking_of(f"{name} cannot be adapted to these data"):
        return AiTConfig.from_dict(values)


def _classes_after(
    old: AiTConfig, tasks: Mapping[str, Kind], tokenizers: Mapping[str, Tokenizer], name: str
) -> list[str]:
    """Those of the data that a task is trained on, else those that the model had for it. The model's order stays."""
    declared, before = old.task(name), old.class_names(name)
    if name not in tasks:
        return before
    tokenizer = next((tokenizers[slot] for slot in declared.slots if slot in tokenizers), None)
    after = classes_of_model(tasks[name], tokenizer)
    are_same = tokenizer is None and set(map(clean_name, after)) == set(map(clean_name, before))
    return before if not after or are_same else after


def _meanings(config: AiTConfig, without: Mapping[str, Any] | tuple[()]) -> dict[tuple, int]:
    """What every id stands for, but the codes of the codebooks `without`; a class is told by its task and name."""
    vocabulary, meanings = config.vocabulary, {}
    for id in vocabulary.coordinates:
        meanings["coordinate", id] = id
    for task in config.tasks:
        for number, label in zip(config.classes(task), config.class_names(task)):
            meanings["class", task, clean_name(label)] = vocabulary.classes[number]
    meanings["unused",], meanings["noise",] = vocabulary.noise_id - 1, vocabulary.noise_id
    for book, ids in vocabulary.codebooks.items():
        if book not in without:
            meanings |= {("code", book, number): id for number, id in enumerate(ids)}
    end = vocabulary.size - config.num_reserved_ids
    return meanings | {("reserved", number): end + number for number in range(config.num_reserved_ids)}


def _resampled_positions(table: torch.Tensor, old: AiTConfig, new: AiTConfig) -> torch.Tensor:
    """The position table, its rows of tasks that write one grid resampled linearly from the old grid to the new one."""
    table, length = table.clone(), old.max_position_embeddings
    for name, before, after in _changed_grids(old, new):
        (rows, columns), first = before.grid_size, new.tasks[name]["task_id"] * length
        grid = table[first : first + rows * columns].T.reshape(1, -1, rows, columns)
        grid = F.interpolate(grid, size=after.grid_size, mode="bilinear", align_corners=False)
        table[first : first + after.grid_size[0] * after.grid_size[1]] = grid.flatten(2)[0].T
    return table


def _changed_grids(old: AiTConfig, new: AiTConfig) -> Iterator[tuple[str, AiTTaskConfig, AiTTaskConfig]]:
    for name in old.tasks:
        before, after = old.task(name), new.task(name)
        writes_one_grid = len(before.slots) == 1
        if writes_one_grid and before.grid_size != after.grid_size:
            yield name, before, after


def _changes(old: AiTConfig, new: AiTConfig, kept: Mapping[int, int], tokenizers: Iterable[str]) -> Iterator[str]:
    """What is new, in words; `kept`: ids in the old vocabulary by those in the new one."""
    for name in old.tasks:
        before, after = old.task(name), new.task(name)
        if before.image_size != after.image_size:
            yield f"images of {name!r} have {after.image_size} pixels instead of {before.image_size}"
    for name, before, after in _changed_grids(old, new):
        yield f"positions of {name!r} are resampled from {before.grid_size} to {after.grid_size} codes"
    if fresh := [new.id2label[number] for number, id in enumerate(new.vocabulary.classes) if id not in kept]:
        yield f"rows of the classes {enumerated(fresh)} start anew"
    taken = set(kept.values())
    if gone := [old.id2label[number] for number, id in enumerate(old.vocabulary.classes) if id not in taken]:
        yield f"the classes {enumerated(gone)} are gone"
    for codebook in tokenizers:
        yield f"the tokenizer {codebook!r} is another one, and rows of its codes start anew"


@torch.no_grad()
def start_from_codebooks(model: AiTForDenseTokenGeneration) -> None:
    """
    Codes that decode to nearly the same get nearly the same embeddings, and so nearly the same logits: what a new model
    learns of one code it then knows of its neighbours. Replaces the embeddings of the codes of trained tokenizers,
    which are also those of the classifier; draws from torch's global generator.
    """
    embeddings = model.get_input_embeddings().weight
    for name, tokenizer in model.tokenizers.items():
        codes = model.config.vocabulary.codebooks[name]
        waves = codebook_waves(tokenizer.quantizer.embedding.weight, embeddings.shape[1])
        embeddings[codes.start : codes.stop] = model.config.initializer_range * waves.to(embeddings)


def codebook_waves(codebook: torch.Tensor, dim: int) -> torch.Tensor:
    """
    Random Fourier features (Rahimi and Recht, 2007) of several scales at once: cosines of random directions and phases,
    whose wavelengths go geometrically from about the distance between neighbouring codes to that between any two. From
    a codebook `(codes, width)` of at least two codes, features `(codes, dim)`, float32, of variance 1; `ValueError`
    for the codebook of an untrained tokenizer.
    """
    codebook = codebook.float()
    distances = torch.cdist(codebook, codebook)
    near = distances.kthvalue(2, dim=1).values.median()  # the first is the code itself
    far = distances.median()
    if not near > 0:
        raise ValueError("Half of the codebook's codes are the same: train the tokenizer before the task-solver.")
    steps = torch.linspace(0, 1, dim, device=codebook.device)
    scales = torch.exp((1 - steps) * (1 / (3 * near)).log() + steps * (1 / far).log())
    directions = torch.randn(codebook.shape[1], dim, device=codebook.device) * scales
    return math.sqrt(2) * torch.cos(codebook @ directions + 2 * math.pi * torch.rand(dim, device=codebook.device))
