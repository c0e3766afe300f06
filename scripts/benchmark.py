# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
How long the parts of the model take.

    python scripts/benchmark.py decode --json
    python scripts/benchmark.py backbone --size 480 --full --device cuda

decode: from an encoded image to depth, one pass of a parallel model against its steps one by one and against an
autoregressive model. tokenizer: depth to codes and back. backbone: SwinV2 here against the library's.

Contestants take turns in one process, so that whatever else the machine does meets all of them. Times are medians;
the ratio to the baseline is the median of the ratios of the rounds, with their 25 % and 75 % quantiles.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from tqdm.auto import tqdm
from transformers import Swinv2Backbone, Swinv2Config
from transformers.modeling_outputs import BaseModelOutput

from ait_hf import AiTConfig, AiTForDenseTokenGeneration, AiTSwinv2Backbone, AiTSwinv2Config, VQTokenizer


@dataclass
class Suite:
    """Functions to time, by name, the first being the baseline, and what they work on."""

    contestants: dict[str, Callable[[], Any]]
    settings: dict[str, Any]


def decode(options: argparse.Namespace) -> Suite:
    """The published task-solver on random features of an image; the image is not encoded here."""
    size = options.size or (480 if options.full else 192)
    shape = {"d_model": 256, "encoder_layers": 1, "decoder_layers": 6, "num_heads": 8, "ffn_dim": 1024}
    depth = {"task_id": 2, "slots": ["depth"], "grid_size": [size // 32] * 2, "image_size": [size, size]}
    backbone = swinv2_arguments(size, full=False) | {"model_type": "ait_swinv2", "window_sizes": [size // 16] * 4}
    models = {}
    for name, parallel in (("parallel", True), ("autoregressive", False)):
        config = AiTConfig(backbone_config=backbone, tasks={"depth": depth}, parallel=parallel, **shape)
        models[name] = AiTForDenseTokenGeneration(config).eval().to(options.device)
    memory = torch.randn(options.batch_size, (size // 32) ** 2, shape["d_model"], device=options.device)
    encoded = BaseModelOutput(last_hidden_state=memory)

    def generate(name: str, **settings):
        return models[name].generate(encoder_outputs=encoded, task="depth", return_dict_in_generate=True, **settings)

    def step_by_step():
        """The released loop of parallel models: the same query at every position, with a cache."""
        model = models["parallel"]
        grammar = model.grammar("depth")
        ids = torch.full((options.batch_size, 1), grammar.start_token_id, device=options.device)
        task_ids = torch.full_like(ids[:, 0], depth["task_id"])
        cache, logits = None, []
        for _ in range(grammar.length):
            outputs = model(
                decoder_input_ids=ids,
                task_ids=task_ids,
                encoder_outputs=encoded,
                past_key_values=cache,
                use_cache=True,
            )
            cache, ids = outputs.past_key_values, torch.full_like(ids, grammar.vocabulary.parallel_token_id)
            logits.append(outputs.logits[..., grammar.code_range.start : grammar.code_range.stop])
        probabilities = torch.cat(logits, dim=1).softmax(-1).unflatten(1, depth["grid_size"])
        return model.tokenizers["depth"].detokenize(probabilities=probabilities)

    contestants = {
        "parallel, one pass": lambda: generate("parallel"),
        "parallel, step by step": step_by_step,
        "autoregressive, soft": lambda: generate("autoregressive", soft_solver=True),
        "autoregressive, hard": lambda: generate("autoregressive", soft_solver=False),
    }
    return Suite(contestants, {"size": size, "tokens": (size // 32) ** 2})


def tokenizer(options: argparse.Namespace) -> Suite:
    """The published depth tokenizer."""
    size = options.size or 480
    model = VQTokenizer().eval().to(options.device)
    depth = torch.rand(options.batch_size, 1, size, size, device=options.device) * 10
    ids = model.tokenize(depth)
    probabilities = torch.rand(*ids.shape, model.config.num_vq_embeddings, device=options.device).softmax(-1)
    contestants = {
        "tokenize": lambda: model.tokenize(depth),
        "detokenize ids": lambda: model.detokenize(ids=ids),
        "detokenize soft tokens": lambda: model.detokenize(probabilities=probabilities, temperature=0.8),
    }
    return Suite(contestants, {"size": size})


def backbone(options: argparse.Namespace) -> Suite:
    """The same sizes and windows in both; weights are random."""
    size = options.size or (480 if options.full else 192)
    arguments = swinv2_arguments(size, options.full)
    window = size // 16
    stock = Swinv2Config(**arguments, window_size=window, pretrained_window_sizes=[0] * 4, out_features=["stage4"])
    ours = AiTSwinv2Config(
        **arguments,
        window_sizes=[window, window, window, window // 2],
        pretrained_window_sizes=[0] * 4,
        out_features=["stage4"],
    )
    models = [model.eval().to(options.device) for model in (Swinv2Backbone(stock), AiTSwinv2Backbone(ours))]
    images = torch.rand(options.batch_size, 3, size, size, device=options.device)
    contestants = {"transformers": lambda: models[0](images), "ait_hf": lambda: models[1](images)}
    parameters = sum(parameter.numel() for parameter in models[1].parameters())
    return Suite(contestants, {"size": size, "parameters": parameters})


def swinv2_arguments(size: int, full: bool) -> dict[str, Any]:
    """SwinV2-B, or something small of the same make."""
    if full:
        shape = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32]}
    else:
        shape = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8]}
    return {"image_size": size, "drop_path_rate": 0.0, **shape}


SUITES = {function.__name__: function for function in (decode, tokenizer, backbone)}


@torch.inference_mode()
def measure(suite: Suite, options: argparse.Namespace) -> dict[str, list[float]]:
    """Milliseconds of every round, by contestant."""
    times: dict[str, list[float]] = {name: [] for name in suite.contestants}
    for number in tqdm(range(options.warmup + options.repeats), desc=options.suite, unit="round", disable=None):
        for name, run in suite.contestants.items():
            synchronize(options.device)
            start = time.perf_counter()
            run()
            synchronize(options.device)
            if number >= options.warmup:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summarize(times: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    baseline = next(iter(times.values()))
    summary = {}
    for name, values in times.items():
        low, middle, high = statistics.quantiles([a / b for a, b in zip(values, baseline)], n=4, method="inclusive")
        summary[name] = {
            "median_ms": statistics.median(values),
            "ratio_to_baseline": {"median": middle, "low": low, "high": high},
            "times_ms": values,
        }
    return summary


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--size", type=int, help="side of the image or map in pixels, a multiple of 32")
    parser.add_argument("--full", action="store_true", help="decode, backbone: the published size (480, SwinV2-B)")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of random weights and inputs (default: 0)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds that count (default: 7)")
    parser.add_argument("--warmup", type=int, default=2, help="rounds before them (default: 2)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args(arguments)
    if options.size is not None and (options.size < 32 or options.size % 32):
        parser.error(f"--size must be a multiple of 32, got {options.size}")
    if options.batch_size < 1 or options.repeats < 2 or options.warmup < 0:
        parser.error("--batch-size must be at least 1, --repeats at least 2 and --warmup at least 0")
    if options.full and options.suite == "tokenizer":
        parser.error("the tokenizer is always the published one: leave out --full")
    return options


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    transformers.logging.set_verbosity_error()
    torch.manual_seed(options.seed)
    suite = SUITES[options.suite](options)
    contestants = summarize(measure(suite, options))
    if options.json:
        settings = suite.settings | {"full": options.full, "batch_size": options.batch_size}
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        machine = {"device": str(options.device), "threads": torch.get_num_threads()}
        report = {"suite": options.suite, "baseline": next(iter(contestants)), "settings": settings}
        json.dump(report | {"machine": machine | versions, "contestants": contestants}, sys.stdout, indent=2)
        print()
        return
    for name, result in contestants.items():
        ratio = result["ratio_to_baseline"]
        print(
            f"{name:24} {result['median_ms']:10.1f} ms   x {ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"
        )


if __name__ == "__main__":
    main()
