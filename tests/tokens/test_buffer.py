# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Depth codes of a video, as MolmoAct 2 publishes them and mended."""

import numpy as np
import pytest
import torch
from golden_data import load_case
from PIL import Image
from published_tokenizers import molmoact_weights

from ait_hf import VQTokenizer
from ait_hf.tokens import AiTTokenProcessor, TokenBuffer
from ait_hf.tokens.buffer import _opencv_bilinear


@pytest.fixture(scope="module")
def molmoact(golden_dir):
    return load_case(golden_dir, "11_molmoact_depth")


def frames_of(entry: dict, tensors: dict, data_dir) -> list[np.ndarray]:
    if entry["files"] is None:
        return list(tensors[f"episode.{entry['index']}.frames_bgr"].numpy())
    paths = [data_dir / name.removeprefix("shared/data/") for name in entry["files"]]
    return [np.asarray(Image.open(path).convert("RGB"))[..., ::-1].copy() for path in paths]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_episodes_as_published(number, molmoact, data_dir):
    case, tensors = molmoact
    entry = case["episodes"][number]
    frames, codes = frames_of(entry, tensors, data_dir), tensors[f"episode.{number}.depth_codes"]
    buffer = TokenBuffer(rule="published")
    for step, (frame, ids) in enumerate(zip(frames, codes)):
        update = buffer.update(frame, ids)
        similarity = tensors[f"episode.{number}.similarity"][step].view(10, 10)
        assert (update.similarity - similarity).abs().max() < 1e-5
        assert torch.equal(update.updated.flatten(), tensors[f"episode.{number}.updated_mask"][step])
        assert torch.equal(update.codes.flatten(), tensors[f"episode.{number}.buffer_codes"][step])
    lerobot = TokenBuffer(rule="published", resize="pillow")
    for step, (frame, ids) in enumerate(zip(frames, codes)):
        update = lerobot.update(frame, ids)
        assert torch.equal(update.updated.flatten(), tensors[f"episode.{number}.lerobot_updated_mask"][step])
        assert [list(span) for span in update.spans()] == entry["lerobot_spans"][step]


def test_codes_of_episodes(molmoact, golden_dir, data_dir, tmp_path):
    """Maps of the depth network, of another size than the frames, to codes."""
    case, tensors = molmoact
    torch.save({"weights": molmoact_weights(golden_dir)}, tmp_path / "vae.pt")
    tokenizer = VQTokenizer.from_original(tmp_path / "vae.pt", preset="molmoact2-depth")
    processor = AiTTokenProcessor(convention="molmoact2-depth")
    for entry in case["episodes"]:
        maps = tensors[f"episode.{entry['index']}.maps"].float() * np.float32(entry["map_scale"])
        inputs = processor(list(maps), image_sizes=[(entry["height"], entry["width"])] * len(maps))
        ids = tokenizer.tokenize(inputs.pixel_values).flatten(1)
        assert torch.equal(ids, tensors[f"episode.{entry['index']}.depth_codes"])


# Red channel of cv2.resize(picture, (8, 6), interpolation=cv2.INTER_LINEAR) of OpenCV 5.0, by seed and size.
OPENCV = {
    (5, (3, 5)): [
        [168, 169, 161, 67, 61, 145, 88, 37],
        [178, 156, 124, 67, 72, 138, 101, 68],
        [197, 131, 49, 68, 92, 123, 128, 130],
        [165, 96, 12, 54, 80, 90, 113, 130],
        [83, 52, 14, 26, 34, 39, 56, 69],
        [42, 30, 15, 12, 11, 13, 27, 38],
    ],
    (6, (13, 17)): [
        [153, 69, 61, 90, 141, 134, 185, 192],
        [165, 99, 130, 111, 176, 70, 126, 82],
        [118, 183, 58, 181, 27, 117, 83, 128],
        [91, 77, 129, 126, 41, 124, 85, 72],
        [131, 140, 188, 87, 84, 108, 106, 147],
        [154, 108, 112, 155, 147, 68, 39, 177],
    ],
}


@pytest.mark.parametrize("seed, size", OPENCV)
def test_frames_resized_as_opencv_does(seed, size):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert _opencv_bilinear(picture, (6, 8))[..., 0].tolist() == OPENCV[seed, size]


def textured(seed: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, (2 * side, 3 * side, 3), dtype=np.uint8)


def run(frames: list[np.ndarray], rule: str) -> list[torch.Tensor]:
    buffer = TokenBuffer(grid=(2, 3), rule=rule, patch_size=8)
    return [buffer.update(f, torch.full((2, 3), step)).codes for step, f in enumerate(frames)]


def test_slow_drift_adds_up_once_mended():
    start, end = textured(0).astype(float), textured(1).astype(float)
    frames = [(start + (end - start) * share / 30).astype(np.uint8) for share in range(31)]
    assert (run(frames, "published")[-1] == 0).all()
    mended = run(frames, "mended")
    assert (mended[-1] > 0).all()


def test_black_patches_change_once_mended():
    bright = textured(2)
    black = bright.copy()
    black[:8, :8] = 0
    frames = [black, bright, black, black]
    published, mended = run(frames, "published"), run(frames, "mended")
    assert [codes[0, 0].item() for codes in published] == [0, 0, 0, 0]
    assert [codes[0, 0].item() for codes in mended] == [0, 1, 2, 2]
    assert all((codes.flatten()[1:] == 0).all() for codes in (*published, *mended))


def test_a_new_video_and_what_is_refused():
    buffer = TokenBuffer(grid=(2, 3), patch_size=8)
    buffer.update(textured(0), torch.zeros(6, dtype=torch.long))
    buffer.reset()
    update = buffer.update(textured(0), torch.ones(2, 3, dtype=torch.long))
    assert update.updated.all() and (update.codes == 1).all() and update.spans() == [(0, 6, True)]
    for frame, codes, message in (
        (textured(0).astype(float), torch.zeros(6, dtype=torch.long), "uint8"),
        (textured(0)[..., 0], torch.zeros(6, dtype=torch.long), "uint8"),
        (textured(0), torch.zeros(5, dtype=torch.long), "2 x 3 codes"),
        (textured(0), torch.zeros(6), "integers"),
    ):
        with pytest.raises(ValueError, match=message):
            buffer.update(frame, codes)
    for arguments in ({"rule": "new"}, {"resize": "best"}, {"grid": (0, 3)}):
        with pytest.raises(ValueError):
            TokenBuffer(**arguments)
