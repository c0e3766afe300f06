# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""PaliGemma from annotations to training data, through the library's own classes, and from answers to COCO results."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_tokenizers import paligemma_masks, paligemma_text
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from repository import SCRIPTS
from text_models import tiny_model, unigram_tokenizer
from transformers import PaliGemmaProcessor, SiglipImageProcessor

from ait_hf import VQTokenizer
from ait_hf.tokens import AiTTokenProcessor, TokenFormatLogitsProcessor, add_tokens, get_preset
from ait_hf.tokens.paligemma import coco_results, decode_answers


FORMAT = get_preset("paligemma-mask").token_format


@pytest.fixture(scope="module")
def masks(golden_dir):
    return paligemma_masks(golden_dir)


def test_answers_as_big_vision_scores_them(masks):
    case, tensors, tokenizer = masks
    entries = case["evaluator"]
    texts = [paligemma_text(tensors[f"eval.{entry['index']:02d}.tokens"], case) for entry in entries]
    sizes = [(entry["height"], entry["width"]) for entry in entries]
    answers = decode_answers(texts, sizes, tokenizer, rule="evaluator")
    for entry, objects in zip(entries, answers):
        (found,) = objects
        assert (found["mask"] is not None) == entry["valid"] == (found["damage"] is None), entry["name"]
        if not entry["valid"]:
            continue
        y1, x1, y2, x2 = entry["box_pixels_y1_x1_y2_x2"]
        assert found["box"] == (x1, y1, x2, y2)
        truth = tensors[f"mask.{entry['ground_truth_mask']:02d}"] > 0
        iou = (truth & found["mask"]).sum() / (truth.sum() + found["mask"].sum() - (truth & found["mask"]).sum())
        assert iou.item() == pytest.approx(entry["iou"], abs=2e-4), entry["name"]
        assert (found["mask"] != tensors[f"eval.{entry['index']:02d}.mask"].bool()).sum() <= 2


def test_answers_as_plain_dictionaries(masks):
    case, _, tokenizer = masks
    texts = [entry["text"] for entry in case["text"]]
    sizes = [(entry["height"], entry["width"]) for entry in case["text"]]
    together = decode_answers(texts, sizes, tokenizer)
    for entry, objects, size in zip(case["text"], together, sizes):
        (alone,) = decode_answers([entry["text"]], [size], tokenizer)
        assert [found["box"] for found in alone] == [found["box"] for found in objects]
        for one, other in zip(alone, objects):
            assert (one["mask"] is None) == (other["mask"] is None)
            # Kernels round by the size of a batch, so that a pixel at the threshold may fall on either side.
            assert one["mask"] is None or (one["mask"] != other["mask"]).sum() <= 2
        if entry["name"] == "three_objects":
            assert [found["label"] for found in objects] == ["cat", "starfish", "shoes"]
            assert all(found["mask"].shape == size and found["mask"].any() for found in objects)
        if entry["name"] == "box_below_one_pixel":
            assert objects[0]["damage"] == "the box has no pixel in an image of 173x119" and objects[0]["box"] is None
        if entry["name"] == "fifteen_codes":
            assert objects[0]["damage"] == "15 codes instead of 16"
            assert objects[0]["box"] is not None and objects[0]["mask"] is None and objects[0]["label"] == "cat"
        if entry["name"] == "boxes_without_masks":
            assert [found["damage"] for found in objects] == [None, None]
            assert all(found["mask"] is None and found["box"] is not None for found in objects)
    with pytest.raises(ValueError, match="got 1 for 2 answers"):
        decode_answers(["", ""], [(3, 3)], tokenizer)
    with pytest.raises(ValueError, match="no rule 'best'"):
        decode_answers([""], [(3, 3)], tokenizer, rule="best")


def test_results_name_why_objects_are_left_out(masks):
    _, _, tokenizer = masks
    text = "<loc0100><loc0100><loc0500><loc0600> Cat ; <loc0100><loc0100><loc0500><loc0600> cow ; <loc0001> cat"
    (objects,) = decode_answers([text], [(100, 200)], tokenizer)
    results, left_out = coco_results(objects, 7, {"cat": 3})
    assert results == [{"image_id": 7, "category_id": 3, "bbox": [20, 10, 97, 39], "score": 1.0}]
    assert left_out == ["the label 'cow' is no category", "1 location tokens instead of 4"]


# The library's own classes


def test_a_tiny_paligemma_trains_on_the_text_and_answers(masks, tmp_path):
    _, _, codec = masks
    text_tokenizer = unigram_tokenizer(tmp_path)
    image_processor = SiglipImageProcessor(size={"height": 16, "width": 16})
    image_processor.image_seq_length = 4
    processor = PaliGemmaProcessor(image_processor, text_tokenizer)  # which adds locations and codes itself
    model = tiny_model("paligemma", 104)
    vocabulary = add_tokens(processor.tokenizer, model, FORMAT, codec)
    assert processor.tokenizer.convert_tokens_to_ids(["<loc0000>", "<seg127>"]) == [
        vocabulary.locations[0],
        vocabulary.codes[127],
    ]
    suffix = FORMAT.to_text(torch.arange(16), [[10, 20, 300, 400]], ["cat"])
    picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
    inputs = processor(images=[picture], text=["<image>segment cat"], suffix=[suffix], return_tensors="pt")
    labels = inputs["labels"][0]
    (block,) = vocabulary.parse(labels[labels >= 0])
    assert block.ids.flatten().tolist() == list(range(16)) and block.locations == (10, 20, 300, 400)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    prompt = processor(images=[picture], text=["<image>segment cat"], return_tensors="pt")
    length = prompt["input_ids"].shape[1]
    constrained = [TokenFormatLogitsProcessor(vocabulary, prompt_length=length, max_length=length + 24)]
    bias = {(location,): 9.0 for location in vocabulary.locations}
    torch.manual_seed(0)
    answers = model.generate(
        **prompt, max_new_tokens=24, do_sample=True, sequence_bias=bias, logits_processor=constrained
    )
    text = processor.decode(answers[0, length:], skip_special_tokens=True)
    (objects,) = decode_answers([text], [(90, 70)], codec)
    whole = [found for found in objects if "is not above" not in (found["damage"] or "") or found["mask"] is not None]
    assert objects and all(found["damage"] is None or "box" in found["damage"] for found in whole)


# The commands


SCRIPT = SCRIPTS / "tokens.py"


@pytest.fixture(scope="module")
def command():
    spec = importlib.util.spec_from_file_location("script_tokens", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return lambda *arguments: module.main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folders(masks, tmp_path_factory):
    """Converted tokenizers, of masks and of maps."""
    folder = tmp_path_factory.mktemp("tokenizers")
    for name, tokenizer in (("mask", masks[2]), ("depth", None)):
        preset = get_preset("paligemma-mask" if name == "mask" else "molmoact2-depth")
        if tokenizer is None:
            torch.manual_seed(0)
            tokenizer = VQTokenizer(**preset.tokenizer)
        tokenizer.save_pretrained(folder / name)
        AiTTokenProcessor(convention=preset.convention).save_pretrained(folder / name)
        preset.token_format.save_pretrained(folder / name)
    return folder


def annotations(broken: bool = False) -> dict:
    images = [
        {"id": 5, "file_name": "a.jpg", "height": 120, "width": 160},
        {"id": 9, "file_name": "b.jpg", "height": 80, "width": 60},
    ]
    images.append({"id": 11, "file_name": "c.jpg", "height": 80, "width": 60})
    rectangles = [(5, 1, 20, 30, 60, 50), (5, 2, 90, 10, 40, 100), (5, 1, 5, 5, 30, 20), (9, 2, 10, 10, 40, 60)]
    found = [
        {"id": number, "image_id": image, "category_id": category, "bbox": [x, y, w, h], "area": w * h, "iscrowd": 0}
        | {"segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}
        for number, (image, category, x, y, w, h) in enumerate(rectangles, start=1)  # pycocotools takes 0 for none
    ]
    crowd = {"segmentation": {"size": [80, 60], "counts": [10, 4790]}, "iscrowd": 1}
    found.append(found[3] | {"id": 9} | crowd)
    if broken:
        found.append(found[3] | {"id": 20, "segmentation": [[1, 2, 3, 4]]})
        found.append(found[3] | {"id": 21, "bbox": [200, 10, 5, 5]})
        found.append(found[3] | {"id": 22, "segmentation": None})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "hot dog"}]
    return {"images": images, "annotations": found, "categories": categories}


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_coco_to_training_data_and_back(folders, command, tmp_path, capsys):
    (tmp_path / "train.json").write_text(json.dumps(annotations()))
    command("encode", "--tokenizer", folders / "mask", "--output", tmp_path / "train.jsonl", tmp_path / "train.json")
    summary = json.loads(capsys.readouterr().out.splitlines()[0])
    assert summary == {"samples": 3, "lines": 3, "crowds": 1, "left out or unreadable": 0}
    lines = lines_of(tmp_path / "train.jsonl")
    assert [(line["image"], line["prefix"]) for line in lines] == [
        ("a.jpg", "segment cat"),
        ("a.jpg", "segment hot dog"),
        ("b.jpg", "segment hot dog"),
    ]
    assert lines[0]["suffix"].count(" ; ") == 1 and lines[0]["suffix"].endswith(" cat")
    assert lines[2]["suffix"].startswith("<loc0128><loc0170><loc0895><loc0852>")

    options = ["--annotations", tmp_path / "train.json", "--output", tmp_path / "decoded", tmp_path / "train.jsonl"]
    command("decode", "--tokenizer", folders / "mask", *options)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["results"] == 4
    results = json.loads((tmp_path / "decoded/results.json").read_text())
    boxes = {(r["image_id"], r["category_id"], *r["bbox"]) for r in results}
    truth = {(a["image_id"], a["category_id"], *a["bbox"]) for a in annotations()["annotations"] if not a["iscrowd"]}
    assert boxes == truth
    coco = COCO(str(tmp_path / "train.json"))
    evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / "decoded/results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[1] > 0.99
    assert all("counts" in result["segmentation"] for result in results)
    report = lines_of(tmp_path / "decoded/answers.jsonl")
    files = [block["file"] for entry in report for block in entry["blocks"]]
    assert len(files) == 4 and Image.open(tmp_path / "decoded" / files[0]).size == (160, 120)

    command(
        "encode",
        "--tokenizer",
        folders / "mask",
        "--task",
        "detect",
        "--output",
        tmp_path / "boxes.jsonl",
        tmp_path / "train.json",
    )
    assert lines_of(tmp_path / "boxes.jsonl")[0]["prefix"] == "detect cat"
    assert "<seg" not in (tmp_path / "boxes.jsonl").read_text()


def test_unreadable_samples_are_counted(folders, command, tmp_path, capsys):
    (tmp_path / "train.json").write_text(json.dumps(annotations(broken=True)))
    command("encode", "--tokenizer", folders / "mask", "--output", tmp_path / "train.jsonl", tmp_path / "train.json")
    output = capsys.readouterr().out
    assert json.loads(output.splitlines()[0])["left out or unreadable"] == 3
    assert "annotation 20: The object has no polygon of three points" in output
    assert "annotation 21: its box has no area in the image." in output and "annotation 22: " in output
    assert len(lines_of(tmp_path / "train.jsonl")) == 3


def test_maps_of_a_folder_and_an_exact_resume(folders, command, tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "maps").mkdir()
    for number in range(5):
        np.save(tmp_path / f"maps/{number}.npy", rng.random((40, 50 + number)).astype(np.float32))
    (tmp_path / "maps/5.npy").write_bytes(b"broken")
    Image.fromarray(rng.integers(0, 60000, (30, 20)).astype(np.uint16)).save(tmp_path / "maps/6.png")
    arguments = ["encode", "--tokenizer", folders / "depth", "--prompt", "depth map", "--batch-size", 1]
    command(*arguments, "--output", tmp_path / "whole.jsonl", tmp_path / "maps")
    summary = json.loads(capsys.readouterr().out.splitlines()[0])
    assert summary == {"samples": 7, "lines": 6, "crowds": 0, "left out or unreadable": 1}

    class Stop(Exception):
        pass

    tokenize, calls = VQTokenizer.tokenize, []

    def stops_at_the_fourth(self, x):
        calls.append(1)
        if len(calls) == 4:
            raise Stop
        return tokenize(self, x)

    monkeypatch.setattr(VQTokenizer, "tokenize", stops_at_the_fourth)
    with pytest.raises(Stop):
        command(*arguments, "--output", tmp_path / "broken.jsonl", tmp_path / "maps")
    assert not (tmp_path / "broken.jsonl").exists()
    journal = tmp_path / ".broken.jsonl.journal"
    journal.write_text(journal.read_text() + '{"records": [{"ima')  # as a crash may leave it
    command(*arguments, "--output", tmp_path / "broken.jsonl", tmp_path / "maps")
    assert len(calls) == 4 + 3  # the three that were missing, of which one cannot be read
    assert (tmp_path / "broken.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()
    assert not journal.exists()
    journal.write_text('{"other": 1}\n{"records": []}\n')
    (tmp_path / "broken.jsonl").unlink()
    with pytest.raises(SystemExit):
        command(*arguments, "--output", tmp_path / "broken.jsonl", tmp_path / "maps")
    assert "is what is left of another job" in capsys.readouterr().err


def test_masks_of_a_jsonl_file(folders, command, tmp_path, capsys):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 20:50] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    lines = [
        {"mask": "m.png", "label": "cat", "image": "photo.jpg"},
        {"mask": "m.png", "box": [0.0, 0.0, 1.0, 1.0], "prefix": "segment it"},
        {"mask": "m.png", "label": "a ; b"},
        {"mask": "m.png", "box": [0.5, 0.5, 0.5, 0.9]},
        {"mask": "m.png", "box": "all of it"},
        {"mask": "none.png"},
    ]
    (tmp_path / "masks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    arguments = [
        "encode",
        "--tokenizer",
        folders / "mask",
        "--output",
        tmp_path / "out.jsonl",
        tmp_path / "masks.jsonl",
    ]
    command(*arguments)
    assert json.loads(capsys.readouterr().out.splitlines()[0])["left out or unreadable"] == 4
    first, second = lines_of(tmp_path / "out.jsonl")
    assert (first["image"], first["prefix"]) == ("photo.jpg", "segment cat") and first["suffix"].endswith(" cat")
    assert first["suffix"].startswith("<loc0256><loc0341><loc0767><loc0852>")
    assert (second["image"], second["prefix"]) == ("m.png", "segment it")
    assert second["suffix"].startswith("<loc0000><loc0000><loc1023><loc1023>")
    (tmp_path / "masks.jsonl").write_text('{"mask": "m.png", "label": 5}\n')
    with pytest.raises(SystemExit):
        command(*arguments, "--overwrite")
    assert "Line 1 of" in (error := capsys.readouterr().err) and "label that is no text: 5" in error


def test_answers_to_maps(folders, command, tmp_path, capsys):
    form = get_preset("molmoact2-depth").token_format
    good = form.to_text(torch.arange(100))
    answers = [
        {"answer": f"The depth is {good}.", "height": 30, "width": 40},
        {"answer": good + good},
        {"suffix": good.replace("<depth_99>", "")},
        {"answer": "no depth"},
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in answers))
    arguments = ["decode", "--tokenizer", folders / "depth", tmp_path / "answers.jsonl", "--output", tmp_path / "out"]
    command(*arguments)
    summary = json.loads(capsys.readouterr().out)
    assert summary == {"answers": 4, "blocks": 4, "damaged": 1, "repaired": 0, "left out or unreadable": 0}
    assert np.load(tmp_path / "out/000000_0.npy").shape == (30, 40)
    assert np.array_equal(np.load(tmp_path / "out/000001_0.npy"), np.load(tmp_path / "out/000001_1.npy"))
    assert Image.open(tmp_path / "out/000001_0.png").size == (320, 320)
    with pytest.raises(SystemExit):
        command(*arguments)
    assert "answers.jsonl exists: choose another output or pass --overwrite" in capsys.readouterr().err
    command(*arguments, "--overwrite", "--fill", "edge")
    assert json.loads(capsys.readouterr().out)["repaired"] == 1


def test_commands_refuse_in_one_line(folders, command, tmp_path, capsys):
    (tmp_path / "lines.jsonl").write_text('{"text": 1}\n')
    (tmp_path / "empty").mkdir()
    mask = ["--tokenizer", folders / "mask", "--output", tmp_path / "out"]
    depth = ["--tokenizer", folders / "depth", "--output", tmp_path / "out"]
    for arguments, message in (
        (["encode", *mask, tmp_path / "none"], "neither a file nor a folder"),
        (["encode", *mask, tmp_path / "empty"], "nothing to encode"),
        (["encode", *mask, tmp_path / "lines.jsonl"], "has no 'mask' that names a file"),
        (["encode", "--tokenizer", tmp_path, "--output", tmp_path / "out", tmp_path / "empty"], "no config.json"),
        (["decode", *mask, tmp_path / "lines.jsonl"], "neither answer nor suffix"),
        (["decode", *mask, "--fill", "edge", tmp_path / "lines.jsonl"], "never filled"),
        (["decode", *depth, "--annotations", tmp_path / "x.json", tmp_path / "lines.jsonl"], "not of maps"),
        (["decode", *mask, tmp_path / "none.jsonl"], "There is no file"),
        (["decode", *depth, "--batch-size", 0, tmp_path / "lines.jsonl"], "at least 1"),
    ):
        with pytest.raises(SystemExit) as caught:
            command(*arguments)
        error = capsys.readouterr().err
        assert caught.value.code == 2 and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()
