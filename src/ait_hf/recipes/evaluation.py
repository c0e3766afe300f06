# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The section `evaluation` of recipes."""

from dataclasses import dataclass

from huggingface_hub.dataclasses import strict


@strict
@dataclass(kw_only=True)
class EvaluationRecipe:
    """
    Args:
        split (`str`): Split to evaluate on.
        num_samples (`int`, *optional*): How many of its samples, spread evenly; all if `None`.
        batch_size (`int`): Samples per batch of one process.
        pictures_every (`int`, *optional*): Steps between pictures of predictions (of a tokenizer: reconstructions)
            beside the truth, in `output_dir/pictures` and in TensorBoard or Weights & Biases, if they are among the
            trackers; `None` for none.
        num_pictures (`int`): How many samples of the split are drawn.
    """

    split: str
    num_samples: int | None = None
    batch_size: int = 32
    pictures_every: int | None = None
    num_pictures: int = 4

    def validate_pictures(self):
        if self.num_pictures < 1 or (self.pictures_every is not None and self.pictures_every < 1):
            raise ValueError(
                "pictures_every and num_pictures must be at least 1; pictures_every may be null for never."
            )
