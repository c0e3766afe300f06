# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The order in which samples come, for one source of samples or several.

The training order has no state: which example comes n-th and how it is augmented follow from the recipe's seed and n
alone. So a run gives the same batches with any number of worker processes, one step of two processes sees what one
step of one process with twice the batch sees, and to resume is to start counting elsewhere, without reading again what
was seen before. One iterator lasts the whole training: small data sets do not restart their workers at every epoch.
(Accelerate's seedable sampler and `skip_first_batches` fix the order of examples only, not their augmentation.)

Streams have no numbered examples: processes and workers share their shards, so that what comes also follows from how
many of these there are, and a resumed run reads, without decoding, past the rows it has seen.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.data_loader import prepare_data_loader
from datasets.distributed import split_dataset_by_node
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info

from ..data.classes import DataClasses
from ..data.pixels import height_and_width
from ..data.tables import examples
from .faults import SampleError
from .parsing import as_section, section_name
from .unreadable import READING_ERRORS, Candidate, Drawn, Sample, UnreadableLog, first_readable, name_of, path_in


Batch = dict[str, Any]
AnyDataset = Dataset | datasets.Dataset | datasets.IterableDataset
SHUFFLE_BUFFER = 256  # samples that a stream holds to draw the next one from


@as_section
class Source:
    """
    Where samples come from. A source has a method for each of its kinds of rows, which views call:
    `rows(split, for_training)`, where training may see others than an evaluation of the same split.

    Attributes:
        is_endless: Whether its data sets have no length: sample n is the n-th there is.
        is_checked: Whether everything in it is checked when it is loaded, and not when it is read.
    """

    is_endless: ClassVar[bool] = False
    is_checked: ClassVar[bool] = True


@as_section
class DataRecipe:
    """
    A data section: the view that a task takes of a source. Every view says what it is called (`of`), which sources it can
    be taken of (`source`), and makes samples of their rows (`stream`).

    Args:
        batch_size (`int`): Training samples of a step, which processes and forwards share evenly: each forward of a
            process has `batch_size / (processes * train.gradient_accumulation_steps)` of them.
        split (`str`): Split to train on.
        max_unreadable_share (`float`): A training sample that cannot be read is replaced, counted and named in the log;
            more than this share of the samples drawn (counted as 1,000 at least) stops the run, 0 at the first.
    """

    of: ClassVar[str]
    source: ClassVar[Source]

    batch_size: int
    split: str = "train"
    max_unreadable_share: float = 0.01

    def validate_training(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}.")
        if not 0 <= self.max_unreadable_share <= 1:
            raise ValueError(f"max_unreadable_share must be from 0 to 1, got {self.max_unreadable_share}.")

    @property
    def name(self) -> str:
        """What messages call the section: one word for source and view."""
        return section_name(self.source.name, self.of)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of what the model sees, pixels: by default those of `transform`."""
        return height_and_width(self.transform.image_size)

    @property
    def is_endless(self) -> bool:
        """Whether the data sets have no length: sample n is the n-th there is."""
        return self.source.is_endless

    def rows(self, split: str, for_training: bool = False) -> AnyDataset:
        """The source's rows, as the transforms take them."""
        raise NotImplementedError

    def load(self, split: str) -> AnyDataset:
        """Whole examples of a split, as the transforms take them."""
        return self.rows(split)

    def load_for_training(self) -> AnyDataset:
        """The examples to train on."""
        return self.rows(self.split, for_training=True)

    def class_names(self) -> list[str]:
        """Classes, numbered from 0; none by default."""
        return []

    def data_classes(self, split: str | None = None) -> DataClasses | None:
        """Classes or joints of a split, by default of the rows to train on; `None` for data without any."""
        return None

    def ground_truth(self, split: str, num_samples: int | None) -> dict[str, Any] | None:
        """A COCO dictionary of at least the samples that are evaluated; `None` where they are not measured by one."""
        return None

    def check_ground_truth(self, split: str, num_samples: int | None) -> None:
        """`ValueError` for samples that [`DataRecipe.ground_truth`] cannot use and that loading does not check."""
        if not self.source.is_checked:
            self.ground_truth(split, num_samples)

    def tokenizer_warnings(self) -> list[str]:
        """What to tell before a tokenizer is trained on them."""
        return []

    def examples(self, split: str, number: int | None) -> Sequence | Dataset:
        """The examples that stand for a split, by number, see [`~ait_hf.data.tables.examples`]."""
        return examples(self.load(split), number)


@as_section
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


@dataclass
class Stream:
    """One source of samples."""

    data: DataRecipe
    # From an example to a sample; training draws from torch's CPU generator.
    train_transform: Callable[[Sample], Sample]
    eval_transform: Callable[[Sample], Sample]
    collate: Callable[[Sequence[Sample]], Batch]  # from samples to a batch
    every: int = 1  # takes part in every so-manieth step of the training, from the first on
    # From a training batch, on the host, to what the loss takes; by default it is the batch.
    draft: Callable[[Batch], Batch] | None = None

    @cached_property
    def unreadable(self) -> UnreadableLog:
        """Account of the training samples that this process drew."""
        return UnreadableLog(self.data.name, self.data.max_unreadable_share)


@dataclass(eq=False)
class SampleOrder(Sampler):
    """Endless epochs, cut to the samples number `first` to `stop`, counted over all epochs, batches and processes:
    yields pairs of example index and sample number."""

    num_examples: int | None  # none for a data set without end, which needs no shuffling
    first: int
    stop: int
    seed: int  # from it and its number every epoch's permutation follows

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


@dataclass(eq=False)
class TrainSamples(Dataset):
    """Augmented samples by the pairs of a [`SampleOrder`]. In the place of one that cannot be read comes another,
    drawn by the sample's number."""

    dataset: Dataset
    transform: Callable[[Sample], Sample]
    seed: int
    num_examples: int | None  # none for a data set without end, which is made, not read

    def __getitem__(self, key: tuple[int, int]) -> Drawn:
        return (self._sample(*key), ()) if self.num_examples is None else first_readable(self._candidates(*key))

    def _candidates(self, index: int, number: int) -> Iterator[Candidate]:
        for attempt in itertools.count(1):
            yield partial(self._sample, index, number), partial(name_of, self.dataset, index)
            index = int(np.random.default_rng((self.seed, number, attempt)).integers(self.num_examples))

    def _sample(self, index: int, number: int) -> Sample:
        return _seeded(lambda: self.transform(self.dataset[index]), (self.seed, number))


@dataclass(eq=False)
class StreamedSamples(IterableDataset):
    """
    Augmented samples of a 🤗 `IterableDataset`, epoch after epoch, each shuffled within a buffer. What comes and how
    it is augmented follows from the seed, and from the numbers of processes and workers, which share its shards. In the
    place of a row that cannot be read comes the next one, which then comes again as itself: so row n is sample n,
    whatever can be read, and resuming is counting rows.
    """

    dataset: datasets.IterableDataset
    transform: Callable[[Sample], Sample]
    seed: int
    rank: int  # number of this process
    skip: int = 0  # rows, of each worker, that were seen before; they are not decoded

    def __iter__(self) -> Iterator[Drawn]:
        rows, ahead = itertools.islice(self._all_rows(), self.skip, None), deque()
        for number in itertools.count(self.skip):
            yield first_readable(self._candidates(number, rows, ahead))
            ahead.popleft()

    def _all_rows(self) -> Iterator[Sample]:
        undecoded = self.dataset.decode(False)
        for epoch in itertools.count():
            # Not `set_epoch`: workers share that number, and one that is ahead would change the epoch of the others.
            rows = undecoded.shuffle(seed=_mixed((self.seed, epoch)), buffer_size=SHUFFLE_BUFFER)
            row = None
            for row in rows:  # noqa: UP028 (whether there was one is asked below)
                yield row
            if row is None:
                raise SampleError(
                    "A data worker has no rows: the stream has fewer than there are processes and workers."
                )

    def _candidates(self, number: int, rows: Iterator[Sample], ahead: deque[Sample]) -> Iterator[Candidate]:
        """The rows from `number` on, those that were looked at being left in `ahead`."""
        worker = get_worker_info()
        key = (self.seed, self.rank, 0 if worker is None else worker.id, number)
        for attempt in itertools.count():
            if len(ahead) == attempt:
                ahead.append(next(rows))
            row = ahead[attempt]
            yield partial(self._sample, row, key), (lambda row=row: path_in(row) or f"row {key[2:]}")

    def _sample(self, row: Sample, key: tuple[int, ...]) -> Sample:
        return _seeded(lambda: self.transform(self.dataset.features.decode_example(row)), key)


@dataclass(eq=False)
class EvalSamples(Dataset):
    """Samples by index, without chance; `SampleError` for one that cannot be read, as errors of others do not compare."""

    dataset: Sequence | Dataset
    transform: Callable[[Sample], Sample]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        try:
            return self.transform(self.dataset[index])
        except READING_ERRORS as error:
            raise SampleError(
                f"{name_of(self.dataset, index)} of the evaluation cannot be read ({error}): mend it or leave it out."
            ) from error

    def loader(
        self,
        collate: Callable[[Sequence[Sample]], Batch],
        accelerator: Accelerator,
        batch_size: int,
        num_workers: int = 0,
    ) -> DataLoader:
        """Batches in their order, shared out over the processes for `accelerator.gather_for_metrics`."""
        loader = DataLoader(self, batch_size=batch_size, collate_fn=collate, **_loader_arguments(num_workers))
        return accelerator.prepare(loader)


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
    options, batches = {"num_workers": num_workers, "seed": seed, "forwards_per_step": forwards_per_step}, {}
    for name, stream in streams.items():
        # It takes part in every so-manieth step, from the first on.
        stop, first = (-(-step // stream.every) * forwards_per_step for step in (num_steps, done))
        batches[name] = training_batches(stream, accelerator, num_batches=stop, done=first, **options)
    for step in range(done, num_steps):
        for _ in range(forwards_per_step):
            yield share_images({name: next(batches[name]) for name in streams if step % streams[name].every == 0})


def share_images(batches: Mapping[str, Batch]) -> dict[str, Batch]:
    """The batches of one forward. Where one has the very images of another before it, as where the same pictures are annotated
    for both, `images_of` names that one in their place, so that the model encodes them once."""
    shared = {}
    for name, batch in batches.items():
        owners = [other for other, given in shared.items() if "pixel_values" in given]
        same = (other for other in owners if torch.equal(batches[other]["pixel_values"], batch["pixel_values"]))
        owner = next(same, None)
        shared[name] = batch
        if owner is not None:
            shared[name] = {key: value for key, value in batch.items() if key != "pixel_values"} | {"images_of": owner}
    return shared


def training_batches(
    stream: Stream,
    accelerator: Accelerator,
    *,
    num_batches: int,
    done: int,
    num_workers: int,
    seed: int,
    forwards_per_step: int = 1,
) -> Iterator[Batch]:
    """
    This process's batches on the host, pinned where there is a GPU: the loop sends each when its turn comes.

    Args:
        num_batches (`int`): Batches of one process in the whole training, `done` of which are behind it.
        num_workers (`int`): Data worker processes beside this one; 0 for none.
        forwards_per_step (`int`): How many of these batches make up, over all processes, the stream's `batch_size`;
            errors as of [`shared_out`].
    """
    total = {stream.data.name: stream.data.batch_size}
    (batch_size,) = shared_out(total, accelerator.num_processes, forwards_per_step).values()
    dataset = stream.data.load_for_training()
    is_stream = isinstance(dataset, datasets.IterableDataset)
    if is_stream:
        # More workers than shards of this process would have nothing to read. Shards that cannot be shared out evenly
        # are read by all processes, each of which takes its part of the rows.
        rank, num_processes, shards = accelerator.process_index, accelerator.num_processes, dataset.num_shards
        num_workers = min(num_workers, shards if shards % num_processes else shards // num_processes)
    loader_arguments = {"collate_fn": partial(_collate, stream), "batch_size": batch_size, "drop_last": True}
    loader_arguments |= _loader_arguments(num_workers)
    if is_stream:
        # Workers take turns, the first one first, also when a run is resumed in the middle of a round.
        rounds, in_round = divmod(done, max(num_workers, 1))
        share = split_dataset_by_node(dataset, rank, num_processes)
        samples = StreamedSamples(share, stream.train_transform, seed, rank, skip=rounds * batch_size)
        # Already shared out: accelerate would have every process read everything.
        alone = {"num_processes": 1, "put_on_device": False, "dispatch_batches": False}
        loader = prepare_data_loader(DataLoader(samples, **loader_arguments), accelerator.device, **alone)
        return _counted(itertools.islice(loader, in_round, in_round + num_batches - done), stream.unreadable)
    num_examples = None if stream.data.is_endless else len(dataset)
    per_batch = batch_size * accelerator.num_processes
    order = SampleOrder(num_examples, done * per_batch, num_batches * per_batch, seed)
    samples = TrainSamples(dataset, stream.train_transform, seed, num_examples)
    loader = DataLoader(samples, sampler=order, **loader_arguments)
    return _counted(accelerator.prepare_data_loader(loader, device_placement=False), stream.unreadable)


def evaluation_batches(
    stream: Stream, accelerator: Accelerator, *, split: str, num_samples: int | None, batch_size: int, num_workers: int
) -> DataLoader:
    """Batches of `num_samples` examples, spread evenly over a split, or of all if `None` or too many, shared out over the
    processes for `accelerator.gather_for_metrics`. `ValueError` if all are asked of a data set without end."""
    samples = EvalSamples(stream.data.examples(split, num_samples), stream.eval_transform)
    return samples.loader(stream.collate, accelerator, batch_size, num_workers)


def concatenated(batches: Sequence[Batch]) -> Batch:
    """Batches as one: tensors one after the other, and so the lists of what differs in size."""
    parts = {key: [batch[key] for batch in batches] for key in batches[0]}
    return {
        key: torch.cat(values) if torch.is_tensor(values[0]) else list(itertools.chain(*values))
        for key, values in parts.items()
    }


def _collate(stream: Stream, drawn: Sequence[Drawn]) -> tuple[Batch, list]:
    """A batch, and for each of its samples those that could not be read in its place."""
    batch = stream.collate([sample for sample, _ in drawn])
    return batch if stream.draft is None else stream.draft(batch), [failures for _, failures in drawn]


def _counted(loader: Iterable[tuple[Batch, list]], log: UnreadableLog) -> Iterator[Batch]:
    for batch, failures in loader:
        log.add(failures)
        yield batch


def _loader_arguments(num_workers: int) -> dict[str, Any]:
    # Without a generator of its own, a loader draws its workers' seed from the one that dropout uses.
    own = torch.Generator()
    return {"num_workers": num_workers, "pin_memory": torch.cuda.is_available(), "generator": own}


def _seeded(make: Callable[[], Sample], seed: tuple[int, ...]) -> Sample:
    """Calls `make` with torch's CPU generator set to `seed`, and back afterwards."""
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(_mixed(seed))
    try:
        return make()
    finally:
        torch.set_rng_state(state)


def _mixed(seed: tuple[int, ...]) -> int:
    """One seed from several numbers."""
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])


def shared_out(
    batch_sizes: Mapping[str, int], num_processes: int, forwards: int = 1, unit: str = "processes"
) -> dict[str, int]:
    """
    Samples of each source in one forward of one process. `batch_size` in a recipe's data sections is the number of all samples
    of a step, so that a recipe trains the same whatever it is launched on.

    Args:
        batch_sizes: Samples of a whole step by the name of their source.
        forwards (`int`): Of each process in a step.
        unit (`str`): What the message calls processes.

    Raises:
        ValueError: They cannot be shared out evenly; the message has batch sizes and numbers of processes that can.
    """
    parts = num_processes * forwards
    unfit = {name: size for name, size in batch_sizes.items() if size % parts}
    if not unfit:
        return {name: size // parts for name, size in batch_sizes.items()}
    listed = " and the ".join(f"{size} samples of {name!r}" for name, size in unfit.items())
    fitting = {name: [size // parts * parts, (size // parts + 1) * parts] for name, size in unfit.items()}
    sizes = "; ".join(f"{_either(filter(None, beside))} of {name!r}" for name, beside in fitting.items())
    common = math.gcd(*batch_sizes.values())
    counts = [count for count in range(1, common // forwards + 1) if common % (count * forwards) == 0]
    raise ValueError(
        f"The {listed} cannot be shared out over {num_processes} {unit}"
        + (f" with {forwards} forwards (train.gradient_accumulation_steps) each" if forwards > 1 else "")
        + f". A batch_size that can: {sizes}."
        + (f" Numbers of {unit} that fit as it is: {_either(counts)}." if counts else "")
    )


def _either(numbers: Iterable[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last
