# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How long the parts of the model take, how much memory, and how good they become on real data: `ait benchmark`."""

import argparse
import json
import logging
import sys
from typing import Any

import torch
import transformers
from accelerate import PartialState

from ait_hf_cli import run as run_command
from ait_hf_cli.benchmark import PAPER, REAL
from ait_hf_cli.benchmark import SUITES as NAMES

from ..benchmarks import inference_suites, training_suites
from ..benchmarks.measuring import run_suite
from ..data.writing import write_text


FUNCTIONS = vars(inference_suites) | vars(training_suites)
SUITES = {name: FUNCTIONS[name.replace("-", "_")] for name in NAMES}
COLUMNS = {"median_ms": "{:10.1f} ms", "peak_memory_mb": "{:8.0f} MB", "activations_mb": "{:8.0f} MB kept"}
COLUMNS |= {"gflops": "{:9.1f} GFLOP/s", "share_of_peak": "{:5.0%} of peak"}
COLUMNS |= {"images_per_second": "{:8.2f} images/s", "relative_error": "{:.1e} error"}


def print_table(report: dict[str, Any]) -> None:
    print(f"matrix products here: up to {report['matrix_peak_gflops']:.1f} GFLOP/s")
    for name, result in report["contestants"].items():
        ratio = result["ratio_to_baseline"]
        cells = [text.format(result[key]) for key, text in COLUMNS.items() if result.get(key) is not None]
        cells.insert(1, f"x {ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})")
        print(f"{name:40}", *cells, sep="  ")


def run_real(options: argparse.Namespace) -> None:
    try:
        from ..benchmarks.real.data_sets import DATA_SETS, TOKENIZER
        from ..benchmarks.real.report import read_rows, report
        from ..benchmarks.real.runs import Run
        from ..benchmarks.rows import do_run
    except ModuleNotFoundError as error:
        raise ImportError(f"ait benchmark real needs {error.name}: pip install 'ait-hf[benchmark]'.") from error
    if options.report:
        text = report(read_rows(options.output))
        write_text(options.output / "report.md", text)
        print(text, end="")
        return
    _log_runs()
    data_set, given = DATA_SETS[options.data], vars(options)
    contestants = data_set.contestants if options.runs is None else options.runs
    if unknown := set(contestants) - {TOKENIZER, *data_set.contestants}:
        raise ValueError(
            f"There is no run {min(unknown)!r} on {options.data}: there are {', '.join(data_set.contestants)}."
        )
    if not options.root.is_dir():
        raise FileNotFoundError(f"There is no folder {options.root} of data.")
    common = {name: given[name] for name in ("data", "root", "output", "minutes", "split")}
    common = {name: value for name, value in common.items() if value is not None} | {"is_quick": options.quick}
    runs = [Run(contestant=TOKENIZER, seed=0, **common)]
    for contestant in contestants:
        num_seeds = options.seeds or data_set.num_seeds(contestant)
        runs += [Run(contestant=contestant, seed=seed, **common) for seed in range(num_seeds)]
    for one in runs:
        do_run(one)
    PartialState().destroy_process_group()


def run_paper(options: argparse.Namespace) -> None:
    from ..benchmarks.paper.report import by_cell, picture, plot, read_rows, report
    from ..benchmarks.paper.runs import NUM_SEEDS, do_runs, runs_of
    from ..benchmarks.paper.tables import TABLES

    tables = [table for table in TABLES if options.table is None or set(table.names) & set(options.table)]
    if options.report:
        rows = read_rows(options.output)
        text, found = report(rows, tables), by_cell(rows)
        write_text(options.output / "report.md", text)
        for table in tables:
            plot(table, found).savefig(options.output / picture(table))
        print(text, end="")
        return
    _log_runs()
    common = {"output": options.output, "is_quick": options.quick}
    common |= {} if options.minutes is None else {"minutes": options.minutes}
    do_runs(runs_of(tables, options.seeds or NUM_SEEDS, **common), options.jobs)


def _log_runs() -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ait_hf").setLevel(logging.INFO)


def run(options: argparse.Namespace) -> None:
    if options.suite in (REAL, PAPER):
        (run_real if options.suite == REAL else run_paper)(options)
        return
    transformers.logging.set_verbosity_error()
    torch.manual_seed(options.seed)
    options.dtype = getattr(torch, options.dtype)
    options.device = options.device or torch.device("cpu")
    suite = SUITES[options.suite](options)
    how = {name: getattr(options, name) for name in ("repeats", "warmup", "device", "dtype")}
    measured = run_suite(suite, **how)
    chosen = {"full": options.full, "batch_size": options.batch_size, "dtype": str(options.dtype)}
    machine = {"device": str(options.device), "threads": torch.get_num_threads()}
    if options.device.type == "cuda":
        machine["name"] = torch.cuda.get_device_name(options.device)
    report = {
        "suite": options.suite,
        "baseline": next(iter(suite.contestants)),
        "settings": suite.settings | chosen,
        "machine": machine | {"torch": torch.__version__, "transformers": transformers.__version__},
        **measured,
    }
    if options.json:
        json.dump(report, sys.stdout, indent=2)
        print()
    else:
        print_table(report)


if __name__ == "__main__":
    run_command("benchmark", prog="benchmark.py")
