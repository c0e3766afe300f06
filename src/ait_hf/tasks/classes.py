# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The classes (or joints) of every task's data and of the model, paired by name before a training starts."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..data.classes import Pairs, are_unnamed, learning_warnings, measuring_warnings, pair_by_order
from ..model.configuration_ait import AiTConfig
from .base import CLASSES_BY_ORDER, Kind


ADVICE = " model.adapt=true gives the model the classes of the data."


@dataclass(frozen=True)
class TaskClasses:
    """
    The classes of one task.

    Args:
        trained, evaluated: Those of the samples to train on and of the evaluation, paired with the model's; `None` for a
            task without classes.
        warnings: Sentences for the user.
    """

    trained: Pairs | None = None
    evaluated: Pairs | None = None
    warnings: list[str] = field(default_factory=list)


def pair_task(task: Kind, config: AiTConfig, split: str, pretrained: str | None) -> TaskClasses:
    """
    Args:
        config: Of the model.
        split: What is evaluated.
        pretrained: Name of a trained model whose classes stay as they are.

    Raises:
        ValueError: The data show a class that the model lacks, two classes have one name, or classes have no names.
    """
    data = task.data_classes()
    if data is None:
        return TaskClasses()
    model = pretrained or f"the model of tasks.{task.name}"
    if pretrained is None and data.names and are_unnamed(data.names):
        raise ValueError(f"{data.source} has no names of its classes, only {data.names[0]!r}, ...: give them names.")
    advice = "" if pretrained is None else ADVICE
    trained = task.pair(data, config, model, advice=advice)
    evaluated, warnings = pair_split(task, split, config, model, advice=advice)
    return TaskClasses(trained, evaluated, learning_warnings(data, trained.lacking) + warnings)


def pair_split(task: Kind, split: str, config: AiTConfig, model: str, **pairing) -> tuple[Pairs | None, list[str]]:
    """The classes of a split, paired with the model's by [`Kind.pair`], and what to tell before it is measured; `None` for a
    task without classes."""
    data = task.data_classes(split)
    if data is None:
        return None, []
    pairs = task.pair(data, config, model, **pairing)
    return pairs, measuring_warnings(pairs, data, task.owner_of_classes(model))


def name_by_order(config: AiTConfig, tasks: Mapping[str, Kind], model: str) -> None:
    """
    Gives the classes of a trained model, which have no names, those of the data in their order.

    Raises:
        ValueError: The model's classes have names, or are not as many.
    """
    named = {}
    for name, task in tasks.items():
        data, known = task.data_classes(), config.class_names(name)
        if not known:
            continue
        pairs = pair_by_order(known, data, model, CLASSES_BY_ORDER)
        named |= dict(zip(config.classes(name), pairs.names))
    if not named:
        raise ValueError(f"No task of this recipe has classes: leave out {CLASSES_BY_ORDER}.")
    config.id2label = config.id2label | named
    config.label2id = {label: number for number, label in config.id2label.items()}
