# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Distance between predicted and true tokens in the embedding space (paper, Table 1)."""

import evaluate
import numpy as np
import torch
from datasets import Features, Value

from .per_image import comparable


def token_embedding_distance(predicted: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> torch.Tensor:
    """
    Mean Euclidean distance between the tokens of each sample.

    Args:
        predicted: `(B, N, D)`; of a soft token its expected embedding, of a hard token its code's embedding.
        target: `(B, N, D)`; embeddings of the true codes.

    Returns:
        `(B,)`, float32.

    Raises:
        ValueError: If shapes differ or are not `(B, N, D)`.
    """
    predicted, target = (tokens.float() for tokens in comparable(predicted, target, "batch, tokens, dimension"))
    return torch.linalg.vector_norm(predicted - target, dim=-1).mean(-1)


class TokenDistanceMetric(evaluate.Metric):
    """
    Mean over samples of [`token_embedding_distance`]; `predictions` are per-sample distances `(n,)`.

    Example:

    ```python
    >>> import torch
    >>> from ait_hf.metrics import TokenDistanceMetric

    >>> metric = TokenDistanceMetric()
    >>> metric.add_tokens(torch.zeros(1, 2, 2), torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
    >>> metric.compute()
    {'token_distance': 2.5}
    ```
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean Euclidean distance between predicted and true token embeddings.",
            citation="",
            inputs_description="predictions: one distance per sample.",
            features=Features({"predictions": Value("float64")}),
        )

    def add_tokens(self, predicted: torch.Tensor | np.ndarray, target: torch.Tensor | np.ndarray) -> None:
        """Add a batch of embeddings `(B, N, D)`."""
        self.add_batch(predictions=token_embedding_distance(predicted, target).detach().cpu().numpy())

    def _compute(self, predictions) -> dict[str, float]:
        return {"token_distance": float(np.mean(predictions))}
