# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Which data a recipe trains on, and the order in which samples come.

The training order has no state: which example comes n-th and how it is augmented follow from the recipe's seed and n
alone. So a run gives the same batches with any number of worker processes, one step of two processes sees what one
step of one process with twice the batch sees, and to resume is to start counting elsewhere, without reading again what
was seen before. One iterator lasts the whole training: small data sets do not restart their workers at every epoch.
(Accelerate's seedable sampler and `skip_first_batches` fix the order of examples only, not their augmentation.)
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from datasets.distributed import split_dataset_by_node
from huggingface_hub.dataclasses import strict
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..data.collation import depth_collator
from ..data.depth_transforms import DepthEvalTransform, DepthTrainTransform
from ..data.nyu_depth import load_nyu_depth
from ..data.rgbd import load_hub_rgbd, load_rgbd
from ..data.subset import evenly
from ..data.synthetic import SPLITS, render_room


Batch = dict[str, torch.Tensor]
Sample = dict[str, Any]
SHUFFLE_BUFFER = 256  # samples that a stream holds to draw the next one from


class RandomRooms(Dataset):
    """The rooms of [`~ait_hf.data.synthetic.synthetic_rooms`] by number, without end."""

    def __init__(self, split: str, size: tuple[int, int], seed: int):
        if split not in SPLITS:
            raise ValueError(f"Unknown split {split!r} of synthetic rooms; there are: {', '.join(SPLITS)}.")
        self.key = (SPLITS.index(split), seed)
        self.size = size

    def __getitem__(self, index: int) -> Sample:
        return render_room((*self.key, index), self.size)


@strict
@dataclass
class TransformRecipe:
    """Arguments of [`~ait_hf.data.depth_transforms.DepthTrainTransform`]; evaluation cuts `crop_size` at the centre."""

    crop_size: int | list[int]
    flip_p: float = 0.5
    cut_depth_p: float = 0.75
    cut_depth_every: int | None = 4
    color_p: float = 0.5
    columns: list[int] | None = None
    resize: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels."""
        return (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else tuple(self.crop_size)


@strict
@dataclass(kw_only=True)
class DataRecipe:
    """
    What all data sections share.

    Args:
        transform (`TransformRecipe`): Augmentation.
        split (`str`): Split to train on.
    """

    transform: TransformRecipe
    split: str = "train"

    def load(self, split: str) -> Dataset | datasets.Dataset | datasets.IterableDataset:
        """Examples with `image` and `depth` as the transforms take them."""
        raise NotImplementedError


@strict
@dataclass(kw_only=True)
class SyntheticData(DataRecipe):
    """Rooms rendered on the fly, `size` = height and width in pixels; never the same room twice in training."""

    name: Literal["synthetic"] = "synthetic"
    size: list[int]
    seed: int = 0

    def load(self, split: str) -> Dataset:
        return RandomRooms(split, tuple(self.size), self.seed)


@strict
@dataclass(kw_only=True)
class RGBDData(DataRecipe):
    """Arguments of [`~ait_hf.data.rgbd.load_rgbd`]: your own frames from an index or a folder of pairs."""

    name: Literal["rgbd"] = "rgbd"
    index: str
    root: str | None = None
    depth_scale: float | None = None
    kinds: list[str] | None = None

    def load(self, split: str) -> datasets.Dataset:
        return load_rgbd(self.index, split, root=self.root, depth_scale=self.depth_scale, kinds=self.kinds)


@strict
@dataclass(kw_only=True)
class NYUDepthData(DataRecipe):
    """NYU Depth v2 in the folder `root`, see [`~ait_hf.data.nyu_depth.load_nyu_depth`]."""

    name: Literal["nyu_depth"] = "nyu_depth"
    root: str

    def load(self, split: str) -> datasets.Dataset:
        return load_nyu_depth(self.root, split)


@strict
@dataclass(kw_only=True)
class HubData(DataRecipe):
    """Arguments of [`~ait_hf.data.rgbd.load_hub_rgbd`]: any 🤗 data set with an image and a depth column."""

    name: Literal["hub"] = "hub"
    path: str
    image_column: str = "image"
    depth_column: str = "depth"
    depth_scale: float | None = None
    streaming: bool = False

    def load(self, split: str) -> datasets.Dataset | datasets.IterableDataset:
        return load_hub_rgbd(
            self.path,
            split,
            image_column=self.image_column,
            depth_column=self.depth_column,
            depth_scale=self.depth_scale,
            streaming=self.streaming,
        )


AnyData = SyntheticData | RGBDData | NYUDepthData | HubData


class SampleOrder(Sampler):
    """
    Endless epochs, cut to the samples number `first` to `stop`: yields pairs of example index and sample number.

    Args:
        num_examples (`int`, *optional*): Size of the data set; `None` for one without end, which needs no shuffling.
        first, stop (`int`): Sample numbers, counted over all epochs, batches and processes.
        seed (`int`): Every epoch's permutation follows from it and the epoch's number.
    """

    def __init__(self, num_examples: int | None, first: int, stop: int, seed: int):
        self.num_examples = num_examples
        self.first = first
        self.stop = stop
        self.seed = seed

    def __len__(self) -> int:
        return self.stop - self.first

    def __iter__(self) -> Iterator[tuple[int, int]]:
        if self.num_examples is None:
            yield from ((number, number) for number in range(self.first, self.stop))
            return
        number = self.first
        while number < self.stop:
            epoch, position = divmod(number, self.num_examples)
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_examples)
            for index in order[position : position + self.stop - number]:
                yield int(index), number
                number += 1


class TrainSamples(Dataset):
    """Augmented samples by the pairs of a [`SampleOrder`]."""

    def __init__(self, dataset: Dataset, transform: Callable[[Sample], Sample], seed: int):
        self.dataset = dataset
        self.transform = transform
        self.seed = seed

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        index, number = key
        return _seeded(self.transform, self.dataset[index], (self.seed, number))


class StreamedSamples(IterableDataset):
    """
    Augmented samples of a 🤗 `IterableDataset`, epoch after epoch, each shuffled within a buffer. What comes and how
    it is augmented follows from the seed, and from the numbers of processes and workers, which share its shards.
    """

    def __init__(self, dataset: datasets.IterableDataset, transform: Callable[[Sample], Sample], seed: int, rank: int):
        self.dataset = dataset.shuffle(seed=seed, buffer_size=SHUFFLE_BUFFER)
        self.transform = transform
        self.seed = seed
        self.rank = rank

    def __iter__(self) -> Iterator[Sample]:
        worker = get_worker_info()
        key = (self.seed, self.rank, 0 if worker is None else worker.id)
        number = 0
        for epoch in itertools.count():
            self.dataset.set_epoch(epoch)
            for sample in self.dataset:
                yield _seeded(self.transform, sample, (*key, number))
                number += 1


class EvalSamples(Dataset):
    """Samples by index, without chance."""

    def __init__(self, dataset: Dataset, transform: Callable[[Sample], Sample], num_samples: int):
        self.dataset = dataset
        self.transform = transform
        self.num_samples = num_samples

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.dataset[index])


def training_batches(
    data: AnyData,
    accelerator: Accelerator,
    *,
    batch_size: int,
    num_batches: int,
    done: int,
    num_workers: int,
    seed: int,
) -> Iterator[Batch]:
    """
    This process's batches `{"pixel_values", "labels"}` on its device (see [`depth_collator`]).

    Args:
        batch_size (`int`): Samples per batch of one process.
        num_batches (`int`): Batches of one process in the whole training, `done` of which are behind it.
        num_workers (`int`): Data worker processes beside this one; 0 for none.
    """
    dataset = data.load(data.split)
    transform = DepthTrainTransform(**asdict(data.transform) | {"crop_size": data.transform.size})
    loader_arguments = {"batch_size": batch_size, "drop_last": True} | _loader_arguments(num_workers)
    if isinstance(dataset, datasets.IterableDataset):
        share = split_dataset_by_node(dataset, accelerator.process_index, accelerator.num_processes)
        stream = StreamedSamples(share, transform, seed, accelerator.process_index)
        loader = DataLoader(stream, **loader_arguments)
        # Already shared out: accelerate would have every process read everything. A stream can only be read past.
        loader = prepare_data_loader(
            loader, accelerator.device, num_processes=1, put_on_device=True, dispatch_batches=False
        )
        return itertools.islice(loader, done, num_batches)
    num_examples = None if isinstance(dataset, RandomRooms) else len(dataset)
    per_batch = batch_size * accelerator.num_processes
    order = SampleOrder(num_examples, done * per_batch, num_batches * per_batch, seed)
    loader = DataLoader(TrainSamples(dataset, transform, seed), sampler=order, **loader_arguments)
    return iter(accelerator.prepare(loader))


def evaluation_batches(
    data: AnyData, accelerator: Accelerator, *, split: str, num_samples: int | None, batch_size: int, num_workers: int
) -> DataLoader:
    """
    Batches of a fixed part of a split, shared out over the processes for `accelerator.gather_for_metrics`.

    Args:
        num_samples (`int`, *optional*): How many examples, spread evenly over the split; all if `None` or too many.

    Raises:
        ValueError: If all examples are asked of a data set without end.
    """
    dataset = data.load(split)
    if isinstance(dataset, datasets.IterableDataset):
        dataset = list(dataset if num_samples is None else dataset.take(num_samples))
        num_examples = len(dataset)
    elif isinstance(dataset, RandomRooms):
        num_examples = num_samples
        if num_samples is None:
            raise ValueError("Set evaluation.num_samples: synthetic rooms have no end.")
    else:
        dataset = evenly(dataset, num_samples)
        num_examples = len(dataset)
    samples = EvalSamples(dataset, DepthEvalTransform(data.transform.size), num_examples)
    return accelerator.prepare(DataLoader(samples, batch_size=batch_size, **_loader_arguments(num_workers)))


def _loader_arguments(num_workers: int) -> dict[str, Any]:
    return {
        "collate_fn": depth_collator,
        "num_workers": num_workers,
        "pin_memory": torch.cuda.is_available(),
        # Without its own, a loader draws its workers' seed from the generator that dropout uses.
        "generator": torch.Generator(),
    }


def _seeded(transform: Callable[[Sample], Sample], sample: Sample, seed: tuple[int, ...]) -> Sample:
    """Transforms with torch's CPU generator (which the transforms draw from) set to `seed`, and back afterwards."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
    try:
        return transform(sample)
    finally:
        torch.set_rng_state(state)
