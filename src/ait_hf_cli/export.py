# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
A task of a trained model, or a tokenizer, for other runtimes: ONNX, OpenVINO, or torch's own exported programs.

    ait export runs/demo/aitp --task depth --format onnx --output exported
    ait export runs/demo/aitp --task depth --format onnx --int8 --output exported-int8
    ait export runs/demo/tokenizer --format openvino --output exported-tokenizer
    ait predict --model exported --runtime onnx --task depth --output predictions photo.jpg

Depth, label maps, maps of your own and poses of parallel models (AiT-P) take one pass and become one graph of any batch
size, `pixel_values` to what `generate()` gives; objects, masks of classes and autoregressive models (AiT) take several and
stay here. The folder holds the graph, export.json (how transformers' `ExportedModel.from_pretrained` runs it), the model's
config.json and the image processor. Of a tokenizer there are three graphs: tokenize (`sample` to `ids`), detokenize_ids and
detokenize_probabilities.

What was written is run and compared with the model; if they differ by more than rounding, nothing is left. --int8 computes
in eight bits, which may differ by more; it is for ONNX, and for models. docs/export.md says how to run all of them.
"""

from pathlib import Path

from .arguments import Arguments, Options, command_parser
from .models import find_model


FORMATS = ("onnx", "openvino", "pt2")


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("model", type=find_model, metavar="MODEL", help="folder of a saved model or tokenizer")
    parser.add_argument("--task", help="a task of the model; a tokenizer has none")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the export")
    parser.add_argument("--int8", action="store_true", help="ONNX: weights and products in eight bits")
    parser.add_argument("--overwrite", action="store_true", help="replace the folder if it is there")
    options = parser.parse_args(arguments)
    if options.int8 and options.format != "onnx":
        parser.error(f"--int8 is for --format onnx: {options.format} has no eight bits here")
    return options
