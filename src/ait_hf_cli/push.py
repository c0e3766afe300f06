# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Publishes a trained or converted model, or a tokenizer alone, on the Hugging Face Hub, with its code and a model card.

    hf auth login    # once; or set HF_TOKEN
    ait push --folder runs/rooms/joint --repo user/ait-rooms --private
    ait push --folder runs/demo/tokenizer --repo user/vq-tokenizer-rooms --license apache-2.0
    ait push --folder runs/rooms/joint --repo user/ait-rooms --card-only

One commit holds all or nothing; a push that broke off is simply started again. The card says what the folder says:
results from history.json and metrics.json (give ait evaluate --output FOLDER/metrics.json), data and recipe from
recipe.yaml. A README.md in the folder is taken as it is. Checkpoints to resume from and logs stay here, unless asked for,
as in --include "logs/*".
"""

from .arguments import Arguments, Options, command_parser


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("--folder", required=True, metavar="DIR", help="of a saved model or tokenizer")
    parser.add_argument("--repo", required=True, metavar="USER/NAME", help="is made if missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", help="of the weights, such as apache-2.0; unknown by default")
    parser.add_argument("--message", help="of the commit")
    parser.add_argument("--card-only", action="store_true", help="push the card to a repository that is there")
    parser.add_argument("--include", nargs="+", default=[], metavar="PATTERN", help='further files, such as "logs/*"')
    return parser.parse_args(arguments)
