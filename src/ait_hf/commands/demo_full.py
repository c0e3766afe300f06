# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the paper compares, small: tokenizers and models of rendered rooms, trained and evaluated: `ait demo --full`."""

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader

from ..data.rooms.depth import mean_depth, synthetic_rooms
from ..data.rooms.objects import OBJECT_CLASSES, room_objects
from ..data.writing import write_text
from ..drawing.curves import training_curves
from ..drawing.picture_files import save_image
from ..inference.generating import decoding_modes
from ..inference.loading import load_model_and_processor
from ..model.tokenization_vq import VQTokenizer
from ..recipes.parsing import read_values
from ..tasks.depth.drawing import depth_gallery, joint_gallery
from ..tasks.depth.evaluation import depth_gallery_rows, evaluate_depth, evaluate_tokenizer, rgbd_collator
from ..tasks.maps.evaluation import reconstruct_map
from ..tasks.objects.evaluation import coco_ground_truth, evaluate_objects, image_collator, object_gallery_rows
from ..training.solver import read_recipe
from .demo_tokens import Row, mean_rmse, print_table


NUM_TEST_ROOMS = 128
NUM_GALLERY_ROOMS = 6
NUM_ROOMS_FOR_THE_MEAN = 512
BATCH_SIZE = 32
SOLVERS = {"ait": "AiT", "joint": "AiT-P"}
STAGES = [("tokenizer", "tokenizer without mask augmentation", "mask tokenizer"), tuple(SOLVERS.values())]
OBJECT_TASK = "instance-segmentation"
DRAWN_SCORE = 0.4
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
# Columns of the tables, their heads and digits.
DEPTH_COLUMNS = {"rmse": ("RMSE [m]", 3), "delta1": ("delta1", 3), "abs_rel": ("abs rel", 3)}
DEPTH_COLUMNS |= {"token_distance": ("l2 token", 2), "seconds": ("seconds", 1)}
OBJECT_COLUMNS = {"box_ap50": ("box AP50", 3), "mask_ap50": ("mask AP50", 3), "mask_ap": ("mask AP", 3)}


def run(options: argparse.Namespace) -> None:
    start = time.perf_counter()
    output = Path(options.output)
    jobs = make_jobs(output, [*options.overrides, f"seed={options.seed}", "train.resume=never"])
    recipes = {name: read_recipe(read_values(recipe, changes)) for name, (recipe, *changes) in jobs.items()}
    for names in STAGES:
        print(f"\n=== training: {' and '.join(names)} ===", flush=True)
        run_side_by_side([jobs[name] for name in names])
    histories = {}
    for name, recipe in recipes.items():
        history = json.loads((Path(recipe.output_dir) / "history.json").read_text())
        histories[name] = [row for row in history if "loss" in row]  # its one evaluation makes no curve
    size = tuple(recipes["tokenizer"].data.source.size)
    rooms = list(synthetic_rooms("test", size=size, num_examples=NUM_TEST_ROOMS))
    print("\n=== evaluation ===", flush=True)
    rows = evaluate_all(output, rooms, size)
    objects = [room_objects(room) | {"image_id": number} for number, room in enumerate(rooms)]
    object_rows = evaluate_joint_objects(output / "joint", objects)
    save_image(training_curves(histories), output / "curves.png")
    for folder, picture in {"joint": "gallery.png", "ait": "gallery_ait.png"}.items():
        drawn = depth_gallery_rows(*load_model_and_processor(output / folder), rooms[:NUM_GALLERY_ROOMS])
        save_image(depth_gallery(drawn), output / picture)
    save_image(joint_picture(output / "joint", rooms, objects), output / "joint.png")
    rmse = {row["name"]: row["rmse"] for row in rows}
    findings = [
        {"claim": claim, "lower": lower, "higher": higher, "holds": rmse[lower] < rmse[higher]}
        for claim, lower, higher in ORDERINGS
    ]
    minutes = (time.perf_counter() - start) / 60
    report = {"rows": rows, "object_rows": object_rows, "orderings": findings, "minutes": minutes}
    write_text(output / "metrics.json", json.dumps(report, indent=2))
    print_table("", rows, DEPTH_COLUMNS)
    print_table("objects of the joint model", object_rows, OBJECT_COLUMNS)
    print(f"\nThe paper's orderings, on {NUM_TEST_ROOMS} rendered rooms and one seed:")
    for finding in findings:
        print(f"  {'holds' if finding['holds'] else 'DOES NOT HOLD HERE':19} {finding['claim']}")
    print(
        f"\nWritten to {output}: ait/, joint/, tokenizer/, mask_tokenizer/, metrics.json, curves.png, gallery.png, "
        f"gallery_ait.png, joint.png ({minutes:.1f} min)."
    )


def make_jobs(output: Path, overrides: list[str]) -> dict[str, list[str]]:
    """What `ait train` is told for each training, by its name."""
    depth, masks = f"tasks.depth.tokenizer={output / 'tokenizer'}", output / "mask_tokenizer"
    unmasked = [f"output_dir={output / 'tokenizer_without_mask_augmentation'}", "mask_augmentation.ratio=0.0"]
    places = {
        "tokenizer": ["demo_tokenizer", f"output_dir={output / 'tokenizer'}"],
        "tokenizer without mask augmentation": ["demo_tokenizer", *unmasked],
        "mask tokenizer": ["demo_mask_tokenizer", f"output_dir={masks}", "data.batch_size=32", "train.max_steps=250"],
        **{name: [f"demo_{folder}", f"output_dir={output / folder}", depth] for folder, name in SOLVERS.items()},
    }
    places["AiT-P"].append(f"tasks.{OBJECT_TASK}.tokenizer={masks}")
    return {name: [*arguments, *overrides] for name, arguments in places.items()}


def run_side_by_side(jobs: list[list[str]]) -> None:
    """Runs trainings at the same time, each with its share of the cores: small models gain little from more threads."""
    threads = max(1, (os.cpu_count() or 1) // len(jobs))
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "ait_hf.commands.train"]
    processes = [
        subprocess.Popen([*command, *arguments], env=environment | {"TQDM_POSITION": str(position)})
        for position, arguments in enumerate(jobs)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit(f"Training failed with exit codes {codes}; see the messages above.")


@torch.no_grad()
def evaluate_all(output: Path, rooms: list[dict], size: tuple[int, int]) -> list[Row]:
    """All lines of the table, on the test rooms."""
    batches = DataLoader(rooms, batch_size=BATCH_SIZE, collate_fn=rgbd_collator)
    mean = mean_depth(size, NUM_ROOMS_FOR_THE_MEAN)
    rmse = mean_rmse((mean - room["depth"])[room["depth"] > 0] for room in rooms)
    rows = [{"name": "predict the mean of every pixel", "rmse": rmse}]
    for name, folder in ("tokenizer", "tokenizer"), ("tokenizer without", "tokenizer_without_mask_augmentation"):
        tokenizer = VQTokenizer.from_pretrained(output / folder).eval()
        rows.append({"name": folder.replace("_", " "), **evaluate_tokenizer(tokenizer, batches)})
        # Rendered rooms know the truth where the sensor saw nothing, too.
        maps = (reconstruct_map(tokenizer, torch.from_numpy(room["depth"])[None])[0][0].numpy() for room in rooms)
        holes = ((rebuilt - room["depth_complete"])[room["depth"] == 0] for rebuilt, room in zip(maps, rooms))
        rows.append({"name": f"{name}, in holes", "rmse": mean_rmse(holes)})
    for folder, name in SOLVERS.items():
        model, processor = load_model_and_processor(output / folder)
        for mode, settings in decoding_modes(model.config.parallel).items():
            start = time.perf_counter()
            result = evaluate_depth(model, processor, batches, description=f"{name}, {mode}", **settings)
            rows.append({"name": f"{name}, {mode}", **result, "seconds": time.perf_counter() - start})
    return [{"name": row["name"]} | {column: row.get(column) for column in DEPTH_COLUMNS} for row in rows]


def evaluate_joint_objects(folder: Path, rows: list[dict]) -> list[Row]:
    """Hard and soft masks of the joint model's objects."""
    model, processor = load_model_and_processor(folder, OBJECT_TASK)
    category_ids = range(len(OBJECT_CLASSES))
    batches = DataLoader(rows, batch_size=BATCH_SIZE, collate_fn=partial(image_collator, processor=processor))
    given, results = (model, processor, batches, coco_ground_truth(rows, category_ids)), []
    for mode, settings in decoding_modes(parallel=True).items():
        how = {"task": OBJECT_TASK, "category_ids": category_ids, "description": f"objects, {mode}", **settings}
        values, _ = evaluate_objects(*given, **how)
        columns = zip(OBJECT_COLUMNS, (values["bbox_AP50"], values["segm_AP50"], values["segm_AP"]))
        results.append({"name": f"AiT-P, {mode}", **dict(columns)})
    return results


def joint_picture(folder: Path, rooms: list[dict], objects: list[dict]) -> Image.Image:
    """Depth and instances of the same rooms from one model."""
    chosen = [number for number in range(NUM_TEST_ROOMS) if len(objects[number]["boxes"]) > 1][:NUM_GALLERY_ROOMS]
    model, processor = load_model_and_processor(folder, OBJECT_TASK)
    how = {"task": OBJECT_TASK, "class_names": OBJECT_CLASSES, "threshold": DRAWN_SCORE}
    rows = object_gallery_rows(model, processor, [objects[number] for number in chosen], **how)
    maps = depth_gallery_rows(*load_model_and_processor(folder), [rooms[number] for number in chosen])
    for row, depth in zip(rows, maps, strict=True):
        row |= {"depth": depth["depth"], "predicted_depth": depth["prediction"]}
    return joint_gallery(rows, threshold=DRAWN_SCORE)
