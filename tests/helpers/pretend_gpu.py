# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A pretend GPU: torch's PrivateUse1 backend, whose tensors hold their numbers on the CPU.

It finds, without a GPU, what a GPU would refuse (tensors of two devices in one operation) and what makes the host wait
for it (numbers read back, sizes that depend on numbers, blocking copies), with the function of the package that did it.

    gpu = pretend_gpu.install()
    model.to(gpu.device)
    with gpu.recording() as waits:
        model(pixel_values=images.to(gpu.device, non_blocking=True))
    waits  # Counter of (kind, operation, function)

The backend cannot be unregistered: install it in a process of its own.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType

import torch
from torch.utils._python_dispatch import return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

import ait_hf


NAME = "pretend_gpu"
PACKAGE = str(Path(ait_hf.__file__).parent)
HERE = (__file__, torch.__path__[0])

# What a wait is called.
READ, COPY, SIZE, INDEX = "device to host", "blocking copy", "size from numbers", "index from the host"
# Operations whose result, or its size, the host has to know.
READS = {"_local_scalar_dense", "is_nonzero", "equal"}
SIZES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
BY_INDEX = {"index", "index_put_", "index_put", "_index_put_impl_"}
# What autocast computes in half precision, and in float32.
LOWER = (
    "linear",
    "matmul",
    "bmm",
    "conv2d",
    "conv_transpose2d.input",
    "scaled_dot_product_attention",
    "addmm",
    "baddbmm",
)
FULL = ("layer_norm", "softmax.int", "cross_entropy_loss", "mse_loss", "smooth_l1_loss", "log")


class PretendGPU:
    """
    Attributes:
        device (`torch.device`): For `.to()`.
        refuses_float64 (`bool`): Whether a tensor of 64-bit floats raises `TypeError`, as on Apple's GPUs.
    """

    def __init__(self, refuses_float64: bool):
        self.device = torch.device(NAME, 0)
        self.refuses_float64 = refuses_float64
        self.waits: Counter | None = None

    @contextmanager
    def recording(self) -> Iterator[Counter]:
        """Counts waits by (kind, operation, function), the function being the last of the package that was called."""
        before, self.waits = self.waits, Counter()
        try:
            yield self.waits
        finally:
            self.waits = before

    def wait(self, kind: str, operation: str) -> None:
        if self.waits is not None:
            self.waits[kind, operation, _caller()] += 1

    def wrap(self, value):
        return GPUTensor(value) if isinstance(value, torch.Tensor) and not isinstance(value, GPUTensor) else value


def _caller() -> str:
    """The innermost function of the package that is running, else of another package."""
    frame, other = sys._getframe(2), "?"
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(PACKAGE):
            return _named(code)
        if other == "?" and not code.co_filename.startswith(HERE):
            other = _named(code)
        frame = frame.f_back
    return other


def _named(code: CodeType) -> str:
    """Comprehensions, which had been functions of their own before Python 3.12, belong to the function around them."""
    return f"{Path(code.co_filename).stem}.{re.sub(r'.<locals>.<(list|set|dict)comp>', '', code.co_qualname)}"


class GPUTensor(torch.Tensor):
    """A tensor of the device, whose numbers are those of `raw` on the CPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, raw: torch.Tensor) -> "GPUTensor":
        if gpu.refuses_float64 and raw.dtype in (torch.float64, torch.complex128):
            raise TypeError(f"This device has no {raw.dtype}; here it is asked for by {_caller()}.")
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            raw.size(),
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=gpu.device,
        )
        tensor.raw = raw
        return tensor

    def __init__(self, raw: torch.Tensor): ...

    def __repr__(self) -> str:
        return f"GPUTensor({self.raw!r})"

    def tolist(self) -> list:
        gpu.wait(READ, "tolist")
        return self.raw.tolist()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


gpu: PretendGPU | None = None


def _unwrap(value):
    return value.raw if isinstance(value, GPUTensor) else value


def _is_gpu(device) -> bool:
    return device is not None and torch.device(device).type == NAME


def _run(func, args: tuple, kwargs: dict):
    """Any operation, on the numbers of its tensors."""
    name = func.overloadpacket.__name__
    if name == "_to_copy":
        return _to_copy(func, *args, **kwargs)
    if name == "copy_":
        return _copy_from(args[1], args[0], *args[2:], **kwargs)
    _check_devices(name, args, kwargs)
    on_gpu = any(isinstance(leaf, GPUTensor) for leaf in tree_leaves((args, kwargs)))
    if on_gpu:
        _note_waits(name, args)
    target = kwargs.get("device")
    plain = {key: value for key, value in tree_map(_unwrap, kwargs).items() if key != "pin_memory"}
    if target is not None:
        plain["device"] = torch.device("cpu")
    out = func(*tree_map(_unwrap, args), **plain)
    if target is not None:  # a new tensor, there or here
        return tree_map(gpu.wrap, out) if _is_gpu(target) else out
    return return_and_correct_aliasing(func, args, kwargs, tree_map(gpu.wrap, out)) if on_gpu else out


def _note_waits(name: str, args: tuple) -> None:
    if name in READS:
        gpu.wait(READ, name)
    if name in SIZES or (name == "repeat_interleave" and len(args) == 1):
        gpu.wait(SIZE, name)
    if name in BY_INDEX:
        for index in filter(lambda index: index is not None, args[1]):
            if index.dtype in (torch.bool, torch.uint8):
                gpu.wait(SIZE, name)
            if not isinstance(index, GPUTensor):
                gpu.wait(INDEX, name)


def _check_devices(name: str, args: tuple, kwargs: dict) -> None:
    """`RuntimeError` for tensors of two devices in one operation; numbers may lie anywhere, and indices on the host."""
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    if name in BY_INDEX:
        tensors = [args[0], *args[2:3]]
    places = {isinstance(tensor, GPUTensor) for tensor in tensors if tensor.ndim > 0 or isinstance(tensor, GPUTensor)}
    if len(places) > 1:
        shapes = ", ".join(f"{tuple(tensor.shape)} on {tensor.device}" for tensor in tensors)
        raise RuntimeError(f"{name} got tensors of two devices ({shapes}) in {_caller()}.")


def _to_copy(func, source: torch.Tensor, *, device=None, non_blocking=False, pin_memory=None, **kwargs):
    out = func(_unwrap(source), **kwargs)
    from_gpu = isinstance(source, GPUTensor)
    to_gpu = from_gpu if device is None else _is_gpu(device)
    _note_copy(out.numel(), from_gpu, to_gpu, non_blocking)
    return gpu.wrap(out) if to_gpu else out


def _copy_from(source: torch.Tensor, destination: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _unwrap(destination).copy_(_unwrap(source))
    _note_copy(source.numel(), isinstance(source, GPUTensor), isinstance(destination, GPUTensor), non_blocking)
    return destination


def _note_copy(num_values: int, from_gpu: bool, to_gpu: bool, non_blocking: bool) -> None:
    if num_values == 0:
        return
    if from_gpu and not to_gpu:
        gpu.wait(READ, "copy")
    elif to_gpu and not from_gpu and not non_blocking:
        gpu.wait(COPY, "copy")


class _Module(_DummyBackendModule):
    """What `torch.pretend_gpu` has."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def manual_seed(self, seed: int) -> None: ...

    def get_rng_state(self, device=None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device=None) -> None:
        torch.set_rng_state(state)

    def synchronize(self, device=None) -> None: ...

    def set_device(self, device) -> None: ...

    def is_autocast_enabled(self) -> bool:
        return False


_libraries = []  # which unregister what they hold when they are collected


def install(refuses_float64: bool = False) -> PretendGPU:
    """Registers the device with torch, once in a process."""
    global gpu
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    gpu = PretendGPU(refuses_float64)
    every = torch.library.Library("_", "IMPL")
    every.fallback(lambda func, *args, **kwargs: _run(func, args, kwargs), "PrivateUse1")
    every.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    some = torch.library.Library("aten", "IMPL")
    # Where torch itself shuts out the Python key (`torch.tensor`, lists as indices), the fallback is not found.
    some.impl("_copy_from", _copy_from, "PrivateUse1")
    for name in LOWER:
        some.impl(name, _autocast(name, None), "AutocastPrivateUse1")
    for name in FULL:
        some.impl(name, _autocast(name, torch.float32), "AutocastPrivateUse1")
    _libraries.extend([every, some])
    return gpu


def _autocast(name: str, dtype: torch.dtype | None):
    """The operation on inputs of a dtype, by default autocast's."""
    packet, _, overload = name.partition(".")
    function = getattr(getattr(torch.ops.aten, packet), overload or "default")
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)
    floats = (torch.float32, torch.float16, torch.bfloat16)

    def call(*args, **kwargs):
        def cast(value):
            is_float = isinstance(value, torch.Tensor) and value.dtype in floats and value.device.type == NAME
            return value.to(dtype or torch.get_autocast_dtype(NAME)) if is_float else value

        with torch._C._ExcludeDispatchKeyGuard(key):
            args, kwargs = tree_map(cast, (args, kwargs))
            return function(*args, **kwargs)

    return call
