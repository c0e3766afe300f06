# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Sequences and losses of object tasks, against the released heads with their recorded draws and closed forms."""

import pytest
import torch
from golden_data import load_case, relative_error
from golden_models import ReplayedDraws
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from tiny import mixed_config, tiny_config

from ait_hf import AiTForDenseTokenGeneration, TaskGrammar
from ait_hf.conversion.vq_tokenizer import convert_vq_tokenizer_state_dict
from ait_hf.model.group_objectives_ait import BAD, DUPLICATE, OBJECT, Draws, draw_object_groups
from ait_hf.model.loss_ait import IGNORE_INDEX, dice_loss


MASK_TOKENIZER = {
    "base_channels": 4,
    "vq_embed_dim": 12,
    "num_vq_embeddings": 16,
    "num_res_blocks": 1,
    "sample_size": 64,
    "downsample_ratio": 16,
    "value_range": [0.0, 1.0],
    "unit": "mask",
    "loss_type": "mse",
}


def golden_model(**task):
    """The model that the 04 cases are made with: 12 objects in a frame of 128 pixels."""
    objects = {"slots": ["coordinate"] * 4 + ["class"], "output_type": "objects", "num_groups": 12}
    objects |= {"image_size": [128, 128]}
    masks = {"slots": ["coordinate"] * 4 + ["class", "mask"], "grid_size": [4, 4], "dense_loss_weight": 0.2}
    masks |= {"auxiliary_loss": "dice_mse", "auxiliary_loss_weight": 5.0}
    tasks = {
        "object-detection": {"task_id": 0, **objects},
        "instance-segmentation": {"task_id": 1, **objects, **masks, **task},
    }
    config = tiny_config(
        tokenizers={"mask": MASK_TOKENIZER}, tasks=tasks, num_reserved_ids=4, max_position_embeddings=252
    )
    assert config.vocab_size == 113
    return AiTForDenseTokenGeneration(config).eval()


def load_mask_tokenizer(model, golden_dir):
    stored = load_file(golden_dir / "04_insseg_head_0" / "weights.safetensors")
    weights = {key.removeprefix("vqvae."): tensor for key, tensor in stored.items()}
    tokenizer = model.tokenizers["mask"]
    tokenizer.load_state_dict(convert_vq_tokenizer_state_dict(weights, model.config.tokenizers["mask"]))
    return tokenizer


def replay(model, golden_dir, case):
    """The case, its tensors, the objective and the sequence that the recorded draws give."""
    case, tensors = load_case(golden_dir, case)
    draws = [tensors[name] for name in case["draw_order"]]
    corruption = [draws[-2][0], draws[-1][0]]  # drawn for the whole batch of one image
    objective = model.objectives["instance-segmentation"]
    groups = draw_object_groups(
        objective.grammar,
        tensors["gt_boxes"],
        tensors["gt_labels"],
        case["config"]["img_shape"],
        ReplayedDraws(draws[:-2] + corruption),
    )
    tokenizer = load_mask_tokenizer(model, golden_dir)
    sequence = objective.complete(objective.draft_of_groups([groups], [tensors["gt_masks"]]), tokenizer)
    return tensors, objective, sequence, tokenizer


@pytest.mark.parametrize("case", ["04_insseg_head_0", "04_insseg_head_1", "04_insseg_head_2"])
def test_instance_sequences_replay_the_recorded_draws(golden_dir, case):
    tensors, objective, sequence, _ = replay(golden_model(), golden_dir, case)
    assert torch.equal(objective.grammar.decoder_input_ids(sequence.tokens)[:, 1:], tensors["input_seq"])
    assert torch.equal(sequence.labels, tensors["target_seq"])
    assert torch.equal(sequence.target, tensors["mask_targets"])


@pytest.mark.parametrize("supervision, name", [("duplicates", "sup_neg_mask"), ("none", "no_sup_mask")])
@pytest.mark.parametrize("case", ["04_insseg_head_0", "04_insseg_head_1", "04_insseg_head_2"])
def test_variants_of_mask_supervision(golden_dir, case, supervision, name):
    tensors, _, sequence, _ = replay(golden_model(mask_supervision=supervision), golden_dir, case)
    assert torch.equal(sequence.labels, tensors[f"target_seq_{name}"])


@pytest.mark.parametrize("case", ["04_insseg_head_0", "04_insseg_head_1", "04_insseg_head_2"])
def test_instance_losses_match_the_released_head(golden_dir, case):
    tensors, objective, sequence, tokenizer = replay(golden_model(), golden_dir, case)
    logits = tensors["logits"].requires_grad_()
    outputs = objective.loss(logits[sequence.labels != IGNORE_INDEX], sequence, tokenizer)
    assert relative_error(outputs.total.detach(), tensors["loss"]) < 1e-5
    assert relative_error(outputs.parts["class"], tensors["cls_ce"]) < 1e-5
    assert outputs.num_tokens == (tensors["target_seq"] != IGNORE_INDEX).sum()
    if case == "04_insseg_head_1":  # an image without objects
        assert outputs.decoded is None and outputs.parts["box"] == 0
        return
    assert relative_error(outputs.parts["box"], tensors["bbox_ce"]) < 1e-5
    assert relative_error(0.2 * outputs.parts["mask"], tensors["mask_ce"]) < 1e-5
    assert relative_error(outputs.parts["auxiliary"], tensors["decoder_aux_ce"]) < 1e-5
    if case == "04_insseg_head_2":
        outputs.total.backward()
        assert relative_error(outputs.decoded.detach(), tensors["soft_masks"]) < 1e-5
        assert relative_error(logits.grad[:, :63], tensors["grad_logits_objects"]) < 1e-4
        assert relative_error(dice_loss(outputs.decoded.detach(), sequence.target), tensors["aux_dice"]) < 1e-5


def test_detection_sequences_and_loss_match_the_released_head(golden_dir):
    model = golden_model()
    objective = model.objectives["object-detection"]
    case, tensors = load_case(golden_dir, "04_det_head")
    draws = [tensors[name] for name in case["draw_order"]]
    noise = [draws[3:12], draws[12:20], draws[20:29]]  # after the three permutations of the objects
    groups = [
        draw_object_groups(
            objective.grammar,
            tensors[f"gt_boxes_{image}"],
            tensors[f"gt_labels_{image}"],
            case["config"]["img_shape"],
            ReplayedDraws([draws[image], *noise[image], draws[-2][image], draws[-1][image]]),
        )
        for image in range(3)
    ]
    sequence = objective.complete(objective.draft_of_groups(groups, [None] * 3), None)
    assert torch.equal(objective.grammar.decoder_input_ids(sequence.tokens)[:, 1:], tensors["input_seq"])
    assert torch.equal(sequence.labels, tensors["target_seq"])
    outputs = objective.loss(tensors["logits"][sequence.labels != IGNORE_INDEX], sequence, None)
    assert relative_error(outputs.total, tensors["loss"]) < 1e-5
    assert relative_error(outputs.parts["class"], tensors["cls_ce"]) < 1e-5
    assert relative_error(outputs.parts["box"], tensors["bbox_ce"]) < 1e-5


# Any number of classes (LVIS has 1203), bins, objects.
sizes = st.fixed_dictionaries(
    {
        "num_classes": st.sampled_from([1, 7, 80, 1203]),
        "num_coordinate_bins": st.integers(1, 2000),
        "side": st.integers(1, 40).map(lambda n: 32 * n),
    }
)


def grammar_of(sizes, num_groups=5, **changes):
    task = {"task_id": 0, "slots": ["coordinate"] * 4 + ["class"], "output_type": "objects", "num_groups": num_groups}
    task["image_size"] = [sizes["side"], sizes["side"] // 2 + 1]
    fields = {"num_classes": sizes["num_classes"], "num_coordinate_bins": sizes["num_coordinate_bins"]}
    return TaskGrammar.from_config(tiny_config(tasks={"objects": task | changes}, **fields), "objects")


@settings(max_examples=50, deadline=None)
@given(sizes=sizes, seed=st.integers(0, 2**31))
def test_objects_survive_the_round_trip_within_half_a_bin(sizes, seed):
    grammar, generator = grammar_of(sizes), torch.Generator().manual_seed(seed)
    limits = torch.tensor([sizes["side"] // 2 + 1, sizes["side"]]).repeat(2)
    boxes = torch.rand(2, 3, 4, generator=generator) * limits
    labels = torch.randint(sizes["num_classes"], (2, 3), generator=generator)
    tokens = grammar.objects_to_tokens(grammar.boxes_to_tokens(boxes), labels + grammar.vocabulary.classes.start)
    assert tokens.shape == (2, 15)
    assert ((tokens >= 0) & (tokens < grammar.vocabulary.noise_id)).all()
    decoded, classes = grammar.tokens_to_objects(tokens)
    assert torch.equal(classes, labels)
    assert torch.equal(grammar.tokens_to_boxes(grammar.boxes_to_tokens(boxes)), decoded)
    assert [grammar.group_end(position) for position in range(15)] == [5] * 5 + [10] * 5 + [15] * 5
    half_a_bin = sizes["side"] / sizes["num_coordinate_bins"] / 2
    assert (decoded - boxes).abs().max() <= half_a_bin * (1 + 1e-4)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(0, 12))
def test_drawn_groups_obey_their_rules(seed, count):
    sizes = {"num_classes": 7, "num_coordinate_bins": 64, "side": 128}
    grammar, generator = grammar_of(sizes, num_groups=12), torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 4, generator=generator).sort(-1).values[:, [0, 2, 1, 3]] * 60
    labels = torch.randint(7, (count,), generator=generator)
    groups = draw_object_groups(grammar, boxes, labels, (128, 65), Draws(torch.Generator().manual_seed(seed)))
    again = draw_object_groups(grammar, boxes, labels, (128, 65), Draws(torch.Generator().manual_seed(seed)))
    assert all(torch.equal(getattr(groups, name), getattr(again, name)) for name in vars(groups))
    assert groups.kinds.tolist() == sorted(groups.kinds.tolist(), key=lambda kind: kind != OBJECT)
    real = groups.kinds == OBJECT
    assert real.sum() == count and sorted(groups.sources[real].tolist()) == list(range(count))
    assert torch.equal(groups.boxes[real], boxes[groups.sources[real]])
    assert torch.equal(groups.class_tokens[real] - grammar.vocabulary.classes.start, labels[groups.sources[real]])
    assert (groups.class_tokens[~real] == grammar.vocabulary.noise_id).all()
    assert (groups.boxes >= 0).all() and (groups.boxes <= torch.tensor([65, 128, 65, 128])).all()
    assert ((groups.sources == -1) == (groups.kinds == BAD)).all()
    duplicates = groups.kinds == DUPLICATE
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)[groups.sources[duplicates]]
    moved = (groups.boxes[duplicates] - boxes[groups.sources[duplicates]]).abs()
    assert (moved <= 0.1 * sides + 1e-4).all()
    allowed = {grammar.vocabulary.noise_id, *grammar.vocabulary.classes}
    assert set(groups.input_class_tokens.tolist()) <= allowed


def test_objects_may_come_from_left_to_right():
    sizes = {"num_classes": 7, "num_coordinate_bins": 64, "side": 128}
    boxes = torch.tensor([[10.0, 0, 15, 4], [3, 3, 60, 50], [7, 0, 20, 30]])
    grammar = grammar_of(sizes, object_order="left_to_right")
    groups = draw_object_groups(grammar, boxes, torch.tensor([4, 5, 6]), (128, 65), Draws())
    assert groups.sources[:3].tolist() == [1, 2, 0]
    assert torch.equal(groups.boxes[:3], boxes[[1, 2, 0]])


def labels_of(seed, count, height=96, width=96):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, height, width, dtype=torch.uint8)
    boxes = torch.zeros(count, 4)
    for index in range(count):
        x, y = torch.randint(60, (2,), generator=generator).tolist()
        w, h = (torch.randint(30, (2,), generator=generator) + 4).tolist()
        masks[index, y : y + h, x : x + w] = 1
        boxes[index] = torch.tensor([x, y, x + w, y + h])
    labels = torch.randint(6, (count,), generator=generator)
    return {"boxes": boxes, "class_labels": labels, "masks": masks, "seed": torch.tensor(seed)}


def objects_config(**changes):
    config = mixed_config(**changes)
    tasks = {"objects": config.tasks["objects"] | {"output_type": "objects", "auxiliary_loss": "dice_mse"}}
    return mixed_config(**(changes | {"tasks": tasks}))


@pytest.mark.parametrize("slots", [["class", "mask"], ["mask", "class"]])
@pytest.mark.parametrize("parallel", [False, True])
def test_losses_of_a_batch_are_those_of_its_images(parallel, slots):
    config = objects_config(parallel=parallel)
    config.tasks["objects"]["slots"] = ["coordinate"] * 4 + slots
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    images = torch.rand(3, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    labels = [labels_of(1, 3), labels_of(2, 0), labels_of(3, 1)]

    def losses(chosen):
        batch = {"pixel_values": images[chosen], "labels": [labels[index] for index in chosen]}
        return model(batches={"objects": batch}).losses["objects"]

    whole, single = losses([0, 1, 2]), [losses([index]) for index in range(3)]
    assert whole["num_tokens"] == sum(loss["num_tokens"] for loss in single) == 4 * 8 + 9
    # The auxiliary loss is a mean over the objects of the batch, times the number of mask tokens: 3 objects and 1.
    assert torch.isclose(whole["auxiliary"], (3 * single[0]["auxiliary"] + single[2]["auxiliary"]) / 4, rtol=1e-5)
    assert torch.isclose(whole["total"], sum(loss["total"] for loss in single), rtol=1e-5)


def test_weights_of_class_and_mask_slots():
    config = objects_config()
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    batch = {"pixel_values": torch.rand(1, 3, 96, 96), "labels": [labels_of(1, 2)]}
    task = model.grammars["objects"].task
    task.auxiliary_loss = None
    losses = model(batches={"objects": batch}).losses["objects"]
    # 2 objects with 4 coordinates and 4 codes, 3 classes
    sums = {"box": 8 * losses["box"], "class": 3 * losses["class"], "mask": 8 * losses["mask"]}
    assert torch.isclose(losses["total"], sum(sums.values()), rtol=1e-5)
    task.class_loss_weight, task.dense_loss_weight = 3.0, 0.1
    losses = model(batches={"objects": batch}).losses["objects"]
    assert torch.isclose(losses["total"], sums["box"] + 3 * sums["class"] + 0.1 * sums["mask"], rtol=1e-5)


def test_joint_losses_are_the_weighted_sum_of_the_tasks():
    depth = tiny_config().tasks["depth"] | {"loss_weight": 0.2}
    config = objects_config()
    tokenizers = config.tokenizers | tiny_config().tokenizers
    config = mixed_config(tokenizers=tokenizers, tasks=config.tasks | {"depth": depth}, pad_images_to=[96, 96])
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config).eval()
    generator = torch.Generator().manual_seed(1)
    objects = {"pixel_values": torch.rand(1, 3, 96, 96, generator=generator), "labels": [labels_of(1, 2)]}
    maps = {
        "pixel_values": torch.rand(2, 3, 96, 96, generator=generator),
        "labels": 5 * torch.rand(2, 96, 96, generator=generator),
    }
    joint = model(batches={"objects": objects, "depth": maps})
    apart = {"objects": model(batches={"objects": objects}), "depth": model(batches={"depth": maps})}
    for task, outputs in apart.items():
        for name, value in outputs.losses[task].items():
            assert torch.isclose(joint.losses[task][name], value, rtol=1e-5)
    assert torch.isclose(joint.loss, apart["objects"].loss + apart["depth"].loss, rtol=1e-5)
    expected = 0.2 * joint.losses["depth"]["total"] / 18
    assert torch.isclose(apart["depth"].loss, expected, rtol=1e-5)


def test_an_image_that_two_tasks_show_is_encoded_once_and_learned_from_as_if_given_twice(monkeypatch):
    config = objects_config()
    tokenizers = config.tokenizers | tiny_config().tokenizers
    config = mixed_config(tokenizers=tokenizers, tasks=config.tasks | {"depth": tiny_config().tasks["depth"]})
    torch.manual_seed(0)
    model = AiTForDenseTokenGeneration(config)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 96, 96, generator=generator)
    objects = {"labels": [labels_of(1, 2), labels_of(2, 1)]}
    batches = {"depth": {"pixel_values": images, "labels": 5 * torch.rand(2, 96, 96, generator=generator)}}
    encoded = []
    model.model.encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))

    def learned(given):
        model.zero_grad()
        torch.manual_seed(2)
        outputs = model(batches=batches | {"objects": objects | given})
        outputs.loss.backward()
        return outputs.loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    torch.testing.assert_close(
        learned({"images_of": "depth"}), learned({"pixel_values": images}), rtol=1e-3, atol=1e-5
    )
    assert encoded == [2, 4]


def test_labels_that_do_not_fit_are_refused():
    model = AiTForDenseTokenGeneration(objects_config())
    image = torch.rand(1, 3, 96, 96)

    def refused(labels, message):
        with pytest.raises(ValueError, match=message):
            model(batches={"objects": {"pixel_values": image, "labels": labels}})

    refused([labels_of(1, 4)], "An image has 4 objects, but a sequence holds 3")
    refused([labels_of(1, 1) | {"class_labels": torch.tensor([6])}], "class_labels must be 0 to 5")
    refused([{key: value for key, value in labels_of(1, 1).items() if key != "masks"}], "needs masks")
    refused([labels_of(1, 2) | {"masks": labels_of(1, 1)["masks"]}], r"needs masks of shape \(2, height, width\)")
    refused([labels_of(1, 2) | {"class_labels": torch.tensor([1])}], r"class_labels must have shape \(2,\)")
    refused([labels_of(1, 1) | {"boxes": torch.full((1, 4), torch.nan)}], "boxes must be finite")
    refused([labels_of(1, 1) | {"boxes": torch.zeros(4)}], r"shape \(objects, 4\), got shape \(4,\)")
    refused([labels_of(1, 1), labels_of(2, 1)], "has 1 images but labels of 2")
    with pytest.raises(ValueError, match="Unknown task"):
        model(batches={"nothing": {"pixel_values": image, "labels": []}})
