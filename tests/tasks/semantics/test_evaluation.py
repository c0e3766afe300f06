# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Evaluation of semantic segmentation: with answers that are known beforehand, with tiny models, from the command line."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from tiny_dense import CLASSES, SEMANTICS, SIZE, dense_config, dense_model

from ait_hf import AiTForSemanticSegmentation, VQTokenizer
from ait_hf.commands.evaluate import main as evaluate
from ait_hf.data.rooms.rendering import LABEL_CLASSES
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.metrics.semantic import SemanticMetric
from ait_hf.tasks.semantics.drawing import semantic_gallery
from ait_hf.tasks.semantics.evaluation import (
    evaluate_semantic,
    evaluate_semantic_tokenizer,
    frame_processor,
    labelled_image_collator,
    measure_label_maps,
    semantic_gallery_rows,
)


NAMES = ["sky", "road", "car", "tree"]
FRAME = (32, 48)


def labelled(height: int, width: int, seed: int) -> dict:
    """Large rectangles of classes, a strip of ignored pixels."""
    generator = np.random.default_rng(seed)
    blocks = generator.integers(0, 4, (2, 2)).astype(np.uint8)
    label_map = blocks.repeat(height // 2, 0).repeat(width // 2, 1)
    label_map[: height // 10] = 255
    image = generator.integers(0, 255, (height, width, 3)).astype(np.uint8)
    return {"image": image, "label_map": label_map}


ROWS = [labelled(40, 60, 0), labelled(60, 40, 1), labelled(32, 48, 2)]


class Oracle(torch.nn.Module):
    """Knows the answers, as class 2 and on of a model of six classes, and gives them at the frame's size."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, rows, shift: int = 0):
        super().__init__()
        self.answers, self.shift, self.seen = list(rows), shift, []
        declared = SimpleNamespace(image_size=FRAME)
        self.config = SimpleNamespace(num_classes=6, task=lambda _: declared, classes=lambda _: range(2, 6))

    def generate(self, pixel_values, **settings):
        assert not self.training and pixel_values.shape[1:] == (3, *FRAME)
        self.seen.append(settings)
        processor, maps = frame_processor(FRAME, normalize=True), torch.zeros(len(pixel_values), 6, *FRAME)
        for scores in maps:
            label_map = self.answers.pop(0)["label_map"]
            size = processor.resized_size(*label_map.shape)
            small = np.asarray(Image.fromarray(label_map).resize(size[::-1], Image.Resampling.NEAREST))
            for number in range(4):
                found = torch.tensor(small == (number + self.shift) % 4)
                scores[2 + number, : size[0], : size[1]] = 0.9 * found
        return SimpleNamespace(class_maps=maps)


def batches(rows, size=2):
    processor = frame_processor(FRAME, normalize=True)
    return [labelled_image_collator(rows[i : i + size], processor=processor) for i in range(0, len(rows), size)]


def test_right_answers_are_right_at_the_images_sizes():
    oracle = Oracle(ROWS)
    processor = frame_processor(FRAME, normalize=True)
    values = evaluate_semantic(oracle, processor, batches(ROWS), class_names=NAMES, soft_detokenizer=False)
    assert values["mIoU"] > 0.9 and values["aAcc"] > 0.95 and values["num_images"] == 3
    assert oracle.seen == [{"task": SEMANTICS, "soft_detokenizer": False}] * 2


def test_wrong_answers_are_wrong():
    """Every class is taken for another one: only borders, where classes mix, may be right by chance."""
    processor = frame_processor(FRAME, normalize=True)
    values = evaluate_semantic(Oracle(ROWS, shift=1), processor, batches(ROWS), class_names=NAMES)
    assert values["mIoU"] < 0.05


def test_pixels_without_any_score_get_a_class_of_the_task():
    """Where all masks are empty, the model's first classes, which are not the task's, must not win."""

    class Silent(Oracle):
        def generate(self, pixel_values, **settings):
            return SimpleNamespace(class_maps=torch.zeros(len(pixel_values), 6, *FRAME))

    values = evaluate_semantic(Silent([]), frame_processor(FRAME, normalize=True), batches(ROWS), class_names=NAMES)
    pixels = np.concatenate([row["label_map"][row["label_map"] < 255] for row in ROWS])
    assert values["aAcc"] == pytest.approx((pixels == 0).mean())


def test_any_predictor_is_measured_alike():
    values = measure_label_maps(lambda batch: batch["label_maps"], batches(ROWS), NAMES, accelerator=Accelerator())
    assert values["mIoU"] == values["aAcc"] == 1


def test_parts_that_do_not_fit_are_named():
    processor = frame_processor(FRAME, normalize=True)
    with pytest.raises(ValueError, match="The task semantic-segmentation has 4 classes, but the data have 3"):
        evaluate_semantic(Oracle(ROWS), processor, batches(ROWS), class_names=NAMES[:3])
    with pytest.raises(ValueError, match="takes images of 32x48 pixels, but this image processor makes 48x48"):
        evaluate_semantic(Oracle(ROWS), frame_processor((48, 48), normalize=True), [], class_names=NAMES)
    with pytest.raises(ValueError, match=r"image of \(40, 60\) pixels has a label map of \(20, 60\)"):
        labelled_image_collator([ROWS[0] | {"label_map": ROWS[0]["label_map"][:20]}], processor=processor)
    with pytest.raises(ValueError, match="no images to evaluate"):
        evaluate_semantic(Oracle(ROWS), processor, [], class_names=NAMES)


class Copy(torch.nn.Module):
    """A tokenizer in name: its codes are the maps themselves."""

    device = torch.device("cpu")

    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit
        self.config = SimpleNamespace(unit=unit, out_channels=4, sample_size=48, num_vq_embeddings=256)

    def tokenize(self, maps):
        return maps.long() if self.unit == "class" else maps[:, 0].long()

    def detokenize(self, ids):
        if self.unit == "class":
            known = ids.clamp(max=3)
            return torch.nn.functional.one_hot(known, 4).permute(0, 3, 1, 2).float()
        return ids[:, None].float()


@pytest.mark.parametrize("unit", ["class", "mask"])
def test_a_perfect_tokenizer_loses_only_pixels_between_classes(unit):
    values = evaluate_semantic_tokenizer(Copy(unit), ROWS, class_names=NAMES, image_size=FRAME)
    assert values["mIoU"] > 0.9 and values["num_images"] == 3 and 1 < values["perplexity"] <= 256


def test_tokenizers_of_other_things_are_refused():
    arguments = {"class_names": NAMES, "image_size": FRAME}
    with pytest.raises(ValueError, match="of 'metre', neither of label maps nor of masks"):
        evaluate_semantic_tokenizer(Copy("metre"), ROWS, **arguments)
    with pytest.raises(ValueError, match="knows 4 classes, but the data have 3"):
        evaluate_semantic_tokenizer(Copy("class"), ROWS, **arguments | {"class_names": NAMES[:3]})


# The command


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of rooms' classes."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    config = dense_config(
        (SEMANTICS,), {"class_range": None}, num_classes=6, id2label=dict(enumerate(LABEL_CLASSES[:6])), parallel=True
    )
    model = dense_model(config, AiTForSemanticSegmentation)
    save_with_remote_code(model, {SEMANTICS: frame_processor((SIZE, SIZE), normalize=False)}, folder)
    return folder


def run(capsys, *arguments) -> str:
    evaluate([str(argument) for argument in ("--task", SEMANTICS, *arguments)])
    return capsys.readouterr().out


def refusal(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as caught:
        evaluate([str(argument) for argument in ("--task", SEMANTICS, *arguments)])
    message = capsys.readouterr().err
    assert caught.value.code == 2 and message.count("\n") == 1
    return message


def test_rooms_in_all_modes_with_the_models_tokenizer(saved, tmp_path, capsys):
    output, gallery = tmp_path / "metrics.json", tmp_path / "gallery.png"
    arguments = ["--model", saved, "--data", "synthetic", "--split", "test", "--limit", 3, "--modes", "all"]
    table = run(capsys, *arguments, "--tokenizer-reconstruction", "--output", output, "--gallery", gallery)
    results = json.loads(output.read_text())["results"]
    assert list(results) == ["hard", "soft", "the model's tokenizer"]
    for values in results.values():
        assert 0 <= values["mIoU"] <= values["aAcc"] <= 1 and values["num_images"] == 3
        assert any(name.startswith("IoU/") for name in values)
    assert "mIoU" in table and Image.open(gallery).size[0] > 1000


def test_folders_take_the_models_names(saved, tmp_path, capsys):
    for name in ("images", "annotations"):
        (tmp_path / name / "val").mkdir(parents=True)
    for number, row in enumerate(ROWS):
        Image.fromarray(row["image"]).save(tmp_path / "images/val" / f"{number}.png")
        Image.fromarray(row["label_map"]).save(tmp_path / "annotations/val" / f"{number}.png")
    output = tmp_path / "metrics.json"
    arguments = ["--model", saved, "--data", f"labels:{tmp_path}", "--split", "val", "--output", output]
    run(capsys, *arguments)
    values = json.loads(output.read_text())["results"]["as the checkpoint says"]
    assert values["num_images"] == 3 and {f"IoU/{name}" for name in LABEL_CLASSES[:4]} <= set(values)
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    assert "shows the classes 'sky', 'road'" in refusal(capsys, *arguments, "--classes", tmp_path / "classes.txt")
    assert "Unknown split 'train'" in refusal(capsys, *arguments, "--split", "train")


def test_a_tokenizer_alone(tmp_path, capsys):
    tokenizer = VQTokenizer(
        in_channels=6, out_channels=6, downsample_ratio=8, base_channels=2, num_vq_embeddings=16, vq_embed_dim=8,
        sample_size=32, unit="class", loss_type="cross_entropy",
    )  # fmt: skip
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    arguments = ["--tokenizer", tmp_path / "tokenizer", "--output", tmp_path / "metrics.json"]
    assert "mIoU" in run(capsys, *arguments, "--data", "synthetic", "--split", "test", "--limit", 2)
    message = refusal(capsys, *arguments, "--data", "synthetic", "--split", "test", "--limit", 2, "--people")
    assert f"knows 6 classes, but the data have {len(LABEL_CLASSES)}" in message
    assert "give --classes FILE" in refusal(capsys, *arguments, "--data", "labels:somewhere", "--split", "val")


def test_options_that_make_no_sense(saved, capsys):
    model = ["--model", saved]
    assert "labels:ROOT, ade20k:ROOT or synthetic" in refusal(capsys, *model, "--data", "x.json", "--split", "val")
    assert "Give the --split" in refusal(capsys, *model, "--data", "synthetic")
    assert "have no end" in refusal(capsys, *model, "--data", "synthetic", "--split", "train")
    assert "go with labels:ROOT" in refusal(
        capsys, *model, "--data", "synthetic", "--split", "val", "--ignored-ids", "11"
    )
    assert "--people goes with" in refusal(capsys, *model, "--data", "labels:x", "--split", "val", "--people")
    assert "no meaning for" in refusal(capsys, *model, "--data", "synthetic", "--split", "test", "--images", "x")


def test_gallery_rows_have_the_tasks_own_numbers():
    model = dense_model(dense_config((SEMANTICS,), parallel=True), AiTForSemanticSegmentation)
    rows = semantic_gallery_rows(model, frame_processor((SIZE, SIZE), normalize=False), ROWS[:2])
    assert len(CLASSES) == len(NAMES)
    for row, example in zip(rows, ROWS):
        assert row["prediction"].shape == row["uncertainty"].shape == example["label_map"].shape
        assert row["prediction"].max() < len(NAMES) and 0 <= row["uncertainty"].min() <= row["uncertainty"].max() <= 1
    assert semantic_gallery(rows, NAMES).height > 100


def test_the_metric_is_the_public_one():
    """What the evaluation says is what the metric says of the same maps."""
    metric = SemanticMetric(NAMES, keep_in_memory=True)
    rolled = [torch.tensor(np.where(row["label_map"] == 255, 0, np.roll(row["label_map"], 5)) % 4) for row in ROWS]
    for found, row in zip(rolled, ROWS):
        metric.add_map(found, torch.tensor(row["label_map"]))
    answers = iter(rolled)
    values = measure_label_maps(lambda batch: [next(answers) for _ in batch["label_maps"]], batches(ROWS), NAMES)
    assert values == metric.compute()
