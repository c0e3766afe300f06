# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""How commands end: what was given wrong is one sentence, errors of code keep their traceback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from torch.utils.data import DataLoader, Dataset

from ait_hf.recipes.faults import DEBUG, SampleError, command, is_fault
from ait_hf.recipes.parsing import build
from ait_hf.training.settings import TrainRecipe


def say(message: str):
    raise ValueError(message)


def broadcast():
    np.zeros(3) + np.zeros(4)


def convert():
    int("many")


def lose_a_key():
    {}["key"]


def read_nothing():
    open("/nowhere/file.txt").close()


def miss_a_recipe_key():
    build(TrainRecipe, {"max_steps": "many"})


def load_nothing():
    json.loads("{")


class Broken(Dataset):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index):
        raise SampleError("photo.jpg of the evaluation cannot be read: mend it.")


def read_in_a_worker():
    list(DataLoader(Broken(), num_workers=1))


FAULTS = {
    "said by the script": (lambda: say("batch_size is wrong."), "prog.py: batch_size is wrong.\n"),
    "in one line": (lambda: say("first\n  second"), "prog.py: first second\n"),
    "a file": (read_nothing, "prog.py: /nowhere/file.txt: No such file or directory.\n"),
    "a recipe": (miss_a_recipe_key, "Field 'max_steps' expected int, got str (value: 'many')\n"),
    "in a worker": (read_in_a_worker, "prog.py: photo.jpg of the evaluation cannot be read: mend it.\n"),
}
BUGS = {"broadcasting": broadcast, "conversion": convert, "a key": lose_a_key, "json": load_nothing}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_a_sentence(name, capsys, monkeypatch):
    wrong, expected = FAULTS[name]
    with pytest.raises(SystemExit, match="2"):
        command("prog.py")(wrong)()
    assert capsys.readouterr().err.endswith(expected)
    monkeypatch.setenv(DEBUG, "1")
    with pytest.raises((ValueError, OSError)):
        command("prog.py")(wrong)()


@pytest.mark.parametrize("name", BUGS)
def test_an_error_of_code_stays_one(name, capsys):
    with pytest.raises((ValueError, KeyError)):
        command("prog.py")(BUGS[name])()
    assert capsys.readouterr().err == ""


def test_lack_of_memory_is_a_fault():
    assert is_fault(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has 1 GiB."))


def test_exit_and_result_pass():
    with pytest.raises(SystemExit, match="7"):
        command("prog.py")(lambda: sys.exit(7))()
    assert command("prog.py")(lambda number: None)(3) is None
    assert not is_fault(_caught(lambda: torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.zeros(4).long())))
    assert is_fault(_caught(lambda: TrainRecipe(max_steps=0)))
    assert isinstance(_caught(lambda: TrainRecipe(max_steps=0)), StrictDataclassError)


def _caught(call) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.slow
def test_one_process_of_several_speaks(tmp_path):
    """Both meet the fault, the main one says it; where only the other meets it, that one does."""
    (tmp_path / "prog.py").write_text(
        "import os, sys, time\n"
        "from ait_hf.recipes.faults import command\n"
        "@command('prog.py')\n"
        "def main():\n"
        "    if os.environ['RANK'] in sys.argv[1:]:\n"
        "        raise ValueError('no data')\n"
        "    time.sleep(90)\n"
        "main()\n"
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for failing in (["0", "1"], ["1"]):
        done = subprocess.run(
            [*launch, str(tmp_path / "prog.py"), *failing],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert done.returncode != 0 and done.stderr.count("prog.py: no data") == 1, done.stderr
