# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Poses, semantics, label maps and other maps: what training reads, what `generate()` gives, and that both agree."""

import pytest
import torch
import torch.nn.functional as F
from tiny_dense import (
    CLASSES,
    KEYPOINTS,
    LABELS,
    NORMALS,
    NUM_JOINTS,
    SEMANTICS,
    SIZE,
    TASKS,
    dense_config,
    dense_labels,
    dense_model,
)
from transformers import AutoModel, AutoModelForPoseEstimation, AutoModelForSemanticSegmentation

from ait_hf import AiTForPoseEstimation, AiTForSemanticSegmentation
from ait_hf.model.quantization_ait import token_agreement


IMAGES = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module", params=[False, True], ids=["autoregressive", "parallel"])
def model(request):
    return dense_model(dense_config(parallel=request.param))


def teacher_forced(model, task, labels):
    """Sequence and full logits of one task, from the plain forward."""
    grammar = model.grammar(task)
    objective = model.objectives[task]
    sequence = objective.complete(objective.draft(labels), model.task_tokenizer(task))
    outputs = model(
        pixel_values=IMAGES,
        decoder_input_ids=grammar.decoder_input_ids(sequence.tokens),
        task_ids=torch.full((len(IMAGES),), grammar.task.task_id),
    )
    return sequence, outputs.logits


@pytest.mark.parametrize("task", TASKS)
def test_losses_are_those_of_the_plain_formulas(model, task):
    torch.manual_seed(3)  # the order of classes
    output = model(batches={task: {"pixel_values": IMAGES, "labels": dense_labels(task)}})
    torch.manual_seed(3)
    sequence, logits = teacher_forced(model, task, dense_labels(task))
    codes, tokenizer = model.grammar(task).code_range, model.task_tokenizer(task)
    cross_entropy = F.cross_entropy(logits.flatten(0, 1), sequence.labels.flatten(), reduction="sum")
    num_tokens = (sequence.labels != -100).sum()
    grid = model.config.task(task).grid_size

    def decode(rows):
        return tokenizer.detokenize(probabilities=rows[..., codes.start : codes.stop].softmax(-1).unflatten(1, grid))

    labels = dense_labels(task)
    if task == KEYPOINTS:
        known = labels[..., 2] > 0
        error = (decode(logits) - labels[..., :2])[known]
        beta = tokenizer.config.smooth_l1_beta
        auxiliary = torch.where(error.abs() < beta, error**2 / (2 * beta), error.abs() - beta / 2).mean()
    elif task == NORMALS:
        error = (decode(logits) - labels)[:, :, 10:].abs()
        auxiliary = torch.where(error < 1, error**2 / 2, error - 0.5).mean()
    elif task == LABELS:
        scores = decode(logits).log_softmax(1)[:, :, 5:]
        chosen = (labels[:, 5:] - CLASSES.start)[:, None]
        auxiliary = -scores.gather(1, chosen).mean()
    else:
        groups = sequence.labels.unflatten(1, (-1, 10))
        present = groups[..., 0] != model.config.vocabulary.noise_id
        rows = logits.unflatten(1, (-1, 10))[present][:, 1:]
        masks, decoded = sequence.target, decode(rows)[:, 0]
        p, t = decoded.clamp(0, 1).flatten(1), masks.flatten(1)
        dice = 1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)
        auxiliary = dice.mean() + ((decoded - masks) ** 2).mean()
        num_mask_tokens = present.sum() * 9
        expected = cross_entropy + num_mask_tokens * auxiliary
        torch.testing.assert_close(output.losses[task]["total"], expected, rtol=1e-4, atol=1e-4)
        return
    assert torch.equal(output.losses[task]["num_tokens"], num_tokens.float())
    torch.testing.assert_close(
        output.losses[task]["total"], cross_entropy + num_tokens * auxiliary, rtol=1e-4, atol=1e-4
    )


def test_all_tasks_learn_together(model):
    batches = {task: {"pixel_values": IMAGES, "labels": dense_labels(task)} for task in TASKS}
    torch.manual_seed(0)
    together = model(batches=batches)
    assert set(together.losses) == set(TASKS)
    for task in (KEYPOINTS, LABELS, NORMALS):  # nothing random in these
        alone = model(batches={task: batches[task]})
        torch.testing.assert_close(together.losses[task]["total"], alone.losses[task]["total"], rtol=1e-4, atol=1e-4)
    together.loss.backward()
    assert all(p.grad is None for tokenizer in model.tokenizers.values() for p in tokenizer.parameters())
    assert torch.isfinite(model.lm_head.weight.grad).all()
    model.zero_grad()


@pytest.mark.parametrize("order", ["random", "by_class"])
@pytest.mark.parametrize("supervision", ["objects", "absent", "none"])
def test_semantic_sequences(order, supervision):
    config = dense_config((SEMANTICS,), {"object_order": order, "mask_supervision": supervision, "num_groups": 4})
    model = dense_model(config)
    labels = dense_labels(SEMANTICS)
    labels[1] = CLASSES[1]  # one class only
    grammar, tokenizer = model.grammar(SEMANTICS), model.tokenizers["segment"]
    objective = model.objectives[SEMANTICS]
    sequence = objective.complete(objective.draft(labels), tokenizer)
    vocabulary = config.vocabulary
    read = sequence.tokens.unflatten(1, (-1, 10))
    learned = sequence.labels.unflatten(1, (-1, 10))
    for image in range(2):
        present = sorted(set(labels[image].unique().tolist()) - {255})
        classes = (read[image, :, 0] - vocabulary.classes.start).tolist()
        assert sorted(classes) == list(CLASSES)  # every class once, present ones first
        assert sorted(classes[: len(present)]) == present
        if order == "by_class":
            assert classes[: len(present)] == present
        assert learned[image, : len(present), 0].tolist() == read[image, : len(present), 0].tolist()
        assert (learned[image, len(present) :, 0] == vocabulary.noise_id).all()
        for number, label in enumerate(classes):
            mask = (labels[image] == label).float()
            codes = grammar.codes_to_tokens(tokenizer.tokenize(mask[None, None]))[0]
            assert torch.equal(read[image, number, 1:], codes)
            is_learned = {"objects": number < len(present), "absent": True, "none": False}[supervision]
            assert torch.equal(learned[image, number, 1:], codes if is_learned else torch.full_like(codes, -100))


def test_more_classes_than_groups_keep_the_largest():
    model = dense_model(dense_config((SEMANTICS,), {"num_groups": 2}))
    labels = torch.full((1, SIZE, SIZE), CLASSES[0])
    labels[:, :40], labels[:, 40:50], labels[:, 50:52] = CLASSES[1], CLASSES[2], CLASSES[3]
    objective = model.objectives[SEMANTICS]
    sequence = objective.complete(objective.draft(labels), model.tokenizers["segment"])
    classes = sequence.tokens.unflatten(1, (-1, 10))[0, :, 0] - model.config.vocabulary.classes.start
    assert sorted(classes.tolist()) == [CLASSES[0], CLASSES[1]]


@pytest.mark.parametrize("task", TASKS)
def test_generated_outputs_follow_from_the_sequence(model, task):
    outputs = model.generate(pixel_values=IMAGES, task=task, do_sample=False)
    grammar = model.grammar(task)
    assert outputs.sequences[:, 1:].shape == (2, grammar.length)
    decoded = model.detokenize(outputs)
    if model.config.parallel:
        groups = grammar.task.num_groups
        assert outputs.num_forwards == (groups + 1 if "class" in grammar.group else 1)
    if task == KEYPOINTS:
        assert outputs.pred_keypoints.shape == (2, NUM_JOINTS, 2)
        torch.testing.assert_close(
            outputs.pred_keypoints, (decoded + 0.5) * 2 - 0.5
        )  # the images are twice the tokenizer's crop
        codes = model.tokenizers["pose"].quantizer.embedding.weight
        agreement = token_agreement(outputs.soft_tokens, codes).mean(1)
        torch.testing.assert_close(outputs.keypoint_scores, agreement[:, None].expand(2, NUM_JOINTS))
    elif task == NORMALS:
        assert outputs.predicted_map.shape == (2, 3, SIZE, SIZE)
        assert torch.equal(outputs.predicted_map, decoded)
        assert outputs.uncertainty.shape == (2, SIZE, SIZE)
    elif task == LABELS:
        assert outputs.class_maps.shape == (2, 6, SIZE, SIZE)
        torch.testing.assert_close(outputs.class_maps[:, CLASSES.start : CLASSES.stop], decoded.softmax(1))
        assert not outputs.class_maps[:, : CLASSES.start].any()
    else:
        assert outputs.class_maps.shape == (2, 6, SIZE, SIZE)
        for image in range(2):
            chosen = outputs.class_labels[image].tolist()
            assert len(set(chosen)) == len(chosen) and set(chosen) <= set(CLASSES)  # each class once
            for group, label in enumerate(chosen):
                left = 1 - outputs.class_logits[image, group].softmax(-1)[-1]
                expected = decoded[image, group].clamp(1e-6, 1) * left
                torch.testing.assert_close(outputs.class_maps[image, label], expected)
        assert torch.isneginf(outputs.class_logits[..., : CLASSES.start]).all()


@pytest.mark.parametrize("task", TASKS)
def test_batched_equals_single_and_cached_equals_uncached(model, task):
    together = model.generate(pixel_values=IMAGES, task=task)
    for image in range(2):
        alone = model.generate(pixel_values=IMAGES[image : image + 1], task=task)
        assert torch.equal(alone.sequences[0], together.sequences[image])
        torch.testing.assert_close(alone.soft_tokens[0], together.soft_tokens[image], rtol=1e-4, atol=1e-5)
    uncached = model.generate(pixel_values=IMAGES, task=task, use_cache=False)
    assert torch.equal(uncached.sequences, together.sequences)
    torch.testing.assert_close(uncached.soft_tokens, together.soft_tokens, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_one_pass_parallel_equals_step_by_step(task):
    model = dense_model(dense_config(parallel=True))
    outputs = model.generate(pixel_values=IMAGES, task=task)
    grammar = model.grammar(task)
    logits = model(
        pixel_values=IMAGES,
        decoder_input_ids=grammar.decoder_input_ids(outputs.sequences[:, 1:]),
        task_ids=torch.full((2,), grammar.task.task_id),
    ).logits
    codes = grammar.code_range
    dense = [p for p in range(grammar.length) if grammar.is_dense(p)]
    expected = logits[:, dense, codes.start : codes.stop].softmax(-1)
    torch.testing.assert_close(outputs.soft_tokens, expected, rtol=1e-4, atol=1e-5)


HEADS = [
    (AutoModelForPoseEstimation, AiTForPoseEstimation, KEYPOINTS),
    (AutoModelForSemanticSegmentation, AiTForSemanticSegmentation, SEMANTICS),
]


@pytest.mark.parametrize(("auto", "head", "task"), HEADS)
def test_heads_save_and_load(auto, head, task, tmp_path):
    model = dense_model(dense_config((task,)), head)
    model.save_pretrained(tmp_path)
    loaded, whole = auto.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is head
    outputs, again = model(pixel_values=IMAGES), loaded(pixel_values=IMAGES)
    generated = whole.generate(pixel_values=IMAGES)
    if task == KEYPOINTS:
        assert torch.equal(outputs.pred_keypoints, again.pred_keypoints)
        assert torch.equal(outputs.pred_keypoints, generated.pred_keypoints)
    else:
        assert torch.equal(outputs.logits, again.logits)
        torch.testing.assert_close(outputs.logits.exp(), generated.class_maps)
    learned = model(pixel_values=IMAGES, labels=dense_labels(task))
    assert learned.loss.requires_grad and torch.isfinite(learned.loss)


WRONG_CONFIGURATIONS = [
    (SEMANTICS, {"num_groups": 5}, "5 groups for 4 classes"),
    (SEMANTICS, {"class_range": [4, 9]}, "class_range"),
    (SEMANTICS, {"object_order": "left_to_right"}, "object_order"),
    (SEMANTICS, {"slots": ["class", "class", "segment"]}, "a class, then the codes"),
    (LABELS, {"class_range": [0, 6]}, "label maps of 6 classes"),
    (KEYPOINTS, {"grid_size": [2, 2]}, r"\[1, 4\]"),
    (KEYPOINTS, {"auxiliary_loss": "silog"}, "auxiliary_loss"),
    (NORMALS, {"output_type": "pose"}, "tokenizer of type 'pose'"),
    (NORMALS, {"num_groups": 2}, "one dense block"),
]


@pytest.mark.parametrize(("task", "settings", "message"), WRONG_CONFIGURATIONS)
def test_wrong_declarations_are_refused(task, settings, message):
    with pytest.raises(Exception, match=message) as error:
        dense_config((task,), settings)
    assert isinstance(error.value.__cause__ or error.value, ValueError)


WRONG_LABELS = [
    (KEYPOINTS, lambda labels: labels[:, :, :2], "must be of shape"),
    (NORMALS, lambda labels: labels[:, :1], "must be of shape"),
    (SEMANTICS, lambda labels: labels[:, :64], "must be of shape"),
    (SEMANTICS, lambda labels: labels.clamp(max=6), "classes 2 to 5"),
    (LABELS, lambda labels: labels + 3, "255|class"),
]


@pytest.mark.parametrize(("task", "spoil", "message"), WRONG_LABELS)
def test_wrong_labels_are_refused(model, task, spoil, message):
    with pytest.raises(ValueError, match=message):
        model(batches={task: {"pixel_values": IMAGES, "labels": spoil(dense_labels(task))}})
