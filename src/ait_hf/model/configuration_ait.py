# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of AiT: the architecture is declared here once, and every id range is derived from it."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .configuration_swinv2_ait import AiTSwinv2Config


AutoConfig.register(AiTSwinv2Config.model_type, AiTSwinv2Config, exist_ok=True)

COORDINATE_INITIALIZATIONS = ("normal", "sine")


@dataclass(frozen=True)
class OutputRules:
    """What a task of one type of output may declare; what its [`Objective`] goes by."""

    auxiliary_loss: tuple[str, ...]  # values of the field of `AiTTaskConfig`, as the next two
    object_order: tuple[str, ...] = ("random",)
    mask_supervision: tuple[str, ...] = ("objects",)
    is_one_block: bool = False  # whether the sequence is one dense block and nothing else
    tokenizer_type: str = "map"  # of the tokenizer behind the dense slots


OUTPUT_RULES = {
    "depth": OutputRules(("silog",), is_one_block=True),
    "objects": OutputRules(("dice_mse",), ("random", "left_to_right"), ("objects", "duplicates", "none")),
    "pose": OutputRules(("smooth_l1",), is_one_block=True, tokenizer_type="pose"),
    "semantic": OutputRules(("dice_mse",), ("random", "by_class"), ("objects", "absent", "none")),
    "label_map": OutputRules(("cross_entropy",), is_one_block=True),
    "map": OutputRules(("smooth_l1",), is_one_block=True),
}
# Of tasks whose sequences are not said to mean anything.
UNDECLARED = replace(OUTPUT_RULES["objects"], auxiliary_loss=())


@strict
@dataclass
class AiTTokenizerConfig:
    """Arguments of [`VQTokenizer`] for one tokenizer inside an AiT model; the same names, defaults and meaning."""

    in_channels: int = 1
    out_channels: int = 1
    downsample_ratio: int = 32
    base_channels: int = 16
    num_res_blocks: int = 2
    num_vq_embeddings: int = 128
    vq_embed_dim: int = 512
    sample_size: int | list[int] | tuple[int, ...] = 480
    value_range: list[float] | list[int] | tuple[float, ...] | None = None
    unit: str = "metre"
    loss_type: str = "masked_mse"
    commitment_cost: float = 0.25
    ema_decay: float = 0.99
    ema_epsilon: float = 1e-5
    revival_threshold: float = 0.0
    class_names: list[str] | tuple[str, ...] | None = None
    fsq_levels: list[int] | tuple[int, ...] | None = None


@strict
@dataclass
class AiTPoseTokenizerConfig:
    """Arguments of [`PoseTokenizer`] for one tokenizer inside an AiT model; the same names, defaults and meaning."""

    num_joints: int = 17
    num_tokens: int = 34
    num_vq_embeddings: int = 2048
    vq_embed_dim: int = 512
    hidden_size: int = 512
    encoder_layers: int = 4
    decoder_layers: int = 1
    decoder_hidden_size: int = 32
    token_mlp_dim: int = 64
    channel_mlp_dim: int = 512
    decoder_token_mlp_dim: int = 64
    decoder_channel_mlp_dim: int = 64
    sample_size: int | list[int] | tuple[int, ...] = 256
    unit: str = "pixel"
    smooth_l1_beta: float = 0.05
    commitment_cost: float = 15.0
    ema_decay: float = 0.9
    ema_epsilon: float = 1e-5
    revival_threshold: float = 0.0
    token_per_joint: bool = False
    joint_names: list[str] | tuple[str, ...] | None = None


TOKENIZER_CONFIGS = {"map": AiTTokenizerConfig, "pose": AiTPoseTokenizerConfig}
DEFAULT_TOKENIZER_TYPE = "map"


def _tokenizer_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """All arguments of a tokenizer, with their defaults; `tokenizer_type` among them only if it is not the default."""
    tokenizer_type = arguments.get("tokenizer_type", DEFAULT_TOKENIZER_TYPE)
    if tokenizer_type not in TOKENIZER_CONFIGS:
        raise ValueError(
            f"Tokenizer {name!r}: tokenizer_type is one of {tuple(TOKENIZER_CONFIGS)}, got {tokenizer_type!r}."
        )
    own = {key: value for key, value in arguments.items() if key != "tokenizer_type"}
    complete = asdict(TOKENIZER_CONFIGS[tokenizer_type](**own))
    return complete if tokenizer_type == DEFAULT_TOKENIZER_TYPE else {"tokenizer_type": tokenizer_type, **complete}


@strict
@dataclass
class AiTTaskConfig:
    """
    One task, declared: its sequence, its images, its losses.

    Args:
        task_id (`int`): Row of the task embedding and of the position table (released: 0 detection, 1 instance
            segmentation, 2 depth).
        slots (`list[str]`): What one group of the sequence holds, in order. `"coordinate"` and `"class"` are sparse
            slots (one id is chosen); the name of a codebook stands for one dense block of
            `grid_size[0] * grid_size[1]` codes in row-major order. Depth is `["depth"]`; an object with a mask is
            `["coordinate"] * 4 + ["class", "mask"]`.
        output_type (`str`, *optional*): What the decoded sequence means: `"depth"` (metres), `"objects"` (a box, a
            class and perhaps a mask per group), `"pose"` (joints in pixels), `"semantic"` (a class and the mask of all
            its pixels per group), `"label_map"` (a class per pixel, from a tokenizer of label maps), `"map"` (any other
            map, of any number of channels) or nothing in particular.
        num_groups (`int`): How often the group repeats (1 for a map, the number of objects for objects).
        grid_size (`list[int]`, *optional*): Rows and columns of codes in the dense block.
        image_size (`list[int]`): Height and width in pixels of the images this task is trained and run on. Coordinates
            count in `num_coordinate_bins` steps along its longer side.
        class_range (`list[int]`, *optional*): First class of the model's table (`id2label`) that the task uses, and the
            one behind its last; all classes by default.
        soft_temperature (`float`): `tau` in `softmax(tau * logits)` when the detokenizer reads soft tokens.
        entropy_temperature (`float`): `tau` of `softmax(tau * logits)`, by whose spread the uncertainty of maps is told;
            changes nothing else. 1 as trained; `ait evaluate --calibrate` fits it.
        loss_weight (`float`): Weight of this task in joint training.
        dense_loss_weight (`float`): Weight of the cross-entropy of dense slots against that of coordinates.
        class_loss_weight (`float`): Weight of the cross-entropy of class slots against that of coordinates.
        auxiliary_loss (`str`, *optional*): Loss on the soft-decoded output: `"silog"` (depth), `"dice_mse"` (masks of
            objects and of classes), `"smooth_l1"` (poses and other maps), `"cross_entropy"` (label maps) or none.
        auxiliary_loss_weight (`float`): Weight of the auxiliary loss against the cross-entropy of dense slots.
        object_order (`str`): Order of the annotated groups in a training sequence: `"random"` (as released), for
            objects also `"left_to_right"` (by x1), for classes also `"by_class"` (by number); small models learn the
            latter sooner.
        box_tolerance (`float`): Of objects: by what share of a box's width and height each of its sides may be off. Scores
            are multiplied by the probability, as the model writes coordinates, that none is off by more. 0 for scores of
            the class alone, as released.
        mask_supervision (`str`): Whose mask codes are learned: those of the `"objects"` (or classes) that are there,
            also those of objects' jittered `"duplicates"`, also the empty ones of `"absent"` classes, or `"none"`.
    """

    task_id: int
    slots: list[str]
    output_type: str | None = None
    num_groups: int = 1
    grid_size: list[int] | tuple[int, ...] | None = None
    image_size: list[int] | tuple[int, ...] = (480, 480)
    class_range: list[int] | tuple[int, ...] | None = None
    soft_temperature: float = 1.0
    entropy_temperature: float = 1.0
    loss_weight: float = 1.0
    dense_loss_weight: float = 1.0
    class_loss_weight: float = 1.0
    auxiliary_loss: str | None = None
    auxiliary_loss_weight: float = 1.0
    object_order: str = "random"
    box_tolerance: float = 0.0
    mask_supervision: str = "objects"

    def __post_init__(self):
        self.image_size = list(self.image_size)
        self.grid_size = None if self.grid_size is None else list(self.grid_size)
        self.class_range = None if self.class_range is None else list(self.class_range)

    @property
    def first_class(self) -> int:
        """Number, in the model's table, of the task's first class."""
        return 0 if self.class_range is None else self.class_range[0]


@dataclass(frozen=True)
class Vocabulary:
    """
    All id ranges of the output vocabulary, half-open, in the released order: coordinates, classes, one unused id, the
    noise class, the codebooks, reserved ids.

    The decoder's *input* ids go on after `size`: one start id per task (`task_token_id`) and the parallel token.
    """

    coordinates: range
    classes: range
    noise_id: int
    codebooks: dict[str, range] = field(default_factory=dict)
    size: int = 0
    num_task_ids: int = 4

    def task_token_id(self, task_id: int) -> int:
        """Input id of a task token, which starts the sequence of that task."""
        return self.size + task_id

    @property
    def parallel_token_id(self) -> int:
        """Input id of the parallel token, the fixed query of dense slots in parallel models (paper §3.5)."""
        return self.size + self.num_task_ids

    def slot_range(self, slot: str) -> range:
        """Ids that a slot of this kind may take (`"class"` without the noise class)."""
        return {"coordinate": self.coordinates, "class": self.classes, **self.codebooks}[slot]


DEFAULT_TOKENIZERS = {"depth": {}}
DEFAULT_TASKS = {
    "depth": {
        "task_id": 2,
        "slots": ["depth"],
        "output_type": "depth",
        "grid_size": [15, 15],
        "image_size": [480, 480],
        "soft_temperature": 0.8,
        "auxiliary_loss": "silog",
    }
}


@strict
class AiTConfig(PreTrainedConfig):
    r"""
    Configuration of an AiT model: backbone, task-solver, tokenizers and tasks. The defaults are the released
    autoregressive depth model on NYU Depth v2 with SwinV2-B.

    Args:
        backbone_config (`dict` or `PreTrainedConfig`, *optional*): [`AiTSwinv2Config`] by default; the configuration
            of any `AutoBackbone` (native or timm) works. The last feature map is used.
        feature_stride (`int`, *optional*): Pixels per step of the backbone's map that is read: the last one of that
            stride, usually one of 8, 16 and 32. Sets `out_features` of `backbone_config`, which say it by default.
        freeze_batch_norm (`bool`): Batch norm of the backbone normalises by its stored statistics in training, too;
            neither these nor its scales and shifts are learned.
        autocast_solver (`bool`): Under autocast (`train.mixed_precision`), encoder and decoder compute in its type as
            well, logits, losses and tokenizers stay float32. Off as released: only the backbone is autocast then.
        tokenizers (`dict[str, dict]`): Name -> arguments of [`AiTTokenizerConfig`] or, with `tokenizer_type="pose"`,
            of [`AiTPoseTokenizerConfig`].
        tasks (`dict[str, dict]`): Name -> arguments of [`AiTTaskConfig`].
        codebooks (`list`): Ordered `[name, number of codes]` pairs of the vocabulary. A name without a tokenizer only
            reserves its ids, as the mask codes in a released depth model.
        num_coordinate_bins (`int`): A coordinate takes `num_coordinate_bins + 1` ids; 0 for none at all.
        coordinate_initialization (`str`): What the embeddings of coordinate ids start from: `"normal"` (as released) or
            `"sine"` waves over the bins, so that neighbouring coordinates begin alike; a new model then learns boxes
            sooner. Without effect on loaded weights.
        num_classes (`int`): Number of object classes; `id2label` names them (`LABEL_0`, ... by default).
        num_reserved_ids (`int`): Unused ids at the end of the vocabulary.
        num_task_ids (`int`): Rows of the task embedding and of the position table.
        parallel (`bool`): Dense tokens are predicted from the parallel token instead of the previous token.
        bidirectional_blocks (`bool`): In a parallel model, the inputs that predict one block of codes attend to each other
            in both directions, not only backwards as in the paper (Fig. 3b). Blocks still see earlier ones only.
        code_noise (`float`): In training without `parallel`, the share of codes in the decoder's input that are drawn at
            random, so that the model learns to go on after mistakes of its own; 0 as in the paper.
        d_model, encoder_layers, decoder_layers, num_heads, ffn_dim (`int`): Sizes of the task-solver.
        dropout, drop_path_rate (`float`): On input features and the FFN; stochastic depth, the same in every block.
        max_position_embeddings (`int`): Longest sequence, task token included.
        pad_images_to (`list[int]`, *optional*): Images are zero-padded at right and bottom to this height and width.
    """

    model_type = "ait"
    keys_to_ignore_at_inference = ["cache", "past_key_values"]
    sub_configs_defaults = {"backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="ait_swinv2")}
    attribute_map = {
        "hidden_size": "d_model",
        "num_hidden_layers": "decoder_layers",
        "num_attention_heads": "num_heads",
        "intermediate_size": "ffn_dim",
    }

    backbone_config: dict | PreTrainedConfig | None = None
    feature_stride: int | None = None
    freeze_batch_norm: bool = False
    autocast_solver: bool = False
    tokenizers: dict[str, dict] | None = None
    tasks: dict[str, dict] | None = None
    codebooks: list[list] | tuple[tuple, ...] | None = (("mask", 128), ("depth", 128))
    num_coordinate_bins: int = 2000
    coordinate_initialization: str = "normal"
    num_classes: int = 80
    num_reserved_ids: int = 0
    num_task_ids: int = 4
    parallel: bool = False
    bidirectional_blocks: bool = False
    code_noise: float | int = 0.0
    d_model: int = 256
    encoder_layers: int = 6
    decoder_layers: int = 6
    num_heads: int = 8
    ffn_dim: int = 1024
    dropout: float | int = 0.1
    drop_path_rate: float | int = 0.1
    activation_function: str = "gelu"
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    max_position_embeddings: int = 2100
    pad_images_to: list[int] | tuple[int, ...] | None = None
    # No such ids: a task fixes the length of its sequences. The library's generic code reads the names.
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    pad_token_id: int | None = None
    use_cache: bool = True
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        if isinstance(self.backbone_config, dict) and self.backbone_config.get("model_type") == "ait_swinv2":
            # This module's class, also where another copy of it (remote code) is the registered one.
            self.backbone_config = AiTSwinv2Config.from_dict(self.backbone_config)
        tokenizers = DEFAULT_TOKENIZERS if self.tokenizers is None else self.tokenizers
        tasks = DEFAULT_TASKS if self.tasks is None else self.tasks
        self.tokenizers = {name: _tokenizer_arguments(name, arguments) for name, arguments in tokenizers.items()}
        self.tasks = {name: asdict(AiTTaskConfig(**arguments)) for name, arguments in tasks.items()}
        self.codebooks = [list(pair) for pair in self.codebooks]
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs) -> "AiTConfig":
        """As the library's, but a checkpoint of another architecture is a `ValueError` instead of a warning."""
        stored, _ = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)
        if stored.get("model_type", cls.model_type) != cls.model_type:
            raise ValueError(
                f"{pretrained_model_name_or_path} holds a {stored['model_type']!r} model, not an AiT model."
            )
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    @property
    def num_labels(self) -> int:
        """What the library calls `num_classes`; another number gives the classes the names `LABEL_0`, ..."""
        return self.num_classes

    @num_labels.setter
    def num_labels(self, num_labels: int):
        if self.id2label is None or len(self.id2label) != num_labels:
            self.id2label = {index: f"LABEL_{index}" for index in range(num_labels)}
            self.label2id = {label: index for index, label in self.id2label.items()}
        self.num_classes = num_labels

    @property
    def vocabulary(self) -> Vocabulary:
        """Every id range, derived from the fields above."""
        num_coordinates = self.num_coordinate_bins + 1 if self.num_coordinate_bins else 0
        classes = range(num_coordinates, num_coordinates + self.num_classes)
        offset = classes.stop + 2  # one id that the released model never uses, then the noise class
        codebooks = {}
        for name, num_codes in self.codebooks:
            codebooks[name] = range(offset, offset + num_codes)
            offset += num_codes
        return Vocabulary(
            coordinates=range(num_coordinates),
            classes=classes,
            noise_id=classes.stop + 1,
            codebooks=codebooks,
            size=offset + self.num_reserved_ids,
            num_task_ids=self.num_task_ids,
        )

    @property
    def vocab_size(self) -> int:
        """Number of output ids, which the classifier has rows for."""
        return self.vocabulary.size

    def task(self, name: str) -> AiTTaskConfig:
        """The declaration of a task; `ValueError` names the known tasks."""
        if name not in self.tasks:
            raise ValueError(f"Unknown task {name!r}: this model was built for {sorted(self.tasks)}.")
        return AiTTaskConfig(**self.tasks[name])

    def tokenizer_of(self, task: str) -> dict[str, Any]:
        """Arguments of the tokenizer behind the dense block of a task; none for a task without one."""
        return next((self.tokenizers[slot] for slot in self.task(task).slots if slot in self.tokenizers), {})

    def classes(self, task: str) -> range:
        """Numbers, in the model's table, of the classes of a task; none for a task without classes."""
        declared = self.task(task)
        if "class" not in declared.slots and declared.output_type != "label_map":
            return range(0)
        return range(*declared.class_range or (self.num_classes,))

    def class_names(self, task: str) -> list[str]:
        """Names of the [`~AiTConfig.classes`] of a task."""
        return [self.id2label[number] for number in self.classes(task)]

    def validate_architecture(self):
        """Called by `@strict`: the parts have to fit together."""
        if self.d_model % self.num_heads or self.d_model % 4:
            raise ValueError(
                f"d_model ({self.d_model}) must be divisible by num_heads ({self.num_heads}) and by 4 (2-D positions)."
            )
        known, given = COORDINATE_INITIALIZATIONS, self.coordinate_initialization
        if given not in known:
            raise ValueError(f"coordinate_initialization is one of {known}, got {given!r}.")
        if self.bidirectional_blocks and not self.parallel:
            raise ValueError("bidirectional_blocks are of parallel models: set parallel as well.")
        if not 0 <= self.code_noise < 1 or (self.code_noise and self.parallel):
            raise ValueError(
                f"code_noise must be at least 0 and below 1, and is of models that are not parallel; got {self.code_noise} "
                f"with parallel {self.parallel}."
            )
        num_codes = dict(self.codebooks)
        if len(num_codes) != len(self.codebooks):
            raise ValueError(f"codebooks names one codebook twice: {[name for name, _ in self.codebooks]}.")
        for name, tokenizer in self.tokenizers.items():
            if num_codes.get(name) != tokenizer["num_vq_embeddings"]:
                raise ValueError(
                    f"Tokenizer {name!r} has {tokenizer['num_vq_embeddings']} codes but codebooks gives it "
                    f"{num_codes.get(name)}: make the two equal."
                )
        if len(self.id2label) != self.num_classes:
            raise ValueError(f"id2label names {len(self.id2label)} classes, but num_classes is {self.num_classes}.")
        task_ids = [task["task_id"] for task in self.tasks.values()]
        if len(set(task_ids)) != len(task_ids) or any(not 0 <= i < self.num_task_ids for i in task_ids):
            raise ValueError(f"Task ids must differ and lie in 0..{self.num_task_ids - 1}, got {task_ids}.")
        for name in self.tasks:
            for problem in self._problems(name):
                raise ValueError(f"Task {name!r}{problem}")

    def _problems(self, name: str) -> Iterator[str]:
        """
        What is wrong with a task's declaration, to be said behind its name; only the first is sure to make sense.
        """
        task = self.task(name)
        known = {"coordinate", "class", *dict(self.codebooks)}
        if unknown := [slot for slot in task.slots if slot not in known]:
            yield f" has unknown slots {unknown}: choose from {sorted(known)}."
        dense = [slot for slot in task.slots if slot not in ("coordinate", "class")]
        if len(dense) > 1 or bool(dense) != (task.grid_size is not None):
            yield " needs grid_size exactly if it has a dense block, and at most one block."
        if dense and dense[0] not in self.tokenizers:
            yield f" writes {dense[0]!r} codes, but there is no tokenizer of that name."
        if "coordinate" in task.slots and not self.num_coordinate_bins:
            yield " has coordinates: set num_coordinate_bins above 0."
        if "class" in task.slots and not self.num_classes:
            yield " has classes: set num_classes above 0."
        bounds = task.class_range
        if bounds is not None and not (len(bounds) == 2 and 0 <= bounds[0] < bounds[1] <= self.num_classes):
            yield f": class_range is [first, behind the last] within the {self.num_classes} classes, got {bounds}."
        if task.output_type not in (None, *OUTPUT_RULES):
            yield f": output_type is one of {tuple(OUTPUT_RULES)} or None, got {task.output_type!r}."
        rules = OUTPUT_RULES.get(task.output_type, UNDECLARED)
        yield from self._output_problems(task, dense, rules, len(self.classes(name)))
        losses = rules.auxiliary_loss if dense else ()
        if task.auxiliary_loss not in (None, *losses):
            yield f": auxiliary_loss is one of {losses} or None, got {task.auxiliary_loss!r}."
        for field_name in ("object_order", "mask_supervision"):
            value, allowed = getattr(task, field_name), getattr(rules, field_name)
            if value not in allowed:
                yield f": {field_name} is one of {allowed}, got {value!r}."
        block, longest = math.prod(task.grid_size) if dense else 0, self.max_position_embeddings
        if not 0 < task.entropy_temperature < math.inf:
            yield f": entropy_temperature must be above 0 and finite, got {task.entropy_temperature}."
        if task.box_tolerance != 0 and task.output_type != "objects":
            yield f": box_tolerance is of objects, but its output_type is {task.output_type!r}."
        if not 0 <= task.box_tolerance < math.inf:
            yield f": box_tolerance must be at least 0 and finite, got {task.box_tolerance}."
        length = task.num_groups * (len(task.slots) - len(dense) + block)
        if not 0 < length <= longest:
            yield f" has {length} tokens; it needs at least 1 and at most max_position_embeddings ({longest})."

    def _output_problems(
        self, task: AiTTaskConfig, dense: list[str], rules: OutputRules, num_classes: int
    ) -> Iterator[str]:
        """Of the slots that each type of output needs, and the tokenizer behind them."""
        if rules.is_one_block and (task.num_groups != 1 or task.slots != dense):
            yield f": a {task.output_type} output is one dense block and nothing else."
        is_object = task.slots[:4] == ["coordinate"] * 4 and sorted(task.slots[4:]) == sorted(["class", *dense])
        if task.output_type == "objects" and not is_object:
            yield ": an object is four coordinates, then a class and, before or after it, a mask."
        if task.output_type == "semantic" and (not dense or task.slots != ["class", *dense]):
            yield ": a group of a semantic output is a class, then the codes of its mask."
        if task.output_type == "semantic" and task.num_groups > num_classes:
            yield f" has {task.num_groups} groups for {num_classes} classes: take fewer."
        if not dense:
            return
        tokenizer = self.tokenizers[dense[0]]
        if tokenizer.get("tokenizer_type", DEFAULT_TOKENIZER_TYPE) != rules.tokenizer_type:
            yield f" needs a tokenizer of type {rules.tokenizer_type!r} behind {dense[0]!r}."
        if rules.tokenizer_type == "pose" and list(task.grid_size) != [1, tokenizer["num_tokens"]]:
            yield f": grid_size must be [1, {tokenizer['num_tokens']}], the codes of a pose, got {task.grid_size}."
        if task.output_type == "label_map" and (
            tokenizer["loss_type"] != "cross_entropy" or tokenizer["out_channels"] != num_classes
        ):
            yield f" needs a tokenizer of label maps of {num_classes} classes."
