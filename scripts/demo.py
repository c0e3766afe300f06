# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The main job, on rendered rooms and two CPU cores: a depth tokenizer with mask augmentation (and one without), a small
autoregressive and a small parallel task-solver, all evaluated on the same fixed test rooms.

    make demo                                             # or, in an environment with ait-hf[demo]:
    python scripts/demo.py
    python scripts/demo.py --output /tmp/short train.max_steps=20

Writes to the output folder: `ait/` and `aitp/` (load them with `AutoModel.from_pretrained`), `tokenizer/`,
`metrics.json`, `curves.png`, `gallery.png` (AiT-P) and `gallery_ait.png`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from ait_hf import VQTokenizer
from ait_hf.data.synthetic import render_room, synthetic_rooms
from ait_hf.evaluation import (
    decoding_modes,
    depth_gallery_rows,
    evaluate_depth,
    evaluate_tokenizer,
    reconstruct_depth,
    rgbd_collator,
)
from ait_hf.inference import load_model_and_processor
from ait_hf.training.files import write_text
from ait_hf.training.recipes import load_recipe
from ait_hf.training.solver import SolverRecipe
from ait_hf.training.tokenizer import TokenizerRecipe
from ait_hf.visualization import depth_gallery, save_image, training_curves


SCRIPTS = Path(__file__).resolve().parent
NUM_TEST_ROOMS = 128
NUM_GALLERY_ROOMS = 6
NUM_ROOMS_FOR_THE_MEAN = 512
BATCH_SIZE = 32
SOLVERS = {"ait": "AiT", "aitp": "AiT-P"}
STAGES = [("tokenizer", "tokenizer without mask augmentation"), tuple(SOLVERS.values())]
# What the paper reports: (claim, the number that should be lower, the number that should be higher).
ORDERINGS = [
    ("soft tokens in the solver help (Table 9)", "AiT, soft in the solver", "AiT, hard"),
    ("soft tokens in the detokenizer help (Table 9)", "AiT, soft in the detokenizer", "AiT, hard"),
    ("both help more than the solver alone (Table 9)", "AiT, soft in both", "AiT, soft in the solver"),
    ("both help more than the detokenizer alone (Table 9)", "AiT, soft in both", "AiT, soft in the detokenizer"),
    ("soft tokens help the parallel model (Table 12)", "AiT-P, soft", "AiT-P, hard"),
    ("parallel beats autoregressive (Table 12)", "AiT-P, soft", "AiT, soft in both"),
    ("mask augmentation costs reconstruction (Table 11)", "tokenizer without mask augmentation", "tokenizer"),
    ("mask augmentation fills holes better (Figure 2)", "tokenizer, in holes", "tokenizer without, in holes"),
]


@dataclass
class Job:
    """One run of a training script."""

    script: str
    recipe_name: str
    kind: type
    overrides: list[str]

    @property
    def recipe(self) -> Path:
        return SCRIPTS / "recipes" / self.recipe_name


@dataclass
class Row:
    """One line of the final table; errors in metres on valid pixels."""

    name: str
    rmse: float
    delta1: float | None = None
    abs_rel: float | None = None
    token_distance: float | None = None
    seconds: float | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="values to replace in all four recipes")
    parser.add_argument("--output", default="runs/demo", help="folder for everything that is written")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    start = time.perf_counter()
    output = Path(arguments.output)
    overrides = [*arguments.overrides, f"seed={arguments.seed}", "train.resume=never"]
    jobs = make_jobs(output, overrides)
    try:
        recipes = {name: load_recipe(job.recipe, job.kind, job.overrides) for name, job in jobs.items()}
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    for names in STAGES:
        print(f"\n=== training: {' and '.join(names)} ===", flush=True)
        run_side_by_side([jobs[name] for name in names])
    histories = {name: training_rows(Path(recipe.output_dir)) for name, recipe in recipes.items()}
    size = tuple(recipes["tokenizer"].data.size)
    rooms = list(synthetic_rooms("test", size=size, num_examples=NUM_TEST_ROOMS))
    print("\n=== evaluation ===", flush=True)
    rows = evaluate_all(output, rooms, size)
    save_image(training_curves(histories), output / "curves.png")
    for folder, picture in {"aitp": "gallery.png", "ait": "gallery_ait.png"}.items():
        model, processor = load_model_and_processor(output / folder)
        save_image(depth_gallery(depth_gallery_rows(model, processor, rooms[:NUM_GALLERY_ROOMS])), output / picture)
    findings = check_orderings({row.name: row.rmse for row in rows})
    minutes = (time.perf_counter() - start) / 60
    write_text(
        output / "metrics.json",
        json.dumps({"rows": [vars(row) for row in rows], "orderings": findings, "minutes": minutes}, indent=2),
    )
    print_report(rows, findings, output, minutes)


def make_jobs(output: Path, overrides: list[str]) -> dict[str, Job]:
    """The four trainings by name."""
    tokenizer, solver = "train_tokenizer.py", "train.py"
    jobs = {
        "tokenizer": Job(tokenizer, "demo_tokenizer.yaml", TokenizerRecipe, [f"output_dir={output / 'tokenizer'}"]),
        "tokenizer without mask augmentation": Job(
            tokenizer,
            "demo_tokenizer.yaml",
            TokenizerRecipe,
            [f"output_dir={output / 'tokenizer_without_mask_augmentation'}", "mask_augmentation.ratio=0.0"],
        ),
    }
    for folder, name in SOLVERS.items():
        places = [f"output_dir={output / folder}", f"tasks.depth.tokenizer={output / 'tokenizer'}"]
        jobs[name] = Job(solver, f"demo_{folder}.yaml", SolverRecipe, places)
    for job in jobs.values():
        job.overrides += overrides
    return jobs


def run_side_by_side(jobs: list[Job]) -> None:
    """Runs trainings at the same time, each with its share of the cores: small models gain little from more threads."""
    threads = max(1, (os.cpu_count() or 1) // len(jobs))
    processes = []
    for position, job in enumerate(jobs):
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TQDM_POSITION": str(position)}
        command = [sys.executable, str(SCRIPTS / job.script), str(job.recipe), *job.overrides]
        processes.append(subprocess.Popen(command, env=environment))
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit(f"Training failed with exit codes {codes}; see the messages above.")


def training_rows(folder: Path) -> list[dict[str, float]]:
    """What a run logged step by step; its one evaluation makes no curve."""
    return [row for row in json.loads((folder / "history.json").read_text()) if "loss" in row]


def evaluate_all(output: Path, rooms: list[dict], size: tuple[int, int]) -> list[Row]:
    """All lines of the table, on the test rooms."""
    batches = DataLoader(rooms, batch_size=BATCH_SIZE, collate_fn=rgbd_collator)
    rows = [Row("predict the mean of every pixel", rmse_of_the_mean(rooms, size))]
    tokenizers = {"tokenizer": "tokenizer", "tokenizer without": "tokenizer_without_mask_augmentation"}
    for name, folder in tokenizers.items():
        tokenizer = VQTokenizer.from_pretrained(output / folder).eval()
        result = evaluate_tokenizer(tokenizer, batches)
        full_name = folder.replace("_", " ")
        rows.append(Row(full_name, result["rmse"], result["delta1"], result["abs_rel"]))
        rows.append(Row(f"{name}, in holes", rmse_in_holes(tokenizer, rooms)))
    for folder, name in SOLVERS.items():
        model, processor = load_model_and_processor(output / folder)
        for mode, settings in decoding_modes(model.config.parallel).items():
            start = time.perf_counter()
            result = evaluate_depth(model, processor, batches, description=f"{name}, {mode}", **settings)
            seconds = time.perf_counter() - start
            values = (result[key] for key in ("rmse", "delta1", "abs_rel", "token_distance"))
            rows.append(Row(f"{name}, {mode}", *values, seconds=seconds))
    return rows


def rmse_of_the_mean(rooms: list[dict], size: tuple[int, int]) -> float:
    """Mean over the test rooms of the error of predicting every pixel's mean over training rooms."""
    total, count = np.zeros(size), np.zeros(size)
    for number in tqdm(range(NUM_ROOMS_FOR_THE_MEAN), desc="mean depth", mininterval=1):
        depth = render_room((0, 0, number), size)["depth"]
        total += depth
        count += depth > 0
    mean = total / np.maximum(count, 1)
    errors = [np.sqrt(np.mean((mean - room["depth"])[room["depth"] > 0] ** 2)) for room in rooms]
    return float(np.mean(errors))


def rmse_in_holes(tokenizer: VQTokenizer, rooms: list[dict]) -> float:
    """Mean error of the reconstruction where the sensor saw nothing; rendered rooms know the truth there."""
    errors = []
    with torch.no_grad():
        for room in rooms:
            depth = torch.from_numpy(room["depth"])
            reconstruction, _ = reconstruct_depth(tokenizer, depth, tuple(depth.shape))
            difference = (reconstruction.numpy() - room["depth_complete"])[room["depth"] == 0]
            errors.append(np.sqrt(np.mean(difference**2)))
    return float(np.mean(errors))


def check_orderings(rmse: dict[str, float]) -> list[dict]:
    """The paper's orderings against the measured errors."""
    return [
        {"claim": claim, "lower": lower, "higher": higher, "holds": rmse[lower] < rmse[higher]}
        for claim, lower, higher in ORDERINGS
    ]


def print_report(rows: list[Row], findings: list[dict], output: Path, minutes: float) -> None:
    print(f"\n{'':38}{'RMSE [m]':>10}{'delta1':>9}{'abs rel':>9}{'l2 token':>10}{'seconds':>9}")
    for row in rows:
        values = [(row.rmse, 10, 3), (row.delta1, 9, 3), (row.abs_rel, 9, 3), (row.token_distance, 10, 2)]
        cells = [" " * width if value is None else f"{value:{width}.{digits}f}" for value, width, digits in values]
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        print(f"{row.name:38}{''.join(cells)}{seconds:>9}")
    print(f"\nThe paper's orderings, on {NUM_TEST_ROOMS} rendered rooms and one seed:")
    for finding in findings:
        print(f"  {'holds' if finding['holds'] else 'DOES NOT HOLD HERE':19} {finding['claim']}")
    print(
        f"\nWritten to {output}: ait/, aitp/, tokenizer/, metrics.json, curves.png, gallery.png, gallery_ait.png ({minutes:.1f} min)."
    )


if __name__ == "__main__":
    main()
