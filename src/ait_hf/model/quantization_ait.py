# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The codebook that learns by exponential moving averages (EMA), and the arithmetic of soft tokens."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
import torch.nn as nn
import torch.nn.functional as F
from diffusers.utils import BaseOutput
from transformers.utils.generic import maybe_autocast


@dataclass
class QuantizerOutput(BaseOutput):
    """Output of [`EMACodebook`] for latents `(batch_size, embedding_dim, height, width)`."""

    # The nearest code of every latent, shape and dtype as the latents. Its gradient goes to them (straight-through).
    quantized: torch.Tensor
    indices: torch.LongTensor  # ids of the codes, (batch_size, height, width), 0..num_embeddings - 1
    commit_loss: torch.FloatTensor  # mean squared error between latents and codes, not weighted, ()
    # `exp(entropy)` of the code usage, (), from 1 (one code is used) to `num_embeddings` (all equally often). Over the
    # batches of all processes where this forward moved the codes, over this batch otherwise.
    perplexity: torch.FloatTensor


@dataclass
class CodebookUpdate:
    """What the forwards inside of [`EMACodebook.one_update`] gather, an entry of the lists for each."""

    counts: list[torch.Tensor] = field(default_factory=list)  # (num_embeddings,), latents of every code
    sums: list[torch.Tensor] = field(default_factory=list)  # (num_embeddings, embedding_dim), their sums
    latents: list[torch.Tensor] = field(default_factory=list)  # (N, embedding_dim), all of them
    # Shape (), over the batches of all forwards and processes; known once the codes have moved.
    perplexity: torch.FloatTensor | None = None


class EMACodebook(nn.Module):
    """
    Codebook with nearest-code lookup. In training mode every forward also moves the codes: they are the averages of
    the latents assigned to them, kept as exponential moving averages over steps and summed over all processes of
    `torch.distributed`, so that several processes learn what one process would learn from the whole batch. The same holds
    for several forwards inside of [`~EMACodebook.one_update`].

    A step looks codes up before it moves them. The update is that of the released tokenizers:
    `size = decay * size + (1 - decay) * count`, Laplace-smoothed and stored so,
    `sums = decay * sums + (1 - decay) * sum of latents`, `code = sums / size`.

    Codes, statistics and distances are float32 always: casting the module moves it but keeps its dtype, and autocast
    does not reach inside.

    The statistics of a new codebook are zero, that is, codes that the first batch does not use become zero vectors.
    To train from scratch call [`~EMACodebook.init_from_latents`] with the first batch, or set `revival_threshold`.
    (The original starts from random sums with zero sizes, which makes the norm of unused codes explode.)

    Args:
        num_embeddings, embedding_dim (`int`): Number of codes K, width of a code D.
        decay (`float`, *optional*, defaults to 0.99): Share of the statistics that a step keeps.
        epsilon (`float`, *optional*, defaults to 1e-5): Laplace smoothing of the sizes.
        revival_threshold (`float`, *optional*, defaults to 0.0):
            After a step, a code whose size is below this share of the mean size is dead: it is placed on a random
            latent of the batches of all processes (drawn with torch's global generator of process 0) with just this
            size, so that it lives on if latents choose it in the next step and tries another place if not. 0 never
            revives, as in the released recipes; 0.1 to 0.3 are good values.
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        revival_threshold: float = 0.0,
    ):
        super().__init__()
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.decay = decay
        self.epsilon = epsilon
        self.revival_threshold = revival_threshold
        self.embedding = nn.Embedding(num_embeddings, embedding_dim, dtype=torch.float32)
        self.embedding.requires_grad_(False)
        self.register_buffer("ema_cluster_size", torch.zeros(num_embeddings, dtype=torch.float32))
        self.register_buffer("ema_sums", torch.zeros(num_embeddings, embedding_dim, dtype=torch.float32))
        self._gathered: CodebookUpdate | None = None

    def _apply(self, fn, recurse=True):
        # `.to(dtype)`, `.half()`, ... all come through here: follow them to the device, not to the dtype. (Moving
        # averages in bfloat16 stand still: 0.99 x + 0.01 y rounds back to x.)
        def without_cast(tensor):
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(without_cast, recurse)

    def nearest(self, latents: torch.Tensor) -> torch.LongTensor:
        """Ids `(N,)` of the codes with the smallest squared Euclidean distance to float32 `latents` `(N, D)`."""
        return self._nearest(self._bounded(latents))

    def _bounded(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents `(N, D)` as they are compared with codes."""
        return latents

    def _nearest(self, latents: torch.Tensor) -> torch.LongTensor:
        codes = self.embedding.weight
        # |x - e|^2 without its |x|^2, which is the same for every code; needs (N, K) numbers, never (N, K, D).
        distances = torch.addmm(codes.square().sum(dim=1), latents, codes.t(), alpha=-2)
        return distances.argmin(dim=1)

    def forward(self, latents: torch.Tensor) -> QuantizerOutput:
        """Of latents `(batch_size, embedding_dim, height, width)` of any floating dtype; else a `ValueError`."""
        with maybe_autocast(latents.device.type, enabled=False):
            flat = self._bounded(self._flatten(latents))
            ids = self._nearest(flat.detach())
            codes = self.embedding(ids)
            commit_loss = F.mse_loss(flat, codes)
            quantized = flat + (codes - flat).detach()
            counts = flat.new_zeros(self.num_embeddings).index_add_(0, ids, flat.new_ones(len(ids)))
            if self.training:
                counts = self._learn(flat.detach(), ids, counts)
            perplexity = _perplexity(counts)
        grid = latents.shape[:1] + latents.shape[2:]
        quantized = quantized.view(*grid, -1).permute(0, 3, 1, 2).to(latents.dtype)
        return QuantizerOutput(quantized, ids.view(grid), commit_loss, perplexity)

    def expected_embedding(self, probabilities: torch.Tensor) -> torch.FloatTensor:
        """
        Average code `(..., embedding_dim)`, float32, under soft tokens (AiT paper, Eq. 4): probabilities
        `(..., num_embeddings)` that sum to 1 over the last axis. Differentiable in them.
        """
        with maybe_autocast(probabilities.device.type, enabled=False):
            return probabilities.float() @ self.embedding.weight

    @contextmanager
    def one_update(self) -> Iterator[CodebookUpdate]:
        """
        Inside of it, forwards in training mode leave the codes where they are; at its end they move once, by the
        latents of all these forwards on all processes, as one forward of them all would move them. All processes must
        have as many forwards, of one batch size.
        """
        self._gathered = gathered = CodebookUpdate()
        try:
            yield gathered
        finally:
            self._gathered = None
        if gathered.counts:
            counts, sums = torch.stack(gathered.counts).sum(dim=0), torch.stack(gathered.sums).sum(dim=0)
            gathered.perplexity = _perplexity(self._move(counts, sums, gathered.latents))

    @torch.no_grad()
    def init_from_latents(self, *latents: torch.Tensor) -> None:
        """
        Places the codes on latents of a batch, spread out as k-means++ does (each next code is drawn with probability
        proportional to the squared distance to the nearest code so far), with sizes 1 and sums that agree. Where
        the batch has fewer distinct latents than there are codes, some codes coincide. With several processes all
        must call it, with batches of one size; the codes are those that process 0 draws from the latents of all. Uses
        torch's global generator.

        Args:
            *latents (`torch.Tensor` of shape `(batch_size, embedding_dim, height, width)`): Of one batch, or of the parts
                that a step goes through one after the other; `ValueError` for other shapes.
        """
        flat = torch.cat([_of_all_processes(self._flatten(part)) for part in latents])
        codes = torch.empty_like(self.embedding.weight)
        weights = flat.new_ones(len(flat))
        distances = flat.new_full((len(flat),), math.inf)
        for k in range(self.num_embeddings):
            codes[k] = flat[torch.multinomial(weights, 1).item()]
            distances = torch.minimum(distances, (flat - codes[k]).square().sum(dim=1))
            # Not quite 0, so that a batch without a further distinct latent still has something to draw.
            weights = distances.clamp_min(1e-30)
        _from_first_process(codes)
        # Every code stands for the one latent it was placed on: light, so that it can follow and, unused, soon dies.
        self.embedding.weight.copy_(codes)
        self.ema_cluster_size.fill_(1)
        self.ema_sums.copy_(codes)

    def _flatten(self, latents: torch.Tensor) -> torch.FloatTensor:
        width, shape = self.embedding_dim, tuple(latents.shape)
        if len(shape) != 4 or shape[1] != width:
            raise ValueError(f"The codebook takes latents of shape (batch, {width}, height, width), got {shape}.")
        return latents.permute(0, 2, 3, 1).reshape(-1, width).float()

    @torch.no_grad()
    def _learn(self, latents: torch.Tensor, ids: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
        """One EMA step from this process's latents `(N, D)`, or their part of it; returns the counts `(K,)` known."""
        sums = torch.zeros_like(self.ema_sums).index_add_(0, ids, latents)
        if self._gathered is None:
            return self._move(counts, sums, [latents])
        self._gathered.counts.append(counts)
        self._gathered.sums.append(sums)
        self._gathered.latents.append(latents)
        return counts

    @torch.no_grad()
    def _move(self, counts: torch.Tensor, sums: torch.Tensor, latents: list[torch.Tensor]) -> torch.Tensor:
        """
        One EMA step from this process's counts `(K,)`, sums `(K, D)` and, of each of its forwards, latents `(N, D)`;
        returns the counts of all processes.
        """
        counts, sums = sum_over_processes(counts), sum_over_processes(sums)
        size = self.ema_cluster_size.lerp_(counts, 1 - self.decay)
        total = size.sum()
        size.add_(self.epsilon).div_(total + self.num_embeddings * self.epsilon).mul_(total)
        self.ema_sums.lerp_(sums, 1 - self.decay)
        self.embedding.weight.copy_(self.ema_sums / size[:, None])
        if self.revival_threshold > 0:
            self._revive(latents)
        return counts

    @torch.no_grad()
    def num_dead(self) -> torch.LongTensor:
        """
        How many codes are next to unused, or were until they were revived in this step; shape `()`: those whose size
        is at most `revival_threshold` of the mean size, or a hundredth of it, if that is more.
        """
        share = max(self.revival_threshold, 0.01)
        return (self.ema_cluster_size <= share * self.ema_cluster_size.mean()).sum()

    def _revive(self, latents: list[torch.Tensor]) -> None:
        """
        Re-seeds dead codes. Without a look at how many there are, so that the device is not made to wait: a latent is
        drawn for every code, of all forwards and processes, distinct as long as there are enough. Process 0 draws
        their numbers, in the order of the batch that forwards and processes share, and only those latents are sent
        around; every forward of every process must have as many.
        """
        rank, num_processes = (dist.get_rank(), dist.get_world_size()) if _is_distributed() else (0, 1)
        size, mine = len(latents[0]), torch.cat(latents)
        order = torch.randperm(num_processes * len(mine), device=mine.device)
        numbers = order.repeat(math.ceil(self.num_embeddings / len(order)))[: self.num_embeddings]
        numbers = _from_first_process(numbers)
        parts, places = numbers // size, numbers % size
        drawn = mine[parts // num_processes * size + places]
        seeds = sum_over_processes(torch.where((parts % num_processes == rank)[:, None], drawn, 0.0))
        smallest_size = self.revival_threshold * self.ema_cluster_size.mean()
        dead = self.ema_cluster_size < smallest_size
        self.embedding.weight.copy_(torch.where(dead[:, None], seeds, self.embedding.weight))
        self.ema_sums.copy_(torch.where(dead[:, None], seeds * smallest_size, self.ema_sums))
        self.ema_cluster_size.copy_(torch.where(dead, smallest_size, self.ema_cluster_size))


class FSQCodebook(EMACodebook):
    """
    Codebook that does not learn: finite scalar quantisation (Mentzer et al. 2023). A code is a point of a grid, each of whose
    axes has so many evenly spaced levels from -1 to 1; latents are brought between these by tanh and rounded. All else, soft
    tokens as well, is as for [`EMACodebook`], so that either serves a tokenizer. (The commitment loss is no part of it: give
    the tokenizer a `commitment_cost` of 0.)

    Args:
        levels (`Sequence[int]`): Levels of each axis, at least 2; the codes are numbered with the last axis running fastest.
    """

    def __init__(self, levels: Sequence[int]):
        super().__init__(math.prod(levels), len(levels))
        axes = [torch.linspace(-1, 1, number) for number in levels]
        with torch.no_grad():
            self.embedding.weight.copy_(torch.cartesian_prod(*axes).reshape(self.num_embeddings, -1))

    def _bounded(self, latents: torch.Tensor) -> torch.Tensor:
        return latents.tanh()

    def init_from_latents(self, *latents: torch.Tensor) -> None:
        """Nothing: codes stay where they are."""

    @torch.no_grad()
    def _move(self, counts: torch.Tensor, sums: torch.Tensor, latents: list[torch.Tensor]) -> torch.Tensor:
        counts = sum_over_processes(counts)
        self.ema_cluster_size.lerp_(counts, 1 - self.decay)  # for what is said of dead codes
        return counts


def apply_temperature(probabilities: torch.Tensor, temperature: float) -> torch.Tensor:
    """
    `softmax(temperature * log(probabilities))`, that is `p ** temperature` normalised to sum 1. It equals
    `softmax(temperature * logits)` for `probabilities = softmax(logits)`, which is how the released models sharpen or
    flatten soft tokens before the detokenizer: below 1 flattens, above 1 sharpens, 1 returns `probabilities`
    `(..., num_codes)`. Zeros stay zero. `ValueError` if `temperature` is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"The temperature of soft tokens must be positive, got {temperature}.")
    if temperature == 1:
        return probabilities
    impossible = probabilities == 0
    scores = temperature * probabilities.masked_fill(impossible, 1).log()
    return scores.masked_fill(impossible, -math.inf).softmax(dim=-1)


def token_entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """
    Uncertainty `(...)` of soft tokens `(..., K)`, K at least 2: entropy over the last axis divided by `ln K`, from 0
    (one code is certain) to 1 (all K codes are equally likely).
    """
    return torch.special.entr(probabilities).sum(dim=-1) / math.log(probabilities.shape[-1])


def token_agreement(probabilities: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """
    How far the codes of soft tokens `(..., codes)` agree: 1 minus the mean squared distance of a soft token's codes
    from their mean, relative to that of the whole codebook `(codes, width)`. Unlike the entropy it does not count
    against a token that it hesitates between codes that are nearly the same. The result `(...)` is float32, from 0 (no
    more than chance) to 1 (one place in the codebook).
    """
    codes = codebook.float() - codebook.float().mean(0)
    squares = codes.square().sum(1)
    probabilities = probabilities.float()
    spread = probabilities @ squares - (probabilities @ codes).square().sum(-1)
    return (1 - spread / squares.mean().clamp(min=torch.finfo(torch.float32).tiny)).clamp(0, 1)


def _perplexity(counts: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(counts / counts.sum()).sum().exp()


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, in place; of one process as it is."""
    if _is_distributed():
        dist.all_reduce(tensor)
    return tensor


def _from_first_process(tensor: torch.Tensor) -> torch.Tensor:
    if _is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor


def _of_all_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, which have the same number each."""
    if not _is_distributed():
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)
