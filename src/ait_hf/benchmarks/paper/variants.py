# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What the tables compare: recipes of the library, each with what differs from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


DEPTH, INSTANCES, POSES, SEMANTICS = "depth", "instance-segmentation", "keypoint-detection", "semantic-segmentation"


@dataclass(frozen=True)
class Variant:
    """
    Args:
        recipe: Its name in the library.
        changes: Of single values, as `ait train` takes them.
        tokenizers: The variant of the tokenizer of each task, trained with the same seed; none for a tokenizer.
        of: For a tokenizer: the variant whose examples it is measured on.
    """

    recipe: str
    changes: tuple[str, ...] = ()
    tokenizers: Mapping[str, str] = field(default_factory=dict)
    of: str | None = None

    @property
    def is_tokenizer(self) -> bool:
        return not self.tokenizers


# What differs in the tokenizer (Tables 2 to 8 and 11), and in the solver that is trained on it. The paper's 32, 16 and 8 pixels a
# code of 480 are 16, 8 and 4 of 64 here; its masks have 64 pixels and 32 or 16 a code, ours 32 and 32 or 16.
CODES = {f"{number}-codes": (f"model.config.num_vq_embeddings={number}",) for number in (64, 256)}
DEPTH_TOKENIZERS = CODES | {
    "half-width": ("model.config.base_channels=4",),
    "double-width": ("model.config.base_channels=16",),
    **{f"{number}-blocks": (f"model.config.num_res_blocks={number}",) for number in (3, 4, 5)},
    "16-pixels": ("model.config.downsample_ratio=16", "mask_augmentation.patch_size=16"),
    "4-pixels": ("model.config.downsample_ratio=4", "mask_augmentation.patch_size=4"),
    **{f"mask-{ratio}": (f"mask_augmentation.ratio={ratio}",) for ratio in (0.0, 0.3, 0.7)},
}
# As in real rooms whose walls shine or lie too far: the sensor of ours leaves out 5 to 15 % of the pixels.
HOLES = "hole_fraction=[0.3,0.6]"
MASK_RATIOS = (0.0, 0.3, 0.5, 0.7)
MASK_TOKENIZERS = CODES | {
    "half-width": ("model.config.base_channels=8",),
    "double-width": ("model.config.base_channels=32",),
    "32-pixels": ("model.config.downsample_ratio=32",),
}
SOLVER_CHANGES = {  # that a tokenizer asks for
    **{f"{number}-codes": (f"model.config.codebooks=[[depth,{number}]]",) for number in (64, 256)},
    "16-pixels": ("model.config.max_position_embeddings=17",),
    "4-pixels": ("model.config.max_position_embeddings=257",),
}
# 8 x 4 x 4 levels, as many codes as by default.
FSQ = tuple(
    f"model.config.{key}"
    for key in ("fsq_levels=[8,4,4]", "vq_embed_dim=3", "commitment_cost=0", "revival_threshold=0")
)
# Of which some claim does not hold: whether it is that they have learnt too little. Tokenizers, by what differs in them, and
# solvers, as they are called below.
TWICE_TOKENIZERS = {"": (), "256-codes": CODES["256-codes"], "mask-0.0": DEPTH_TOKENIZERS["mask-0.0"], "fsq": FSQ}
TWICE_SOLVERS = ("depth-auxiliary", "depth-parallel")
BOTH_WAYS, NOISE = ("model.config.bidirectional_blocks=true",), ("model.config.code_noise=0.1",)
SILOG = (f"tasks.{DEPTH}.settings.auxiliary_loss=silog",)
DICE = (f"tasks.{INSTANCES}.settings.auxiliary_loss=dice_mse",)
PARALLEL = ("model.parallel=true",)
# What makes recipes of rooms learn in the minutes, and the way, of those called paper_.
FAST = (
    "train.max_steps=3500",
    "optimizer={name: muon, matrix_lr: 2e-2, lr: 1e-3, weight_decay: 0.05}",
    "train.mixed_precision=bf16",
    "model.config.autocast_solver=true",
    "model.config.attn_implementation=eager",
)
# What is done otherwise than in the demo, and in how many steps: so that each takes the same time, rendering
# included, which is half of what other solvers take.
ROOMS_AGAIN = tuple(f"tasks.{task}.data.num_rooms=5000" for task in (DEPTH, INSTANCES))
SPEEDS = {
    "": (1500, ()),
    "adamw": (1700, ("optimizer={name: adamw, lr: 1e-3, weight_decay: 0.05}",)),
    "auxiliary": (1475, SILOG + DICE),
    "own-images": (1275, (f"tasks.{DEPTH}.data.seed=1",)),
    "new-rooms": (1400, tuple(f"tasks.{task}.data.num_rooms=null" for task in (DEPTH, INSTANCES))),
    "8-rooms": (2475, tuple(f"tasks.{task}.data.batch_size=8" for task in (DEPTH, INSTANCES))),
    "32-rooms": (925, tuple(f"tasks.{task}.data.batch_size=32" for task in (DEPTH, INSTANCES))),
    "long-rise": (1500, ("schedule.rise=0.3",)),
    "both-ways": (1500, BOTH_WAYS),
    "bf16": (
        1950,
        ("train.mixed_precision=bf16", "model.config.autocast_solver=true", "model.config.attn_implementation=eager"),
    ),
}


def named(family: str, difference: str) -> str:
    """A variant's name: that of its family, with what differs in it, if anything does."""
    return f"{family}-{difference}" if difference else family


def _variants() -> dict[str, Variant]:
    variants = {
        "depth-tokenizer": Variant("paper_depth_tokenizer", of="depth"),
        "mask-tokenizer": Variant("paper_mask_tokenizer", of="instances"),
        "pose-tokenizer": Variant("rooms_pose_tokenizer", of="poses"),
        "class-mask-tokenizer": Variant("rooms_class_mask_tokenizer", of="semantics"),
    }
    for name, changes in DEPTH_TOKENIZERS.items():
        variants[f"depth-tokenizer-{name}"] = Variant("paper_depth_tokenizer", changes, of="depth")
    for name, changes in MASK_TOKENIZERS.items():
        variants[f"mask-tokenizer-{name}"] = Variant("paper_mask_tokenizer", changes, of="instances")

    on_depth, on_masks = {DEPTH: "depth-tokenizer"}, {INSTANCES: "mask-tokenizer"}
    variants |= {
        "depth-tokenizer-fsq": Variant("paper_depth_tokenizer", FSQ, of="depth"),
        "depth": Variant("paper_depth", (), on_depth),
        "depth-auxiliary": Variant("paper_depth", SILOG, on_depth),
        "depth-parallel": Variant("paper_depth", SILOG + PARALLEL, on_depth),
        "instances": Variant("paper_instances", (), on_masks),
        "instances-auxiliary": Variant("paper_instances", DICE, on_masks),
        "instances-parallel": Variant("paper_instances", DICE + PARALLEL, on_masks),
        "depth-fsq": Variant("paper_depth", (), {DEPTH: "depth-tokenizer-fsq"}),
        "depth-noise": Variant("paper_depth", NOISE, on_depth),
        "depth-parallel-both-ways": Variant("paper_depth", SILOG + PARALLEL + BOTH_WAYS, on_depth),
        "instances-parallel-both-ways": Variant("paper_instances", DICE + PARALLEL + BOTH_WAYS, on_masks),
        "joint": Variant("paper_joint", (), on_depth | on_masks),
        "joint-even": Variant("paper_joint", (f"tasks.{DEPTH}.settings.loss_weight=1.0",), on_depth | on_masks),
        "poses": Variant("rooms_pose_ait", FAST, {POSES: "pose-tokenizer"}),
        "poses-parallel": Variant("rooms_pose_aitp", FAST, {POSES: "pose-tokenizer"}),
        "semantics": Variant("rooms_semantic_masks_ait", FAST, {SEMANTICS: "class-mask-tokenizer"}),
        "semantics-parallel": Variant("rooms_semantic_masks_aitp", FAST, {SEMANTICS: "class-mask-tokenizer"}),
    }
    of_depth = (f"tasks.{DEPTH}.data.{HOLES}",)
    for ratio in MASK_RATIOS:
        name, tokenizer = (named(family, f"large-holes-mask-{ratio}") for family in ("depth", "depth-tokenizer"))
        changes = (f"data.{HOLES}", f"mask_augmentation.ratio={ratio}")
        variants[tokenizer] = Variant("paper_depth_tokenizer", changes, of=name)
        variants[name] = Variant("paper_depth", of_depth, {DEPTH: tokenizer})
    for name, changes in TWICE_TOKENIZERS.items():
        changes = ("train.max_steps=1200", *changes)
        variants[named("depth-tokenizer-twice", name)] = Variant("paper_depth_tokenizer", changes, of="depth")
    for name in TWICE_SOLVERS:
        changes = ("train.max_steps=10000", *variants[name].changes)
        variants[f"{name}-twice"] = replace(variants[name], changes=changes)
    for name, (steps, changes) in SPEEDS.items():
        changes = (f"train.max_steps={steps}", "train.save_every=1000", *ROOMS_AGAIN, *changes)
        variants[named("speed", name)] = Variant("demo_joint", changes, on_depth | on_masks)
    for name in DEPTH_TOKENIZERS:
        changes = SOLVER_CHANGES.get(name, ())
        variants[f"depth-{name}"] = Variant("paper_depth", changes, {DEPTH: f"depth-tokenizer-{name}"})
    for name in MASK_TOKENIZERS:
        variants[f"instances-{name}"] = Variant("paper_instances", (), {INSTANCES: f"mask-tokenizer-{name}"})
    return variants


VARIANTS = _variants()
