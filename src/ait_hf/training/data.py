# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The order in which samples come, for one source of samples or several.

The training order has no state: which example comes n-th and how it is augmented follow from the recipe's seed and n
alone. So a run gives the same batches with any number of worker processes, one step of two processes sees what one
step of one process with twice the batch sees, and to resume is to start counting elsewhere, without reading again what
was seen before. One iterator lasts the whole training: small data sets do not restart their workers at every epoch.
(Accelerate's seedable sampler and `skip_first_batches` fix the order of examples only, not their augmentation.)
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from datasets.distributed import split_dataset_by_node
from huggingface_hub.dataclasses import strict
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..data.subset import evenly


Batch = dict[str, Any]
Sample = dict[str, Any]
AnyDataset = Dataset | datasets.Dataset | datasets.IterableDataset
SHUFFLE_BUFFER = 256  # samples that a stream holds to draw the next one from


@strict
@dataclass(kw_only=True)
class DataRecipe:
    """
    What all data sections share.

    Args:
        batch_size (`int`): Training samples per process and forward; a step sees `batch_size *
            train.gradient_accumulation_steps * processes` of them.
        split (`str`): Split to train on.
    """

    batch_size: int
    split: str = "train"

    def validate_batch_size(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels."""
        raise NotImplementedError

    @property
    def is_endless(self) -> bool:
        """Whether the data sets have no length: sample n is the n-th there is."""
        return False

    def load(self, split: str) -> AnyDataset:
        """Examples as the transforms take them."""
        raise NotImplementedError

    def load_for_training(self) -> AnyDataset:
        """The examples to train on."""
        return self.load(self.split)


@dataclass
class Stream:
    """
    One source of samples.

    Args:
        data: Section of the recipe.
        train_transform, eval_transform: From an example to a sample; training draws from torch's CPU generator.
        collate: From samples to a batch.
        every: Takes part in every so-manieth step of the training, from the first on.
    """

    data: DataRecipe
    train_transform: Callable[[Sample], Sample]
    eval_transform: Callable[[Sample], Sample]
    collate: Callable[[Sequence[Sample]], Batch]
    every: int = 1

    def steps_before(self, step: int) -> int:
        """In how many of the first `step` steps it takes part."""
        return -(-step // self.every)


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
        return _seeded(lambda: self.transform(self.dataset[index]), (self.seed, number))


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
                yield _seeded(partial(self.transform, sample), (*key, number))
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


def mixed_batches(
    streams: Mapping[str, Stream],
    accelerator: Accelerator,
    *,
    num_steps: int,
    done: int,
    forwards_per_step: int,
    num_workers: int,
    seed: int,
) -> Iterator[dict[str, Batch]]:
    """
    For every forward the batches of the streams that take part in its step, `{name: batch}`.

    Args:
        num_steps (`int`): Steps of the whole training, `done` of which are behind it.
        forwards_per_step (`int`): A stream gives a batch to each forward of its steps.
    """
    batches = {
        name: training_batches(
            stream,
            accelerator,
            num_batches=stream.steps_before(num_steps) * forwards_per_step,
            done=stream.steps_before(done) * forwards_per_step,
            num_workers=num_workers,
            seed=seed,
        )
        for name, stream in streams.items()
    }
    for step in range(done, num_steps):
        for _ in range(forwards_per_step):
            yield {name: next(batches[name]) for name, stream in streams.items() if step % stream.every == 0}


def training_batches(
    stream: Stream, accelerator: Accelerator, *, num_batches: int, done: int, num_workers: int, seed: int
) -> Iterator[Batch]:
    """
    This process's batches on its device.

    Args:
        num_batches (`int`): Batches of one process in the whole training, `done` of which are behind it.
        num_workers (`int`): Data worker processes beside this one; 0 for none.
    """
    batch_size = stream.data.batch_size
    dataset = stream.data.load_for_training()
    loader_arguments = {"batch_size": batch_size, "drop_last": True} | _loader_arguments(stream, num_workers)
    if isinstance(dataset, datasets.IterableDataset):
        share = split_dataset_by_node(dataset, accelerator.process_index, accelerator.num_processes)
        samples = StreamedSamples(share, stream.train_transform, seed, accelerator.process_index)
        loader = DataLoader(samples, **loader_arguments)
        # Already shared out: accelerate would have every process read everything. A stream can only be read past.
        loader = prepare_data_loader(
            loader, accelerator.device, num_processes=1, put_on_device=True, dispatch_batches=False
        )
        return itertools.islice(loader, done, num_batches)
    num_examples = None if stream.data.is_endless else len(dataset)
    per_batch = batch_size * accelerator.num_processes
    order = SampleOrder(num_examples, done * per_batch, num_batches * per_batch, seed)
    loader = DataLoader(TrainSamples(dataset, stream.train_transform, seed), sampler=order, **loader_arguments)
    return iter(accelerator.prepare(loader))


def evaluation_batches(
    stream: Stream,
    accelerator: Accelerator,
    *,
    split: str,
    num_samples: int | None,
    batch_size: int,
    num_workers: int,
) -> DataLoader:
    """
    Batches of a fixed part of a split, shared out over the processes for `accelerator.gather_for_metrics`.

    Args:
        num_samples (`int`, *optional*): How many examples, spread evenly over the split; all if `None` or too many.

    Raises:
        ValueError: If all examples are asked of a data set without end.
    """
    dataset = stream.data.load(split)
    if isinstance(dataset, datasets.IterableDataset):
        dataset = list(dataset if num_samples is None else dataset.take(num_samples))
        num_examples = len(dataset)
    elif stream.data.is_endless:
        num_examples = num_samples
        if num_samples is None:
            raise ValueError("Set evaluation.num_samples: synthetic rooms have no end.")
    else:
        dataset = evenly(dataset, num_samples)
        num_examples = len(dataset)
    samples = EvalSamples(dataset, stream.eval_transform, num_examples)
    return accelerator.prepare(DataLoader(samples, batch_size=batch_size, **_loader_arguments(stream, num_workers)))


def _loader_arguments(stream: Stream, num_workers: int) -> dict[str, Any]:
    return {
        "collate_fn": stream.collate,
        "num_workers": num_workers,
        "pin_memory": torch.cuda.is_available(),
        # Without its own, a loader draws its workers' seed from the generator that dropout uses.
        "generator": torch.Generator(),
    }


def _seeded(make: Callable[[], Sample], seed: tuple[int, ...]) -> Sample:
    """Calls `make` with torch's CPU generator set to `seed`, and back afterwards."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
    try:
        return make()
    finally:
        torch.set_rng_state(state)
