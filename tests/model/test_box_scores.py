# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Scores of objects that count how sure the model is of the box, against probabilities added up by hand."""

import itertools
import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from tiny import clear_model, tiny_config
from tiny_objects import DETECTION, FRAME, INSTANCES, NUM_OBJECTS, object_config, object_model

from ait_hf import AiTConfig, AiTForObjectDetection


@pytest.fixture
def images():
    return torch.randn(2, 3, *FRAME, generator=torch.Generator().manual_seed(0))


def tolerant(task: str, tolerance: float, **changes) -> AiTConfig:
    config = object_config((task,), **changes).to_dict()
    config["tasks"][task]["box_tolerance"] = tolerance
    return AiTConfig.from_dict(config)


@pytest.mark.parametrize("task, parallel", [(DETECTION, False), (INSTANCES, False), (INSTANCES, True)])
def test_the_probability_that_all_sides_are_near_where_they_were_written(images, task, parallel):
    model = object_model(tolerant(task, 0.0, parallel=parallel))
    plain = model.generate(pixel_values=images, output_logits=True)
    assert plain.box_scores is None and plain.coordinate_logits is None
    own = object_model(tolerant(task, 0.1, parallel=parallel)).generate(pixel_values=images)
    asked = model.generate(pixel_values=images, box_tolerance=1.5)
    assert torch.equal(own.sequences, plain.sequences) and torch.equal(own.class_scores, plain.class_scores)
    coordinates, length = model.config.vocabulary.coordinates, len(model.grammar(task).group)
    for outputs, tolerance in ((own, 0.1), (asked, 1.5)):
        assert outputs.box_scores.shape == (2, NUM_OBJECTS)
        for image, number in itertools.product(range(2), range(NUM_OBJECTS)):
            slots = range(number * length, number * length + 4)  # a group begins with its box
            written = [int(plain.sequences[image, 1 + slot]) - coordinates.start for slot in slots]
            x1, y1, x2, y2 = written
            expected = 1.0
            for slot, place, side in zip(slots, written, (abs(x2 - x1), abs(y2 - y1)) * 2):
                probabilities = plain.logits[slot][image, list(coordinates)].softmax(-1)
                near = [other for other in range(len(coordinates)) if abs(other - place) <= tolerance * side]
                expected *= float(probabilities[near].sum())
            assert float(outputs.box_scores[image, number]) == pytest.approx(expected, rel=1e-4)
    assert (own.box_scores <= asked.box_scores).all() and (own.box_scores < asked.box_scores).any()


def test_a_call_can_leave_them_out_and_a_head_passes_them_on(images):
    head = object_model(tolerant(DETECTION, 0.2), AiTForObjectDetection)
    expected = head.generate(pixel_values=images)
    assert torch.equal(head(pixel_values=images).box_scores, expected.box_scores)
    assert head.generate(pixel_values=images, box_tolerance=0).box_scores is None


def test_of_a_box_that_a_call_gives_nothing_is_said(images):
    model = object_model(tolerant(INSTANCES, 0.2, parallel=True))
    whole = model.generate(pixel_values=images)
    continued = model.generate(pixel_values=images, decoder_input_ids=whole.sequences[:, :5])
    assert torch.equal(continued.sequences, whole.sequences) and torch.equal(continued.pred_boxes, whole.pred_boxes)
    assert whole.box_scores is not None and continued.box_scores is None


def test_tolerances_that_mean_nothing_are_refused(images):
    with pytest.raises(ValueError, match="box_tolerance must be at least 0 and finite, got -1"):
        object_model(object_config((DETECTION,))).generate(pixel_values=images, box_tolerance=-1)
    with pytest.raises(ValueError, match="box_tolerance is of objects, which task 'depth' does not write"):
        clear_model(tiny_config()).generate(pixel_values=images, box_tolerance=0.2)
    for wrong in (-0.1, math.inf, math.nan):
        with pytest.raises(StrictDataclassError, match=f"box_tolerance must be at least 0 and finite, got {wrong}"):
            tolerant(DETECTION, wrong)
    config = tiny_config().to_dict()
    config["tasks"]["depth"]["box_tolerance"] = 0.2
    with pytest.raises(StrictDataclassError, match="box_tolerance is of objects, but its output_type is 'depth'"):
        AiTConfig.from_dict(config)
