# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Exported tasks on ONNX Runtime and OpenVINO, in the place of the models that they were made of."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers.exporters import ExportedModel

from ..data.json_values import read_json
from ..model.generation_ait import AiTGenerateOutput
from .loading import EXPORT, EXPORTED, load_config, loading


FORMATS = {"onnx": "onnx", "openvino": "openvino", "pt2": "dynamo"}  # what transformers calls them
PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("openvino",), "pt2": ()}


def load_exported(folder: str | Path, threads: int | None = None, trust_remote_code: bool = False) -> ExportedModel:
    """
    What `ait export` wrote, ready to run on the CPU in float32.

    Args:
        threads (`int`, *optional*): Of ONNX Runtime or OpenVINO; by default as many as they take themselves.
        trust_remote_code (`bool`): Programs of the format pt2 run code when they are loaded.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or a program whose code is not trusted.
        ImportError: A package of the format is missing.
    """
    name = format_of(folder)
    check_packages(name)
    with loading(folder, EXPORTED, EXPORT):
        try:
            return ExportedModel.from_pretrained(
                folder, device="cpu", trust_remote_code=trust_remote_code, **_options(name, threads)
            )
        except (OSError, ValueError):
            raise
        except Exception as error:  # every runtime has errors of its own
            raise ValueError(f"its files are damaged or of another version ({error})") from error


def format_of(folder: str | Path) -> str:
    """The format that a folder was exported to, as `ait export` calls it; errors as of [`load_exported`]."""
    with loading(folder, EXPORTED, EXPORT):
        content = read_json(Path(folder) / EXPORT)
        for name, theirs in FORMATS.items():
            if isinstance(content, dict) and content.get("export_format") == theirs:
                return name
        raise ValueError(f"{EXPORT} names none of the formats {', '.join(FORMATS)}")


def check_packages(name: str) -> None:
    """`ImportError` if a package of the format is not installed."""
    if missing := [package for package in PACKAGES[name] if find_spec(package) is None]:
        raise ImportError(f"The format {name} needs {' and '.join(missing)}: pip install 'ait-hf[export]'.")


def _options(name: str, threads: int | None) -> dict[str, Any]:
    """What transformers' runner of a format is to be told."""
    if name == "onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # It would write out the position bias of every block before the first image: seconds, and a gigabyte.
        options.add_session_config_entry("optimization.disable_specified_optimizers", "ConstantFolding")
        options.intra_op_num_threads = threads or 0
        return {"session_options": options}
    if name == "openvino":  # takes bfloat16 where the processor has it, unless it is told
        limits = {} if threads is None else {"INFERENCE_NUM_THREADS": threads}
        return {"config": {"INFERENCE_PRECISION_HINT": "f32", **limits}}
    return {}


class ExportedTask:
    """
    An exported task as predictions take a model: its configuration, and `generate()` of its one task.

    Args:
        folder: Of `ait export`.
        runtime: `"onnx"` or `"openvino"`.

    Raises:
        FileNotFoundError, ValueError, ImportError: As of [`load_exported`], or it was exported for another runtime.
    """

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, folder: str | Path, runtime: str):
        if (found := format_of(folder)) != runtime:
            raise ValueError(f"{folder} was exported with --format {found}, which --runtime {runtime} does not read.")
        self.config = load_config(folder)
        self.exported = load_exported(folder)

    def generate(self, pixel_values: torch.FloatTensor, task: str) -> AiTGenerateOutput:
        """What the task's [`~ait_hf.inference.one_pass.AiTOnePass`] gives, in its fields; the sequence is not among them."""
        return AiTGenerateOutput(sequences=None, task=task, **self.exported(pixel_values=pixel_values))
