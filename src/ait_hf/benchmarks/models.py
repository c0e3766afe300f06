# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Models with random weights, the published sizes of AiT and what the libraries have; and training steps on made-up samples.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import nn
from transformers import AutoModelForDepthEstimation, Swinv2Backbone, Swinv2Config

from ..model.configuration_ait import AiTConfig
from ..model.configuration_swinv2_ait import AiTSwinv2Config
from ..model.modeling_ait import AiTForDenseTokenGeneration
from ..model.modeling_swinv2_ait import AiTSwinv2Backbone
from ..model.objectives_ait import SequenceDraft
from ..training.optimizer import OptimizerRecipe, build_optimizer


OBJECTS_PER_IMAGE = 7  # of COCO
CELLS = 8  # in a row and a column of a label map, of a class each
NUM_CLASSES = 80
CELL = 32  # pixels per code of a map

# The published backbones by the first letter of their size, and something small of the same make.
SWINV2 = {
    size: {"embed_dim": width, "depths": [2, 2, depth, 2], "num_heads": [width // 32 * n for n in (1, 2, 4, 8)]}
    for size, width, depth in (("t", 96, 6), ("s", 96, 18), ("b", 128, 18), ("l", 192, 18))
}
SMALL = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}


def _backbone_config(size: int, shape: dict[str, Any], from_library: bool = False) -> AiTSwinv2Config | Swinv2Config:
    """As published: windows of a sixteenth of the image; ours are shifted where several cover the map."""
    window = size // 16
    shape = shape | {"image_size": size, "pretrained_window_sizes": [0] * 4, "out_features": ["stage4"]}
    if from_library:
        return Swinv2Config(**shape, drop_path_rate=0.0, window_size=window)
    return AiTSwinv2Config(**shape, drop_path_rate=0.0, window_sizes=[window] * 3 + [max(window // 2, 1)])


def backbones(size: int, shape: dict[str, Any]) -> dict[str, nn.Module]:
    """The same sizes and windows three times."""
    like_ours = {"window_size": size // 16, "num_classes": 0, "global_pool": "", "drop_path_rate": 0.0}
    return {
        "transformers": Swinv2Backbone(_backbone_config(size, shape, from_library=True)),
        "timm": SwinTransformerV2(img_size=size, **like_ours, **shape),
        "ait_hf": AiTSwinv2Backbone(_backbone_config(size, shape)),
    }


def _tokenizers(size: int) -> dict[str, dict[str, Any]]:
    masks = {"sample_size": 64, "downsample_ratio": 16, "value_range": [0.0, 1.0], "unit": "mask", "loss_type": "mse"}
    maps = {"sample_size": size, "downsample_ratio": CELL}
    channels = {"in_channels": NUM_CLASSES, "out_channels": NUM_CLASSES}
    return {
        "mask": masks,
        "depth": maps,
        "segment": masks,
        "pose": {"tokenizer_type": "pose", "num_joints": 17, "sample_size": size},
        "labels": maps | channels | {"unit": "class", "loss_type": "cross_entropy"},
        "normals": maps | {"in_channels": 3, "out_channels": 3, "unit": "unit_vector"},
    }


def _tasks(size: int, num_objects: int, num_groups: int) -> dict[str, dict[str, Any]]:
    def declared(output_type: str, *slots: str, loss: str | None = None, **more) -> dict[str, Any]:
        return {"output_type": output_type, "slots": list(slots), "auxiliary_loss": loss, **more}

    objects, dense = (*["coordinate"] * 4, "class"), {"grid_size": [size // CELL, size // CELL]}
    masks, weights = {"grid_size": [4, 4]}, {"dense_loss_weight": 0.2, "auxiliary_loss_weight": 5.0}
    count = {"num_groups": num_objects}
    tasks = {
        "object-detection": declared("objects", *objects, **count),
        "instance-segmentation": declared("objects", *objects, "mask", loss="dice_mse", **count, **masks, **weights),
        "depth": declared("depth", "depth", loss="silog", **dense),
        "keypoint-detection": declared("pose", "pose", loss="smooth_l1", grid_size=[1, 34]),
        "semantic-segmentation": declared(
            "semantic", "class", "segment", loss="dice_mse", num_groups=num_groups, **masks
        ),
        "labels": declared("label_map", "labels", loss="cross_entropy", **dense),
        "normals": declared("map", "normals", loss="smooth_l1", **dense),
    }
    return {
        name: {"task_id": number, "image_size": [size, size], **task}
        for number, (name, task) in enumerate(tasks.items())
    }


ALL_TASKS = tuple(_tasks(CELL, 1, 1))


def task_model(
    tasks: Sequence[str],
    size: int,
    shape: dict[str, Any],
    *,
    parallel: bool,
    num_objects: int = 100,
    num_groups: int = 20,
    stock: bool = False,
    **solver: int,
) -> AiTForDenseTokenGeneration:
    """
    The published model for some of [`ALL_TASKS`], in evaluation mode.

    Args:
        size, shape: Side of the images, pixels, a multiple of 32, and sizes of the backbone.
        parallel (`bool`): AiT-P.
        num_objects, num_groups (`int`): In sequences of objects, and of classes with masks.
        stock (`bool`): The backbone of transformers instead of ours, and attention written out.
        solver: Sizes of encoder and decoder.
    """
    declared = {name: task for name, task in _tasks(size, num_objects, num_groups).items() if name in tasks}
    codebooks = {task["slots"][-1] for task in declared.values()}
    tokenizers = {name: settings for name, settings in _tokenizers(size).items() if name in codebooks}
    config = AiTConfig(
        backbone_config=_backbone_config(size, shape, stock).to_dict(),
        tasks=declared,
        tokenizers=tokenizers,
        codebooks=[[name, 2048 if name == "pose" else 128] for name in tokenizers],
        num_task_ids=len(ALL_TASKS),
        num_classes=NUM_CLASSES,
        parallel=parallel,
        max_position_embeddings=max((size // CELL) ** 2 + 1, 2100),
        **solver,
    )
    attention = "eager" if stock else "sdpa"
    return AiTForDenseTokenGeneration._from_config(config, attn_implementation=attention).eval()


def lower_solver(model: AiTForDenseTokenGeneration, dtype: torch.dtype) -> AiTForDenseTokenGeneration:
    """The solver in another type, for inference; tokenizers stay in float32, as in loaded models."""
    for part in (model.model, model.lm_head):
        part.to(dtype)
    return model.eval()


def spread_weights(model: nn.Module) -> None:
    """Outputs of newly initialised models are all alike; with these weights they depend on the image."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)


def random_draft(model: AiTForDenseTokenGeneration, task: str, batch_size: int) -> SequenceDraft:
    """What data workers make of annotations, which torch's CPU generator draws here; the objects of all images are alike."""
    declared, tokenizer = model.config.task(task), model.task_tokenizer(task)
    height, width = declared.image_size
    first, num_classes = declared.first_class, len(model.grammar(task).classes)
    match declared.output_type:
        case "objects":
            number = min(OBJECTS_PER_IMAGE, declared.num_groups)
            corners = torch.rand(number, 2) * torch.tensor([width, height]) / 2
            sides = torch.tensor([width, height]) * (0.25 + torch.rand(number, 2) / 4)
            objects = {"boxes": torch.cat([corners, corners + sides], 1), "seed": torch.randint(2**62, ())}
            objects["class_labels"] = torch.randint(first, first + num_classes, (number,))
            objects["masks"] = torch.randint(2, (number, height, width), dtype=torch.uint8)
            labels: Any = [objects] * batch_size
        case "pose":
            labels = torch.rand(batch_size, tokenizer.config.num_joints, 3) * min(tokenizer.crop_size)
            labels[..., 2] = 2
        case "semantic" | "label_map":
            cells = torch.randint(first, first + num_classes, (batch_size, 1, CELLS, CELLS), dtype=torch.uint8)
            labels = F.interpolate(cells, (height, width), mode="nearest-exact")[:, 0].long()
        case "depth":
            labels = torch.rand(batch_size, height, width) * 9 + 0.5
        case _:
            labels = torch.rand(batch_size, tokenizer.config.in_channels, height, width)
    return model.objectives[task].draft(labels)


class TrainingStep:
    """
    Steps of one task on one batch, from the host's memory to new weights: copy, loss, gradients, clipping, AdamW. The model is
    in training mode, on its device, autocast to `dtype` (float32 for none); `wrapped` is the same as several processes have it.
    """

    def __init__(
        self,
        model: AiTForDenseTokenGeneration,
        task: str,
        batch_size: int,
        dtype: torch.dtype,
        wrapped: nn.Module | None = None,
    ):
        self.model, self.task, self.dtype, self.device = wrapped or model, task, dtype, model.device
        images = torch.rand(batch_size, 3, *model.config.task(task).image_size)
        draft = random_draft(model, task, batch_size)
        pinned = self.device.type == "cuda"
        self.images, self.draft = (images.pin_memory(), draft.pin_memory()) if pinned else (images, draft)
        self.optimizer = build_optimizer(self.model, OptimizerRecipe(lr=1e-4, weight_decay=0.05))

    def forward(self) -> torch.Tensor:
        batch = {"pixel_values": self.images.to(self.device, non_blocking=True), "labels": self.draft}
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.model(batches={self.task: batch}).loss

    def __call__(self) -> torch.Tensor:
        """The loss, which nobody has waited for."""
        loss = self.forward()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()


def depth_models() -> dict[str, tuple[nn.Module, tuple[int, int]]]:
    """Depth models of transformers at their standard sizes, with the height and width of their images."""
    large = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    stages, later_stages = ["stage3", "stage6", "stage9", "stage12"], ["stage6", "stage12", "stage18", "stage24"]
    necks = {"neck_hidden_sizes": [256, 512, 1024, 1024]}
    dinov2 = {"image_size": 518, "patch_size": 14, "out_features": stages, "reshape_hidden_states": False}
    beit = large | {"image_size": 384, "use_relative_position_bias": True, "reshape_hidden_states": False}
    beit = transformers.BeitConfig(**beit, out_features=later_stages)
    anything = {"backbone_config": transformers.Dinov2Config(**dinov2), "reassemble_hidden_size": 768}
    anything |= {"neck_hidden_sizes": [96, 192, 384, 768], "fusion_hidden_size": 128}
    glpn = {"depths": [3, 8, 27, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 64}
    configs = {
        "DepthAnything-B": (transformers.DepthAnythingConfig(**anything), (518, 518)),
        "DPT-L": (transformers.DPTConfig(**large, **necks, backbone_out_indices=[5, 11, 17, 23]), (384, 384)),
        "GLPN": (transformers.GLPNConfig(**glpn), (480, 640)),
    }
    zoe = transformers.ZoeDepthConfig(backbone_config=beit, backbone_hidden_size=1024, **necks)
    configs["ZoeDepth"] = (zoe, (384, 512))
    build = AutoModelForDepthEstimation.from_config
    return {name: (build(config).eval(), size) for name, (config, size) in configs.items()}


def object_models() -> dict[str, nn.Module]:
    """Detection and segmentation of transformers with 100 queries."""
    detr = transformers.DetrConfig(use_timm_backbone=False, use_pretrained_backbone=False, backbone=None)
    detr.backbone_config = transformers.ResNetConfig(out_features=["stage4"])
    mask2former = transformers.Mask2FormerForUniversalSegmentation(transformers.Mask2FormerConfig())
    return {"DETR-R50": transformers.DetrForObjectDetection(detr).eval(), "Mask2Former-T": mask2former.eval()}
