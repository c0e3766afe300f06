# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
The app: what a model sees in a photograph, in a browser.

    ait app
    ait app --model runs/my-model
    ait app --tokenizer paligemma-mask=vae-oid.npz --tokenizer my-depth-tokenizer

It prints the address of a page with three tabs. See: all tasks of the model, with files to download. Tokens: the codes over
the picture, and what another code in a place would change. Answers: what a vision-language model wrote, such as
`<loc0100>...<seg003>...` or `<DEPTH_START>...`, as boxes, masks or a map. Nothing leaves the machine. Needs the extra `app`
(`pip install "ait-hf[app]"`).
"""

from .arguments import Arguments, Options, add_model, command_parser, device


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    add_model(parser, required=False, default="rooms")
    tokenizer = (
        "reads answers: a preset (paligemma-mask, molmoact-depth, molmoact2-depth, aurora-depth) and the file of its "
    )
    tokenizer += "weights, or a folder that ait convert --tokenizer wrote; may be given several times"
    parser.add_argument("--tokenizer", action="append", default=[], metavar="PRESET=FILE|DIR", help=tokenizer)
    parser.add_argument("--device", type=device, help="default: cuda if there is one, else cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--host", metavar="ADDRESS", help="where to listen (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser.parse_args(arguments)
