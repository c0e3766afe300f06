# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
What a saved model sees in photographs: depth, objects, poses, classes of pixels, or maps of your own.

    ait predict --model rooms photo.jpg
    ait predict --model DIR --task depth --output depth photo.jpg more_photos/
    ait predict --model DIR --task depth --output predictions --tta --device cuda "nyu/rgb_*.jpg"
    ait predict --model DIR --task instance-segmentation --output predictions --threshold 0.5 photo.jpg
    ait predict --model DIR --task keypoint-detection --output predictions --boxes boxes.json photo.jpg
    ait predict --model DIR --task semantic-segmentation --output predictions photo.jpg
    ait predict --model DIR --task normals --output predictions photo.jpg
    ait predict --model DIR --task all --output predictions photo.jpg
    ait predict --model EXPORTED --runtime onnx --task depth --output predictions photo.jpg

For every image `NAME.*`, at its size:

- depth: `NAME_depth.png` (16 bits, millimetres), `NAME_color.png` (colour map, near is blue) and
  `NAME_uncertainty.png` (dark is certain);
- object-detection, instance-segmentation: `NAME_objects.json`, a list of objects with `label`, `score`, `box`
  (x1, y1, x2, y2, pixels) and, for instances, `segmentation` (COCO's uncompressed run lengths), and
  `NAME_objects.png`, where they are drawn;
- keypoint-detection: `NAME_keypoints.json`, a list of people with `score`, `box` and `keypoints` (x, y, score by the
  joint's name), and `NAME_keypoints.png`. People are in the boxes of boxes.json, `{"photo.jpg": [[x, y, width, height],
  ...], ...}` in pixels, or where the same model detects them, if it has learned objects with the class "person";
- semantic-segmentation: `NAME_labels.png`, 8 bits, the numbers of the model's classes (`id2label` in its config.json),
  and `NAME_semantics.png`, where they are drawn;
- a dense task of your own, say TASK: `NAME_TASK.npy`, float32 (height, width, channels), and `NAME_TASK.png`;
- all: what every task of the model gives, and `NAME_all.png`, their pictures side by side. Of tasks whose files have the
  same names (object-detection and instance-segmentation, say) it is the one with the higher number, `task_id` in
  config.json. Poses are left out where there is neither a boxes.json nor a class "person" among the objects.

With --runtime the model is a folder that `ait export` wrote, and ONNX Runtime or OpenVINO computes, on the CPU; images are
prepared, and files written, as for the model itself.
"""

from pathlib import Path

from .arguments import Arguments, Options, add_model, add_tf32, command_parser, device, positive, score, seed


# What is decided when a graph is exported, or is not among what it gives.
NOT_EXPORTED = ("--tta", "--device", "--dtype", "--solver", "--detokenizer", "--temperature")


def parse_arguments(arguments: Arguments, prog: str | None) -> Options:
    parser = command_parser(__doc__, prog)
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image files, folders of images, or quoted globs")
    add_model(parser)
    parser.add_argument("--task", default="all", help="what to predict: a task of the model, or all (the default)")
    output = "folder for the results (default: predictions)"
    parser.add_argument("--output", type=Path, default=Path("predictions"), metavar="OUT", help=output)
    tta = "depth's published test protocol: square windows side by side, each also mirrored, averaged "
    tta += "(by default the whole image is squeezed into the model's input)"
    runtime = "run an export of the model, which --model is, instead of torch"
    parser.add_argument("--runtime", choices=("onnx", "openvino"), help=runtime)
    parser.add_argument("--tta", action="store_true", help=tta)
    threshold = "least score, 0 to 1, of an object, or of a person whose pose is wanted (default: 0.3)"
    parser.add_argument("--threshold", type=score, metavar="P", help=threshold)
    parser.add_argument("--boxes", type=Path, metavar="FILE.json", help="where people are, for their poses")
    parser.add_argument("--flip-test", action="store_true", help="average poses with those of the mirrored image")
    parser.add_argument(
        "--skeleton",
        metavar="NAME",
        help="what the joints of poses are: coco or a .json file (default: those of the model, or coco)",
    )
    parser.add_argument("--batch-size", type=positive(int), default=8, help="images at a time (default: 8)")
    parser.add_argument("--device", type=device, help="default: cuda if there is one, else cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    add_tf32(parser)
    parser.add_argument("--solver", choices=("hard", "soft"), help="tokens fed back into the task-solver")
    parser.add_argument("--detokenizer", choices=("hard", "soft"), help="tokens given to the detokenizer")
    parser.add_argument("--seed", type=seed, default=0, help="of whatever is drawn at random")
    parser.add_argument("--temperature", type=positive(float), help="tau of soft tokens in the detokenizer")
    options = parser.parse_intermixed_args(arguments)
    for option in NOT_EXPORTED if options.runtime is not None else ():
        name = option[2:]
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"{option} is nothing that an exported model can still choose: leave it out, or --runtime")
    return options
