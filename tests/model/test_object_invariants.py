# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What must not change the objects that a model predicts or learns: batch, cache, padding, order, seeds, files."""

import itertools
import json

import numpy as np
import pytest
import torch
from saved_model import picture
from tiny_objects import DETECTION, FRAME, INSTANCES, NUM_OBJECTS, object_config, object_model, object_processor
from torchvision.transforms.v2 import functional as F
from transformers import (
    AutoModelForDepthEstimation,
    AutoModelForInstanceSegmentation,
    AutoModelForObjectDetection,
    set_seed,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from ait_hf import (
    AiTForDenseTokenGeneration,
    AiTForDepthEstimation,
    AiTForInstanceSegmentation,
    AiTForObjectDetection,
)
from ait_hf.model.group_objectives_ait import Draws, draw_object_groups
from ait_hf.model.loss_ait import IGNORE_INDEX


FIELDS = ("logits", "pred_boxes", "class_labels", "class_scores", "pred_masks")
VARIANTS = [
    pytest.param((parallel, slots), id=f"{'parallel' if parallel else 'autoregressive'}, {slots[0]} first")
    for parallel in (False, True)
    for slots in (("class", "mask"), ("mask", "class"))
]


@pytest.fixture(scope="module", params=VARIANTS)
def model(request) -> AiTForInstanceSegmentation:
    parallel, slots = request.param
    return object_model(object_config(slots=slots, parallel=parallel), AiTForInstanceSegmentation)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    sizes = [(64, 96), (40, 90), (80, 30)]
    pictures = [picture(height, width, seed) for seed, (height, width) in enumerate(sizes)]
    return object_processor()(pictures, return_tensors="pt")["pixel_values"]


def predict(model, images, **settings):
    with torch.no_grad():
        return model(pixel_values=images, **settings)


def same_objects(first, second, rows=slice(None)) -> None:
    """Predictions `second` are those `rows` of `first`."""
    for name in FIELDS:
        if getattr(first, name) is None:
            assert getattr(second, name) is None
        else:
            torch.testing.assert_close(getattr(second, name), getattr(first, name)[rows], rtol=1e-4, atol=1e-4)


# Predictions


def test_batched_equals_single(model, images):
    batched = predict(model, images)
    assert batched.pred_masks.shape == (3, NUM_OBJECTS, 32, 32) and batched.pred_masks.std() > 0.01
    for index in range(3):
        same_objects(batched, predict(model, images[index : index + 1]), slice(index, index + 1))
    for first, second in itertools.combinations(batched.pred_boxes, 2):
        assert not torch.equal(first, second)  # the images do matter


@pytest.mark.parametrize("soft_solver", [False, True])
def test_cached_equals_uncached(model, images, soft_solver):
    cached = predict(model, images, soft_solver=soft_solver)
    same_objects(cached, predict(model, images, soft_solver=soft_solver, use_cache=False))


@pytest.mark.parametrize("size", [(64, 70), (32, 24), (100, 300)])
def test_the_processors_frame_is_the_image_and_zeros_after_it(model, size):
    image, processor = picture(*size, seed=4), object_processor()
    scale = min(FRAME[0] / size[0], FRAME[1] / size[1])
    height, width = (int(side * scale + 0.5) for side in size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    pixels = F.resize(pixels, [height, width], antialias=True) / 255
    by_hand = torch.zeros(1, 3, *FRAME)
    by_hand[0, :, :height, :width] = F.normalize(pixels, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    expected = predict(model, by_hand)
    same_objects(expected, predict(model, processor([image], return_tensors="pt")["pixel_values"]))
    others = processor([picture(20, 90, seed=5), image], return_tensors="pt")["pixel_values"]
    same_objects(predict(model, others), expected, slice(1, 2))


@pytest.mark.parametrize("num_objects", [1, NUM_OBJECTS])
def test_number_of_forwards(model, images, num_objects):
    outputs = model.generate(pixel_values=images[:1], task=INSTANCES, num_objects=num_objects)
    assert outputs.pred_boxes.shape == (1, num_objects, 4)
    if not model.config.parallel:
        assert outputs.num_forwards == (4 + 1 + 4) * num_objects
    elif model.grammar(INSTANCES).group[-1] == "class":
        assert outputs.num_forwards == 5 * num_objects
    else:
        assert outputs.num_forwards == 5 * num_objects + 1


@pytest.mark.parametrize(("parallel", "forwards"), [(False, 21 * 2), (True, 5 * 2 + 1)])
def test_number_of_forwards_of_published_sequences(parallel, forwards):
    """16 mask codes per object, as in the released model."""
    config = object_config(tasks=[INSTANCES], parallel=parallel, max_position_embeddings=64)
    config.tasks[INSTANCES]["grid_size"], config.tokenizers["mask"]["sample_size"] = [4, 4], 64
    model = object_model(config)
    outputs = model.generate(pixel_values=torch.rand(1, 3, *FRAME), num_objects=2)
    assert outputs.num_forwards == forwards and outputs.pred_masks.shape == (1, 2, 64, 64)


def test_greedy_decoding_has_no_chance_and_sampling_follows_the_seed(model, images):
    def with_seed(seed, **settings):
        set_seed(seed)
        return predict(model, images, **settings)

    same_objects(with_seed(0, do_sample=False), with_seed(1, do_sample=False))
    sampling = {"do_sample": True, "temperature": 2.0, "top_p": 0.95}
    first = with_seed(0, **sampling)
    same_objects(first, with_seed(0, **sampling))
    others = [with_seed(seed, **sampling) for seed in (1, 2)]
    assert all(not torch.equal(first.pred_boxes, other.pred_boxes) for other in others)
    assert not torch.equal(others[0].pred_boxes, others[1].pred_boxes)


def test_sampling_settings_act_on_sparse_slots_only(model, images):
    """Whatever the sparse slots became, the codes are distributed as teacher forcing on the same tokens says."""
    grammar, top_p, temperature = model.grammar(INSTANCES), 0.6, 2.0
    set_seed(0)
    settings = {"do_sample": True, "top_p": top_p, "temperature": temperature, "soft_solver": False}
    outputs = model.generate(pixel_values=images, task=INSTANCES, **settings)
    greedy = model.generate(pixel_values=images, task=INSTANCES, soft_solver=False)
    assert not torch.equal(outputs.sequences, greedy.sequences)
    task_ids = torch.full((len(images),), grammar.task.task_id)
    with torch.no_grad():
        logits = AiTForDenseTokenGeneration.forward(
            model, images, decoder_input_ids=grammar.decoder_input_ids(outputs.sequences[:, 1:]), task_ids=task_ids
        ).logits
    codes, dense = grammar.code_range, [p for p in range(grammar.length) if grammar.is_dense(p)]
    expected = logits[:, dense, codes.start : codes.stop].softmax(-1)
    torch.testing.assert_close(outputs.soft_tokens, expected, rtol=1e-3, atol=1e-5)
    for position in set(range(grammar.length)) - set(dense):
        allowed = grammar.vocabulary.slot_range(grammar.slot(position))
        probabilities = (logits[:, position, allowed.start : allowed.stop] / temperature).softmax(-1)
        chosen = probabilities.gather(1, outputs.sequences[:, 1:][:, position, None] - allowed.start)
        likelier = probabilities.masked_fill(probabilities <= chosen, 0).sum(1)
        assert (likelier <= top_p + 1e-4).all()  # the nucleus ends where its share is reached


# Labels


def labelled(seed: int = 3, count: int = 3) -> dict[str, torch.Tensor]:
    """Annotations of one image that covers part of the frame."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([50, 96])
    corner = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + 6 + torch.rand(count, 2, generator=generator) * 14], dim=1)
    masks = (torch.rand(count, *FRAME, generator=generator) < 0.7).to(torch.uint8)
    labels = torch.randint(6, (count,), generator=generator)
    return {"boxes": boxes, "class_labels": labels, "masks": masks, "size": size, "seed": torch.tensor(seed)}


def reordered(labels: dict[str, torch.Tensor], order: torch.Tensor) -> dict[str, torch.Tensor]:
    return labels | {name: labels[name][order] for name in ("boxes", "class_labels", "masks")}


class UndoingDraws(Draws):
    """The draws of a seed, but the order of the annotated objects first undoes theirs."""

    def __init__(self, seed: int, order: torch.Tensor):
        super().__init__(torch.Generator().manual_seed(seed))
        self.undo = order.argsort()

    def permutation(self, count: int) -> torch.LongTensor:
        drawn = super().permutation(count)
        if self.undo is not None:
            drawn, self.undo = self.undo[drawn], None
        return drawn


def sequence_and_loss(model, image, labels, draws):
    objective, tokenizer = model.objectives[INSTANCES], model.tokenizers["mask"]
    grammar = model.grammar(INSTANCES)
    groups = draw_object_groups(grammar, labels["boxes"], labels["class_labels"], labels["size"].tolist(), draws)
    with torch.no_grad():
        sequence = objective.complete(objective.draft_of_groups([groups], [labels["masks"]]), tokenizer)
        logits = AiTForDenseTokenGeneration.forward(
            model,
            image,
            decoder_input_ids=grammar.decoder_input_ids(sequence.tokens),
            task_ids=torch.tensor([grammar.task.task_id]),
        ).logits
        return sequence, objective.loss(logits[sequence.labels != IGNORE_INDEX], sequence, tokenizer)


@pytest.mark.parametrize("count", [2, 3])
def test_the_order_of_annotations_is_without_meaning(model, images, count):
    """3 groups: with 2 objects the third one is noise that is made from them."""
    image, labels = images[:1], labelled(count=count)
    expected, loss = sequence_and_loss(model, image, labels, Draws(torch.Generator().manual_seed(3)))
    public = model(pixel_values=image, labels=[labels])
    torch.testing.assert_close(public.loss_dict["total"], loss.total, rtol=1e-4, atol=1e-4)
    for order in map(torch.tensor, itertools.permutations(range(count))):
        found, found_loss = sequence_and_loss(model, image, reordered(labels, order), UndoingDraws(3, order))
        for name in ("tokens", "labels", "target"):
            assert torch.equal(getattr(found, name), getattr(expected, name)), name
        torch.testing.assert_close(found_loss.total, loss.total)


def test_reordered_annotations_reorder_the_objects_of_the_sequence():
    """With the same draws and without noise, nothing else changes."""
    grammar, labels = object_model(object_config()).grammar(INSTANCES), labelled()

    def groups(labels):
        draws = Draws(torch.Generator().manual_seed(5))
        return draw_object_groups(grammar, labels["boxes"], labels["class_labels"], labels["size"].tolist(), draws)

    first = groups(labels)
    for order in map(torch.tensor, itertools.permutations(range(3))):
        second = groups(reordered(labels, order))
        places = second.sources.argsort()[order.argsort()[first.sources]]  # of the first sequence's objects
        assert sorted(places.tolist()) == [0, 1, 2]
        for name in ("boxes", "class_tokens"):
            assert torch.equal(getattr(first, name), getattr(second, name)[places]), name
        for name in ("kinds", "input_class_tokens"):
            assert torch.equal(getattr(first, name), getattr(second, name)), name


EDGE_BOXES = {
    "no objects": [],
    "no area": [[5, 5, 5, 5]],
    "over the border": [[-20, -20, 200, 200]],
    "outside": [[200, 200, 300, 300]],
    "inverted": [[20, 20, 5, 5]],
}


@pytest.mark.parametrize("boxes", EDGE_BOXES.values(), ids=EDGE_BOXES)
def test_boxes_without_sense_do_not_break_a_training_step(boxes):
    """The data leave such boxes out; what comes from elsewhere costs no more than itself."""
    model = object_model(object_config(), AiTForInstanceSegmentation)
    count = len(boxes)
    labels = labelled(count=count) | {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)}
    outputs = model(pixel_values=torch.rand(1, 3, *FRAME), labels=[labels])
    assert outputs.loss_dict["num_tokens"] == NUM_OBJECTS + count * 8
    outputs.loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


# Files and heads


HEADS = {
    AiTForObjectDetection: AutoModelForObjectDetection,
    AiTForInstanceSegmentation: AutoModelForInstanceSegmentation,
    AiTForDepthEstimation: AutoModelForDepthEstimation,
}


def size_of(head) -> tuple[int, int]:
    return tuple(head.config.tasks[head.task_name]["image_size"])


@pytest.fixture(scope="module")
def joint():
    return object_model(object_config(tasks=[DETECTION, INSTANCES, "depth"], parallel=True))


@pytest.mark.parametrize("head_class", HEADS, ids=lambda head: head.__name__)
def test_heads_of_one_folder_and_their_copies_predict_the_same(joint, head_class, tmp_path):
    joint.save_pretrained(tmp_path / "joint")
    head, report = head_class.from_pretrained(tmp_path / "joint", output_loading_info=True)
    assert not any(report[keys] for keys in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    head.save_pretrained(tmp_path / "head")
    stored = json.loads((tmp_path / "head/config.json").read_text(encoding="utf-8"))
    assert stored["architectures"] == [head_class.__name__]
    image = torch.rand(1, 3, *size_of(head), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = joint.generate(pixel_values=image, task=head.task_name)
    for folder, kind in itertools.product(("joint", "head"), (head_class, HEADS[head_class])):
        copy = kind.from_pretrained(tmp_path / folder)
        assert type(copy) is head_class and not copy.training
        weights = copy.state_dict()
        assert all(torch.equal(weights[name], tensor) for name, tensor in joint.state_dict().items())
        outputs = predict(copy, image)
        # Not to the bit: the CPU's matrix kernels round by the alignment of the weights in memory.
        for name in (*FIELDS[1:], "predicted_depth", "uncertainty"):
            if getattr(expected, name) is not None:
                torch.testing.assert_close(getattr(outputs, name), getattr(expected, name), rtol=1e-4, atol=1e-4)


def test_a_detector_prefers_its_own_task_and_else_finds_what_it_segments(images):
    both = object_model(object_config(), AiTForObjectDetection)
    assert both.task_name == DETECTION
    detected = predict(both, images)
    assert detected.pred_masks is None and detected.logits.shape == (3, NUM_OBJECTS, 7)
    alone = AiTForObjectDetection(object_config([DETECTION])).eval()
    alone.load_state_dict({name: tensor for name, tensor in both.state_dict().items() if name in alone.state_dict()})
    same_objects(detected, predict(alone, images))

    segmenter = object_model(object_config([INSTANCES]), AiTForInstanceSegmentation)
    detector = AiTForObjectDetection(segmenter.config).eval()
    detector.load_state_dict(segmenter.state_dict())
    assert detector.task_name == INSTANCES
    found = predict(detector, images)
    assert found.pred_masks is not None
    same_objects(predict(segmenter, images), found)


def test_a_detection_model_has_no_instances(images):
    model = object_model(object_config([DETECTION]), AiTForInstanceSegmentation)
    with pytest.raises(ValueError, match="Unknown task 'instance-segmentation'"):
        predict(model, images)
