# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained or converted model, or a tokenizer, on the Hugging Face Hub: `ait push`."""

import argparse

from ..hub.push import push_folder


def run(options: argparse.Namespace) -> None:
    given = vars(options)
    print(f"Pushed: {push_folder(given.pop('folder'), given.pop('repo'), **given)}")
