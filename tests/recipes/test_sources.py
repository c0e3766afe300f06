# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Data sections as views of sources: what they are called, and were called before."""

from dataclasses import dataclass

import pytest
import torch
import yaml
from accelerate import Accelerator
from huggingface_hub.dataclasses import strict
from training_runs import batches

from ait_hf.recipes.parsing import FORMER_NAMES, apply_override, build, dump_recipe
from ait_hf.tasks.depth.data import DepthData
from ait_hf.tasks.maps.data import AnyMapData
from ait_hf.tasks.objects.data import MaskData, ObjectData
from ait_hf.tasks.poses.data import PersonData, PoseData
from ait_hf.tasks.semantics.data import ClassMaskData, SemanticData
from ait_hf.training.tokenizer import TokenizerRecipe


@strict
@dataclass
class Section:
    data: DepthData | ObjectData | PersonData | MaskData | AnyMapData | PoseData | SemanticData | ClassMaskData


SIZE = {"size": [24, 32], "seed": 2}
FILES = {"train": {"annotations": "my.json", "images": "images"}}
CROP, FRAME, MASK = {"transform": {"crop_size": 16}}, {"transform": {"image_size": 16}}, {"mask_size": 8}
STORED = {"unit": "heat", "num_channels": 1, **CROP}
# By every name that a section had, the view and the source that it is, and values that it needs.
SECTIONS = {
    "synthetic": ("synthetic", "depth", SIZE | CROP),
    "rgbd": ("rgbd", "depth", {"index": "there", **CROP}),
    "nyu_depth": ("nyu_depth", "depth", {"root": "there", **CROP}),
    "hub": ("hub", "depth", {"path": "there", **CROP}),
    "map_hub": ("map_hub", "map", {"path": "there", "map_column": "heat", **STORED}),
    "map_folder": ("map_folder", "map", {"path": "there", **STORED}),
    "synthetic_normals": ("synthetic", "normals", SIZE | CROP),
    "rgbd_normals": ("rgbd", "normals", {"index": "there", "field_of_view": 60.0, **CROP}),
    "coco": ("coco", "objects", FILES | FRAME),
    "coco_shards": ("coco_shards", "objects", {"path": "there", "classes": ["cat"], **FRAME}),
    "synthetic_objects": ("synthetic", "objects", SIZE | FRAME),
    "coco_masks": ("coco", "masks", FILES | MASK),
    "coco_mask_shards": ("coco_shards", "masks", {"path": "there", **MASK}),
    "synthetic_masks": ("synthetic", "masks", SIZE | MASK),
    "coco_keypoints": ("coco", "people", FILES | FRAME),
    "coco_keypoint_shards": ("coco_shards", "people", {"path": "there", **FRAME}),
    "synthetic_people": ("synthetic", "people", SIZE | FRAME),
    "coco_poses": ("coco", "poses", FILES | FRAME),
    "coco_pose_shards": ("coco_shards", "poses", {"path": "there", **FRAME}),
    "synthetic_poses": ("synthetic", "poses", SIZE | FRAME),
    "label_maps": ("label_maps", "labels", {"root": "there", "classes": ["cat"], **FRAME}),
    "label_map_shards": ("label_map_shards", "labels", {"path": "there", "classes": ["cat"], **FRAME}),
    "ade20k": ("ade20k", "labels", {"root": "there", **FRAME}),
    "synthetic_labels": ("synthetic", "labels", SIZE | FRAME),
    "label_map_masks": ("label_maps", "class_masks", {"root": "there", "classes": ["cat"], **FRAME, **MASK}),
    "label_map_mask_shards": ("label_map_shards", "class_masks", {"path": "there", "classes": ["cat"], **FRAME}),
    "ade20k_masks": ("ade20k", "class_masks", {"root": "there", **FRAME, **MASK}),
    "synthetic_class_masks": ("synthetic", "class_masks", SIZE | FRAME | MASK),
}


def section(name: str, **values):
    return build(Section, {"data": {"name": name, "batch_size": 2, **values}}).data


@pytest.mark.parametrize("former", SECTIONS)
def test_former_names_mean_what_they_meant(former):
    name, view, values = SECTIONS[former]
    old, new = section(former, **values), section(name, of=view, **values)
    assert old == new and (new.source.name, new.of) == (name, view)
    saved = yaml.safe_load(dump_recipe(new))
    assert {"name": name, "of": view, "batch_size": 2} == {key: saved[key] for key in ("name", "of", "batch_size")}
    assert "source" not in saved and build(Section, {"data": saved}).data == new
    assert new.name == former and section(new.name, **values) == new  # which messages say


def test_all_former_names_are_tried():
    assert FORMER_NAMES.keys() <= SECTIONS.keys()


@pytest.mark.parametrize("former", [name for name in SECTIONS if name.startswith("synthetic")])
def test_both_names_give_the_same_samples(former):
    _, view, values = SECTIONS[former]
    Accelerator()
    more = {"max_objects": 5, "with_masks": True} if view == "objects" else {}
    old, new = (
        batches(data.stream(**more), num_batches=2)
        for data in (section(former, **values), section("synthetic", of=view, **values))
    )
    torch.testing.assert_close(old, new, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "view"), [("synthetic", "depth"), ("rgbd", "depth"), ("label_maps", "labels"), ("coco", "masks")]
)
def test_without_a_view_tokenizers_learn_the_first_that_fits(name, view):
    values = next(values for source, of, values in SECTIONS.values() if (source, of) == (name, view))
    options = {"optimizer": {"name": "adam", "lr": 1e-3}, "schedule": {"name": "constant"}}
    options |= {"train": {"max_steps": 1}, "evaluation": {"split": "train"}, "output_dir": "there"}
    data = build(TokenizerRecipe, options | {"data": {"name": name, "batch_size": 2, **values}}).data
    assert data.of == view


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "coco", "of": "depth", **FILES}, "data.of must be one of objects, people, masks, poses for 'coco'"),
        ({"name": "photos"}, "data.name must be one of synthetic, rgbd"),
        ({"name": ["coco"], **FILES}, r"data.name must be one of .*, got \['coco'\]"),
        ({"name": "coco", "of": ["masks"], **FILES, **MASK}, r"data.of must be one of .* for 'coco', got \['masks'\]"),
        (
            {"name": "coco_masks", "of": "poses", **FILES, **FRAME},
            "'coco_masks' is of masks, but its `of` says 'poses'",
        ),
        (
            {"name": "rgbd", "of": "depth", "index": "there", "field_of_view": 60.0, **CROP},
            "Unknown key 'field_of_view'",
        ),
        ({"name": "rgbd", "of": "normals", "index": "there", **CROP}, "Missing key 'field_of_view' in section data"),
        ({"name": "coco", "train": {"annotations": 1, "images": "x"}, **FRAME}, "In section data.train"),
    ],
)
def test_wrong_sections_have_one_clear_error(values, message):
    with pytest.raises(ValueError, match=message):
        section(**values)


def test_a_former_name_given_instead_says_the_view_too():
    values = {"data": {"name": "coco", "of": "poses", "batch_size": 2, **FILES, **MASK}}
    apply_override(values, "data.name=coco_masks")
    assert build(Section, values).data.of == "masks"
