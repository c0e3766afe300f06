# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The snippets of docs/tokens.md, run as they stand, in the order of the page, in a folder that holds what they name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from published_tokenizers import made_up_weights
from snippets import read_snippets, run
from text_models import tiny_model, unigram_tokenizer


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("guide")
    rng = np.random.default_rng(0)
    np.save(folder / "inverse_depth.npy", rng.random((48, 64)).astype(np.float32))
    np.savez(
        folder / "vae-oid.npz", **{key: value.numpy() for key, value in made_up_weights("paligemma-mask").items()}
    )
    torch.save({"weights": made_up_weights("molmoact2-depth")}, folder / "vae-final.pt")
    text_tokenizer = unigram_tokenizer(folder / "text")
    model = tiny_model("llama", len(text_tokenizer))
    model.save_pretrained(folder / "my-llm")
    text_tokenizer.save_pretrained(folder / "my-llm")
    (folder / "my-coco").mkdir()
    (folder / "my-coco/train.json").write_text(json.dumps(annotations()), encoding="utf-8")
    return folder


def annotations() -> dict:
    """Two rectangles in each of three images, one of each category."""
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 72, "width": 128} for i in (1, 2, 3)]
    found = []
    for image in images:
        for category, x in ((1, 10), (2, 60)):
            corners = [x, 10, x + 40, 10, x + 40, 40, x, 40]
            found.append({"id": len(found) + 1, "image_id": image["id"], "category_id": category, "iscrowd": 0})
            found[-1] |= {"bbox": [x, 10, 40, 30], "area": 1200, "segmentation": [corners]}
    return {"images": images, "annotations": found, "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]}


def check_map(names: dict, folder: Path) -> None:
    assert names["restored"].shape == (48, 64) and names["text"].count("<depth_") == 103


def check_own_format(names: dict, folder: Path) -> None:
    assert names["short"].repairs == ["62 codes instead of 64", "what was missing was filled with edge"]


def check_generation(names: dict, folder: Path) -> None:
    assert names["answer"].ids.shape == (10, 10) and names["decoded"].sample.shape == (1, 1, 320, 320)
    assert torch.equal(names["decoded"].ids[0], names["answer"].ids)


def check_objects(names: dict, folder: Path) -> None:
    assert [found["label"] for found in names["objects"]] == ["cat", "dog"]
    assert [found["damage"] for found in names["objects"]] == [None, None]


def check_buffer(names: dict, folder: Path) -> None:
    assert all(update.codes.shape == (10, 10) for update in names["updates"])


def check_converted(names: dict, folder: Path) -> None:
    assert (folder / "mask-tokenizer/token_format.json").is_file() and (folder / "depth-tokenizer").is_dir()


def check_commands(names: dict, folder: Path) -> None:
    assert len((folder / "train.jsonl").read_text().splitlines()) == 6 and (folder / "decoded/results.json").is_file()


CHECKS = {
    'from_original("vae-final.pt"': check_map,
    "normals = TokenFormat": check_own_format,
    "add_tokens(text_tokenizer": check_generation,
    "decode_answers([answer]": check_objects,
    "TokenBuffer(grid": check_buffer,
    "ait convert": check_converted,
    "ait tokens encode": check_commands,
}


def test_the_page_as_it_stands(workspace, monkeypatch):
    monkeypatch.chdir(workspace)
    left = dict(CHECKS)
    for snippet in (snippet for snippet in read_snippets("docs/tokens.md") if snippet.runs):
        names = snippet.run_python() if snippet.kind == "python" else {}
        for command in snippet.commands() if snippet.kind == "bash" else ():
            run(command)
        (words,) = [words for words in left if words in snippet.code]
        left.pop(words)(names, workspace)
    assert not left
