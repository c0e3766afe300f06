# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A trained or converted model, or a tokenizer, on the Hugging Face Hub: `ait push`."""

import argparse

from ..hub.push import push_folder


def run(options: argparse.Namespace) -> None:
    address = push_folder(
        options.folder,
        options.repo,
        private=options.private,
        license=options.license,
        message=options.message,
        card_only=options.card_only,
        include=options.include,
    )
    print(f"Pushed: {address}")
