# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Configuration of the SwinV2 backbone with a window, and a choice of shifting, for each stage."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin


@strict
class AiTSwinv2Config(BackboneConfigMixin, PreTrainedConfig):
    """
    Configuration of [`AiTSwinv2Backbone`]. The defaults are the released SwinV2-B depth backbone (480 x 480 pixels).

    Args:
        image_size (`int` or pair, defaults to 480):
            Height and width in pixels of the images the model is made for. The backbone itself takes any size.
        patch_size (`int` or pair, defaults to 4): Height and width in pixels of a patch.
        num_channels (`int`, defaults to 3): Channels of the image.
        embed_dim (`int`, defaults to 128): Channels of stage 1; every further stage doubles them.
        depths (list of `int`, defaults to `(2, 2, 18, 2)`): Number of blocks of each stage.
        num_heads (list of `int`, defaults to `(4, 8, 16, 32)`): Number of attention heads of each stage.
        window_sizes (list of `int`, defaults to `(30, 30, 30, 15)`):
            Side, in tokens, of each stage's square attention window. Maps are zero-padded to a multiple of it.
        shifted_stages (list of `bool`, defaults to `(True, True, False, False)`):
            Whether every second block of the stage shifts its windows by half a window. The released 480-pixel models
            shift in stages 1 and 2; the 640-pixel models shift everywhere, also where one window covers the map.
        pretrained_window_sizes (list of `int`, defaults to `(12, 12, 12, 6)`): Window of each stage in pre-training,
            which normalises the coordinates that the position-bias network sees; 0 means the stage's own window.
        mlp_ratio (`float`, defaults to 4.0): Hidden width of a block's MLP, as a multiple of its channels.
        drop_path_rate (`float`, defaults to 0.1):
            Stochastic depth of the last block; rises linearly from 0 in the first block. In [0, 1).
        hidden_act (`str`, defaults to `"gelu"`): Activation of the MLPs.
        initializer_range (`float`, defaults to 0.02): Standard deviation of newly initialised weights.
        layer_norm_eps (`float`, defaults to 1e-6): Epsilon of every layer norm.
        cosine_eps (`float`, defaults to 5e-5): Added to the norms of queries and keys in cosine attention. Checkpoints
            of transformers and timm were trained with next to nothing (1e-12).
        out_features (list of `str`, *optional*), out_indices (list of `int`, *optional*):
            Which maps to return, out of `"stem"`, `"stage1"`, ... The last stage by default.

    Raises:
        huggingface_hub.errors.StrictDataclassError: for a value of the wrong type, stages that disagree in number, or
            impossible sizes; the message carries the `ValueError` or `TypeError` that names the field.
    """

    model_type = "ait_swinv2"

    attribute_map = {"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"}

    image_size: int | list[int] | tuple[int, int] = 480
    patch_size: int | list[int] | tuple[int, int] = 4
    num_channels: int = 3
    embed_dim: int = 128
    depths: list[int] | tuple[int, ...] = (2, 2, 18, 2)
    num_heads: list[int] | tuple[int, ...] = (4, 8, 16, 32)
    window_sizes: list[int] | tuple[int, ...] = (30, 30, 30, 15)
    shifted_stages: list[bool] | tuple[bool, ...] = (True, True, False, False)
    pretrained_window_sizes: list[int] | tuple[int, ...] = (12, 12, 12, 6)
    mlp_ratio: float | int = 4.0
    drop_path_rate: float | int = 0.1
    hidden_act: str = "gelu"
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-6
    cosine_eps: float = 5e-5
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs):
        # JSON knows lists only; a configuration must equal its reloaded self.
        for name in ("depths", "num_heads", "window_sizes", "shifted_stages", "pretrained_window_sizes"):
            setattr(self, name, list(getattr(self, name)))
        for name in ("image_size", "patch_size"):
            if not isinstance(getattr(self, name), int):
                setattr(self, name, list(getattr(self, name)))
        self.num_layers = len(self.depths)
        self.hidden_size = self.embed_dim * 2 ** (self.num_layers - 1)  # channels of the last stage
        self.stage_names = ["stem"] + [f"stage{index}" for index in range(1, self.num_layers + 1)]
        self.set_output_features_output_indices(
            out_features=kwargs.pop("out_features", None), out_indices=kwargs.pop("out_indices", None)
        )
        # These follow from depths and embed_dim; a stored copy must not win over an edited value.
        for name in ("num_layers", "hidden_size", "stage_names"):
            kwargs.pop(name, None)
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Part of `@strict` validation: says in one sentence what is wrong and with which field."""
        for name in ("image_size", "patch_size"):
            size = getattr(self, name)
            pair = [size, size] if isinstance(size, int) else size
            if len(pair) != 2 or min(pair) < 1:
                raise ValueError(f"{name} must be a positive number of pixels or a (height, width) pair; got {size}.")
        for name in ("num_heads", "window_sizes", "shifted_stages", "pretrained_window_sizes"):
            given, count = getattr(self, name), len(self.depths)
            if len(given) != count:
                raise ValueError(f"{name} needs one entry for each of the {count} stages in depths; got {given}.")
        for name, smallest in (("depths", 1), ("num_heads", 1), ("window_sizes", 1), ("pretrained_window_sizes", 0)):
            if min(getattr(self, name), default=0) < smallest:
                raise ValueError(f"every entry of {name} must be at least {smallest}; got {getattr(self, name)}.")
        for stage, heads in enumerate(self.num_heads):
            channels = self.embed_dim * 2**stage
            if channels % heads:
                raise ValueError(
                    f"the {channels} channels of stage {stage + 1} cannot be split into {heads} heads; "
                    "change embed_dim or num_heads."
                )
        if not 0 <= self.drop_path_rate < 1:
            raise ValueError(f"drop_path_rate must be in [0, 1); got {self.drop_path_rate}.")
