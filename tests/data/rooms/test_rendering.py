# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Rendered rooms: depth against closed forms, consistency of the fields, and the data set's bookkeeping."""

import itertools
import math
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader

from ait_hf.data.rooms.depth import ENDLESS, NUM_SHARDS, SPLITS, render_room, synthetic_rooms
from ait_hf.data.rooms.rendering import (
    CLASS_NAMES,
    HOLE_FRACTION,
    LABEL_CLASSES,
    STRUCTURE,
    Camera,
    Material,
    Scene,
    SceneObject,
    render,
    sensor_holes,
    trace,
)
from ait_hf.data.rooms.rooms import random_scene
from ait_hf.data.rooms.shapes import Box, Capsules, Cylinder, Plane, Sphere


GRAY = Material(((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
SIZE = (48, 64)
EYE = (1.0, 2.0, 1.5)


def level_camera(yaw=0.0, pitch=0.0, roll=0.0):
    return Camera.looking(EYE, yaw=yaw, pitch=pitch, roll=roll, field_of_view=math.radians(60))


def scene_of(*shapes, camera=None):
    objects = tuple(SceneObject(shape, GRAY, STRUCTURE if isinstance(shape, Plane) else 1) for shape in shapes)
    return Scene(camera or level_camera(), objects, light=(0.0, 0.0, 3.0))


def pixel_rays(camera, size):
    """Directions (height, width, 3) by the pinhole equations, one pixel at a time, in float64."""
    focal = max(size) / 2 / math.tan(camera.field_of_view / 2)
    rays = np.empty((*size, 3))
    for row, column in np.ndindex(size):
        x, y = (column + 0.5 - size[1] / 2) / focal, (row + 0.5 - size[0] / 2) / focal
        rays[row, column] = camera.rotation @ [x, y, 1.0]
    return rays


@pytest.mark.parametrize("size", [(48, 64), (64, 48), (7, 5)])
def test_wall_facing_the_camera_has_one_depth(size):
    depth, _ = trace(scene_of(Plane(1, 5.0, -1)), size)
    np.testing.assert_allclose(depth, 3.0, rtol=1e-6)


def test_depth_is_along_the_axis_not_along_the_ray():
    camera = level_camera(yaw=0.3, pitch=-0.4, roll=0.2)
    depth, _ = trace(scene_of(Plane(2, 0.0, 1), camera=camera), SIZE)
    down = pixel_rays(camera, SIZE)[..., 2]
    hits = down < -0.02
    np.testing.assert_allclose(depth[hits], (-EYE[2] / down)[hits], rtol=1e-4)
    assert np.isinf(depth[down >= 0]).all()


def test_camera_axes_are_a_right_handed_frame():
    camera = level_camera(yaw=0.7, pitch=-0.3, roll=0.1)
    np.testing.assert_allclose(camera.rotation.T @ camera.rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(camera.rotation) == pytest.approx(1)
    assert camera.rotation[2, 2] == pytest.approx(math.sin(-0.3))
    np.testing.assert_allclose(level_camera().rotation, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)


def test_sphere_depth_is_the_nearer_root():
    camera = level_camera(yaw=-0.2, pitch=-0.1)
    center, radius = np.array([1.6, 5.0, 1.2]), 0.6
    depth, _ = trace(scene_of(Sphere(tuple(center), radius), camera=camera), SIZE)
    rays = pixel_rays(camera, SIZE)
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    along = unit @ (center - EYE)
    miss = np.linalg.norm(center - EYE) ** 2 - along**2
    expected = (along - np.sqrt(np.maximum(radius**2 - miss, 0))) / np.linalg.norm(rays, axis=-1)
    inside, outside = miss < 0.98 * radius**2, miss > 1.02 * radius**2
    assert inside.sum() > 50
    np.testing.assert_allclose(depth[inside], expected[inside], rtol=1e-4)
    assert np.isinf(depth[outside]).all()


RODS = Capsules(
    starts=np.array([[0.6, 4.4, 1.0], [1.4, 4.6, 1.6], [1.0, 4.0, 1.5]]),
    ends=np.array([[0.9, 4.9, 2.0], [1.5, 4.0, 1.2], [1.0, 4.0, 1.5]]),
    radii=np.array([0.15, 0.2, 0.1]),
)


def near_rods(offsets):
    """Distance from the nearest axis in radii, of float64 (3, n) offsets from the middle of `RODS`."""
    points = offsets.T + RODS.bounding_sphere[0]
    shares = []
    for start, end, radius in zip(RODS.starts, RODS.ends, RODS.radii):
        along = np.linspace(start, end, 2001)  # instead of a closed form
        shares.append(np.stack([np.linalg.norm(point - along, axis=1).min() for point in points]) / radius)
    return np.min(shares, axis=0)


@pytest.mark.parametrize(
    "shape, on_surface",
    [
        (RODS, near_rods),
        (
            Box((1.2, 5.0, 1.3), (0.5, 0.3, 0.7), 0.6),
            lambda p: np.abs(
                np.stack(
                    [
                        math.cos(0.6) * p[0] + math.sin(0.6) * p[1],
                        -math.sin(0.6) * p[0] + math.cos(0.6) * p[1],
                        p[2],
                    ]
                )
                / np.array([0.5, 0.3, 0.7])[:, None]
            ).max(0),
        ),
        (Cylinder((0.8, 4.5, 1.0), 0.4, 0.45), lambda p: np.maximum(np.hypot(p[0], p[1]) / 0.4, np.abs(p[2]) / 0.45)),
        (Sphere((0.8, 4.5, 1.0), 0.4), lambda p: np.linalg.norm(p, axis=0) / 0.4),
    ],
)
def test_hits_lie_on_the_surface_nothing_lies_before_them_and_normals_face_the_camera(shape, on_surface):
    camera = level_camera(pitch=-0.1)
    depth, _ = trace(scene_of(shape, camera=camera), (72, 96))
    hit = np.isfinite(depth)
    rays = pixel_rays(camera, (72, 96))[hit].T
    origin, center = np.array(EYE)[:, None], np.array(shape.bounding_sphere[0])[:, None]
    points = origin + rays * depth[hit]
    np.testing.assert_allclose(on_surface(points - center), 1, atol=1e-4)
    for part in (0.1, 0.5, 0.9, 0.97):
        assert (on_surface(origin + rays * part * depth[hit] - center) > 1).all()
    normals, _ = shape.surface(points.astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=0), 1, atol=1e-3)
    grazing = 0.02
    assert ((normals * rays).sum(0) < grazing).all()
    assert hit.sum() > 150


@pytest.mark.parametrize(
    "center", [(1.0, 4.0, 1.5), (-1.5, 4.0, 3.0), (2.0, 2.3, 1.0), (1.0, 1.0, 1.5), (8.0, 2.0, 0.0)]
)
def test_window_misses_no_pixel_of_the_ball(center):
    camera, radius = level_camera(roll=0.1), 0.5
    rays = pixel_rays(camera, SIZE)
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    along = unit @ (np.array(center) - EYE)
    sees = (np.sum((np.array(center) - EYE) ** 2) - along**2 < radius**2) & (along > 0)
    rows, columns = camera.window(center, radius, SIZE)
    sees[rows, columns] = False
    assert not sees.any()


def test_nearer_objects_hide_farther_ones():
    shapes = (Plane(1, 6.0, -1), Sphere((1.0, 4.0, 1.5), 0.3), Sphere((1.0, 5.0, 1.5), 0.35))
    for order in ((0, 1, 2), (0, 2, 1)):
        depth, seen = trace(scene_of(*(shapes[k] for k in order)), (65, 65))
        assert depth[32, 32] == pytest.approx(1.7, rel=1e-4)
        assert order[seen[32, 32]] == 1
        np.testing.assert_allclose(depth[seen == 0], 4.0, rtol=1e-5)


def test_open_scene_is_refused():
    with pytest.raises(ValueError, match="open"):
        render(scene_of(Plane(2, 0.0, 1)), SIZE, np.random.default_rng(0))


def test_projector_shadow_lies_left_of_a_near_object():
    depth = np.full((40, 200), 4.0, dtype=np.float32)
    depth[:, 100:150] = 1.0
    focal = 160.0  # disparities 3 and 12 pixels: 9 columns of the wall are out of the projector's reach
    lit = np.full((40, 200, 3), 200, dtype=np.uint8)
    holes = sensor_holes(depth, lit, np.ones((40, 200), dtype=np.float32), focal, np.random.default_rng(0))
    assert holes[:, 92:100].all()
    assert not holes[:, 101:149].all(axis=0).any() and not holes[:, 151:].all(axis=0).any()


@pytest.mark.parametrize("seed", range(4))
def test_holes_of_another_share(seed):
    usual, more = render_room(seed), render_room(seed, hole_fraction=(0.4, 0.5))
    assert 0.4 - 0.01 < (more["depth"] == 0).mean() < 0.5 + 0.05
    np.testing.assert_array_equal(more["image"], usual["image"])
    np.testing.assert_array_equal(more["depth_complete"], usual["depth_complete"])


@pytest.mark.parametrize("size", [(64, 64), (30, 41), (120, 160)])
@pytest.mark.parametrize("seed", range(6))
def test_fields_of_a_room_agree(seed, size):
    room = render_room(seed, size)
    assert set(room) == {"image", "depth", "depth_complete", "object_ids", "class_ids", "label_map"}
    assert room["image"].dtype == np.uint8 and room["image"].shape == (*size, 3)
    assert room["depth"].dtype == room["depth_complete"].dtype == np.float32
    assert room["depth"].shape == room["depth_complete"].shape == room["object_ids"].shape == size
    assert room["object_ids"].dtype == np.uint8 and room["class_ids"].dtype == np.int64

    assert room["depth_complete"].min() > 0.3 and room["depth_complete"].max() < 10
    holes = room["depth"] == 0
    np.testing.assert_array_equal(room["depth"][~holes], room["depth_complete"][~holes])
    assert HOLE_FRACTION[0] - 0.01 < holes.mean() < HOLE_FRACTION[1] + 0.05

    visible = np.unique(room["object_ids"])
    np.testing.assert_array_equal(visible[visible > 0], np.arange(1, len(room["class_ids"]) + 1))
    assert np.isin(room["class_ids"], [CLASS_NAMES.index(name) for name in ("box", "sphere", "cylinder")]).all()

    assert room["label_map"].dtype == np.uint8 and room["label_map"].shape == size
    named = np.array(["", *(CLASS_NAMES[number] for number in room["class_ids"])])[room["object_ids"]]
    labelled = np.array(LABEL_CLASSES)[room["label_map"]]
    np.testing.assert_array_equal(labelled[named != ""], named[named != ""])
    assert set(labelled[named == ""]) <= {"floor", "ceiling", "wall"}


@pytest.mark.parametrize("options", [{"normals": True}, {"sensor": False}, {"people": True}])
def test_what_is_asked_for_changes_nothing_else(options):
    plain, room = render_room(4), render_room(4, **options)
    added = {"normals": {"normals"}, "sensor": set(), "people": {"keypoints", "person_ids"}}[next(iter(options))]
    assert set(room) == (set(plain) - ({"depth"} if "sensor" in options else set())) | added
    if "people" not in options:
        for field in set(plain) & set(room):
            assert plain[field].tobytes() == room[field].tobytes()


def test_structure_is_labelled_by_where_it_is():
    camera = level_camera()
    planes = (Plane(0, 0.0, 1), Plane(0, 2.53, -1), Plane(1, 0.0, 1), Plane(1, 6.07, -1), Plane(2, 0.0, 1))
    room = render(scene_of(*planes, Plane(2, 2.6, -1), camera=camera), SIZE, np.random.default_rng(0))
    points = pixel_rays(camera, SIZE) * room["depth_complete"][..., None] + EYE
    expected = np.where(points[..., 2] < 1e-3, "floor", np.where(points[..., 2] > 2.599, "ceiling", "wall"))
    assert set(expected.reshape(-1)) == {"floor", "ceiling", "wall"}
    np.testing.assert_array_equal(np.array(LABEL_CLASSES)[room["label_map"]], expected)


@pytest.mark.parametrize("seed", range(4))
def test_normals_are_those_of_neighbouring_points(seed):
    size = (90, 120)
    rng = np.random.default_rng(seed)
    camera = random_scene(random.Random(rng.bytes(16)), people=True).camera
    room = render_room(seed, size, people=True, normals=True)
    normals, depth = room["normals"].astype(float), room["depth_complete"]
    assert room["normals"].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-3)
    rays = pixel_rays(camera, size) @ camera.rotation  # in camera axes
    np.testing.assert_allclose(rays[..., 2], 1)
    assert ((normals * rays).sum(-1) < 1e-2).all()
    points = rays * depth[..., None]
    across, along = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    crossed = np.cross(along, across)
    crossed /= np.linalg.norm(crossed, axis=-1, keepdims=True)
    angles = np.degrees(np.arccos(np.clip((crossed * normals[1:-1, 1:-1]).sum(-1), -1, 1)))
    assert np.median(angles) < 0.5 and np.mean(angles < 10) > 0.85


def test_people_stand_in_the_room_that_is_there_without_them():
    found = 0
    for seed in range(12):
        plain, crowded = render_room(seed, SIZE), render_room(seed, SIZE, people=True)
        new = crowded["depth_complete"] != plain["depth_complete"]
        found += new.any()
        assert (crowded["depth_complete"] <= plain["depth_complete"]).all()
        labels = np.array(LABEL_CLASSES)[crowded["label_map"]]
        assert set(labels[new]) <= {"person", "box"}  # or what they sit on
        assert new[labels == "person"].all()
        assert crowded["class_ids"].tolist().count(CLASS_NAMES.index("person")) == len(crowded["person_ids"])
    assert found >= 8


def test_rooms_vary():
    rooms = [render_room(seed) for seed in range(60)]
    counts = [len(room["class_ids"]) for room in rooms]
    assert min(counts) >= 1 and max(counts) <= 8 and np.mean(counts) > 3
    assert {int(k) for room in rooms for k in room["class_ids"]} == {1, 2, 3}
    brightness = [room["image"].mean() for room in rooms]
    assert min(brightness) > 70 and max(brightness) < 235 and np.std(brightness) > 10
    assert np.std([room["depth_complete"].mean() for room in rooms]) > 0.4


def test_objects_stand_in_the_room():
    for seed in range(30):
        scene = random_scene(random.Random(seed))
        walls = {(item.shape.axis, item.shape.facing): item.shape.offset for item in scene.objects[:6]}
        for item in scene.objects[6:]:
            reach = getattr(item.shape, "half_size", None)
            height = reach[2] if reach else getattr(item.shape, "half_height", None) or item.shape.radius
            assert item.shape.center[2] - height > -1e-6
            assert all(walls[axis, 1] < item.shape.center[axis] < walls[axis, -1] for axis in range(3))


def test_same_seed_same_bytes_and_other_seeds_other_rooms():
    once, again, other = render_room(3), render_room(3), render_room(4)
    for field in once:
        assert once[field].tobytes() == again[field].tobytes()
    assert not np.array_equal(once["depth_complete"], other["depth_complete"])
    sequence = render_room(np.random.SeedSequence(3))
    np.testing.assert_array_equal(sequence["image"], once["image"])


def test_same_seed_shows_the_same_room_at_every_size():
    small, large = render_room(5, (60, 80)), render_room(5, (180, 240))
    centre_of_block = large["depth_complete"][1::3, 1::3]  # tripling keeps the pixel centres
    np.testing.assert_allclose(centre_of_block, small["depth_complete"], rtol=1e-4)


def test_global_generators_are_left_alone():
    np.random.seed(0)
    random.seed(0)
    before = np.random.get_state()[1].copy(), random.getstate()
    render_room(1)
    assert np.array_equal(np.random.get_state()[1], before[0]) and random.getstate() == before[1]


@pytest.mark.parametrize("size", [64, (0, 4), (4,), (4, 5, 6), (4.5, 4), (-1, 3)])
def test_bad_size_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        render_room(0, size)
    with pytest.raises(ValueError, match="size"):
        synthetic_rooms("train", size=size)


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"split": "valid"}, "split"),
        ({"split": "train", "seed": -1}, "seed"),
        ({"split": "train", "seed": 2**32}, "seed"),
        ({"split": "test", "num_examples": 0}, "num_examples"),
    ],
)
def test_bad_arguments_are_refused(arguments, word):
    with pytest.raises(ValueError, match=word):
        synthetic_rooms(size=(8, 8), **arguments)


def rooms(split="train", **arguments):
    return synthetic_rooms(split, size=(12, 16), **arguments)


def fingerprint(room):
    return room["depth_complete"].tobytes()


def test_evaluation_splits_are_fixed_and_finite():
    once, again = (list(map(fingerprint, rooms("validation"))) for _ in range(2))
    assert len(once) == len(set(once)) == 64 and once == again
    assert list(map(fingerprint, rooms("validation", num_examples=5))) == once[:5]
    assert len(list(rooms("test", num_examples=70))) == 70


def test_splits_and_seeds_share_no_room():
    seen = [
        fingerprint(room)
        for split, seed in itertools.product(SPLITS, (0, 1, 2, 2**32 - 1))
        for room in itertools.islice(rooms(split, seed=seed), 12)
    ]
    assert len(seen) == len(set(seen)) == 144


def test_train_does_not_end():
    train = rooms()
    assert train.num_shards == NUM_SHARDS
    assert ENDLESS > 10**18
    drawn = [fingerprint(room) for room in itertools.islice(train, 100)]
    assert len(set(drawn)) == 100


def test_processes_and_workers_see_different_rooms():
    drawn = []
    alone = {fingerprint(room) for room in itertools.islice(rooms(), 1)}
    for rank in range(2):
        part = split_dataset_by_node(rooms(), rank=rank, world_size=2)
        loader = DataLoader(part, batch_size=None, num_workers=2)
        drawn += [fingerprint({k: np.asarray(v) for k, v in room.items()}) for room in itertools.islice(loader, 12)]
    assert len(drawn) == len(set(drawn)) == 24
    assert alone < set(drawn)  # other processes render the same bytes


def test_shards_of_an_evaluation_split_cover_it_once():
    whole = sorted(map(fingerprint, rooms("test", num_examples=11)))
    parts = [rooms("test", num_examples=11).shard(num_shards=3, index=index) for index in range(3)]
    assert sorted(fingerprint(room) for part in parts for room in part) == whole


def test_resumes_from_a_state_dict_without_rendering_again(monkeypatch):
    train = rooms(seed=7)
    iterator = iter(train)
    for _ in range(5):
        next(iterator)
    state = train.state_dict()
    expected = [fingerprint(next(iterator)) for _ in range(4)]

    rendered = []
    monkeypatch.setattr(
        "ait_hf.data.rooms.depth.render_room",
        lambda key, *size, **what: rendered.append(key) or render_room(key, *size),
    )
    monkeypatch.setattr("ait_hf.data.rooms.depth._latest", OrderedDict())  # as in another process
    resumed = rooms(seed=7)
    resumed.load_state_dict(state)
    assert [fingerprint(room) for room in itertools.islice(resumed, 4)] == expected
    assert len(rendered) == 4


def test_batches_through_a_data_loader():
    def collate(examples):
        return torch.from_numpy(np.stack([example["image"] for example in examples]))

    loader = DataLoader(rooms("validation", num_examples=6), batch_size=4, collate_fn=collate)
    assert [tuple(batch.shape) for batch in loader] == [(4, 12, 16, 3), (2, 12, 16, 3)]
