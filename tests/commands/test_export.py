# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
`ait export`: graphs against `generate()` and tokenizers, in the runtimes that they are for; `ait predict --runtime`, which writes
the same files; and what cannot be exported.
"""

import copy
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from exported import ONE_PASS_TASKS, Exports, ait
from PIL import Image
from saved_model import picture, save_tiny_model
from tiny_dense import LABELS, NORMALS, SEMANTICS, dense_config, dense_model
from tiny_objects import INSTANCES, object_config, object_model, object_processor
from tiny_pose import POSES, SIDE
from transformers import AutoConfig, AutoImageProcessor
from transformers.exporters import ExportedModel

from ait_hf import AiTForDenseTokenGeneration, AiTImageProcessor
from ait_hf.hub.remote_code import save_with_remote_code
from ait_hf.inference import runtimes
from ait_hf.inference.export import blotches, example_samples
from ait_hf.inference.loading import load_model, load_tokenizer
from ait_hf.inference.one_pass import AiTOnePass
from ait_hf.inference.runtimes import load_exported
from ait_hf_cli.models import shipped_models


pytestmark = pytest.mark.export


FORMATS = ("onnx", "openvino", "pt2")
BATCHES = (1, 3, 5)
OUTPUTS = {
    "depth": {"predicted_depth", "uncertainty"},
    LABELS: {"class_maps", "uncertainty"},
    NORMALS: {"predicted_map", "uncertainty"},
    POSES: {"pred_keypoints", "keypoint_scores"},
}
# Every task and every format once by default; the others take minutes.
QUICK = {("depth", "onnx"), (LABELS, "onnx"), (NORMALS, "pt2"), (POSES, "openvino")}
EXPORTED = [
    pytest.param(task, name, marks=() if (task, name) in QUICK else pytest.mark.slow)
    for task in ONE_PASS_TASKS
    for name in FORMATS
]
TOKENIZERS = {"depth": "depth", LABELS: LABELS, NORMALS: NORMALS, POSES: "pose"}  # task -> codebook
QUICK_TOKENIZERS = {(LABELS, "onnx"), (POSES, "openvino")}
EXPORTED_TOKENIZERS = [
    pytest.param(task, name, marks=() if (task, name) in QUICK_TOKENIZERS else pytest.mark.slow)
    for task in TOKENIZERS
    for name in FORMATS
]


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    return Exports(tmp_path_factory.mktemp("exports"))


def check_close(
    given: np.ndarray, expected: torch.Tensor, of_range: float = 1e-5, exact: torch.Tensor | None = None
) -> None:
    """Within a share of the range of what is expected; or, if that is nearly constant, within float32's digits; or within four
    times of what it is itself away from `exact`: a softmax multiplies the rounding of what goes into it."""
    expected = expected.detach().numpy()
    allowed = of_range * np.ptp(expected) + 1e-6 * np.abs(expected).max()
    if exact is not None:
        allowed = max(allowed, 4 * np.abs(expected - exact.numpy()).max())
    np.testing.assert_allclose(given, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("task, name", EXPORTED)
@torch.no_grad()
def test_a_graph_gives_what_generate_gives_of_any_batch(exports, task, name):
    check_graph(load_model(exports.model(task)), task, exports.exported(task, name), OUTPUTS[task])


ROOMS = {"depth": OUTPUTS["depth"], "semantic-segmentation": OUTPUTS[LABELS], "keypoint-detection": OUTPUTS[POSES]}


@pytest.mark.slow
@pytest.mark.parametrize("task", ROOMS)
@pytest.mark.parametrize("name", FORMATS)
@torch.no_grad()
def test_a_trained_model_too(tmp_path, task, name):
    ait("export", "rooms", "--task", task, "--format", name, "--output", tmp_path / "out")
    check_graph(load_model(shipped_models()["rooms"]), task, tmp_path / "out", ROOMS[task])


def check_graph(model: AiTForDenseTokenGeneration, task: str, folder: Path, outputs: set[str]) -> None:
    exported = load_exported(folder, trust_remote_code=(folder / "model.pt2").exists())
    in_float64 = copy.deepcopy(model).double()
    torch.manual_seed(5)
    for number in BATCHES:
        images = blotches(number, 3, model.config.task(task).image_size)
        expected = model.generate(pixel_values=images, task=task)
        exact = in_float64.generate(pixel_values=images.double(), task=task)
        given = exported(pixel_values=images)
        assert given.keys() == outputs
        for output, values in given.items():
            check_close(values.numpy(), expected[output], exact=exact[output])
            assert number == 1 or expected[output].std() > 1e-4  # else everything would be equal


@torch.no_grad()
def test_graphs_run_without_this_package(exports):
    """In the runtimes themselves; and in transformers with their files alone."""
    images = blotches(3, 3, (96, 96))
    expected = load_model(exports.model("depth")).generate(pixel_values=images)
    session = onnxruntime.InferenceSession(exports.exported("depth", "onnx") / "model.onnx")
    depth, uncertainty = session.run(["predicted_depth", "uncertainty"], {"pixel_values": images.numpy()})
    check_close(depth, expected.predicted_depth)
    check_close(uncertainty, expected.uncertainty)
    crops = blotches(3, 3, (SIDE, SIDE))
    keypoints = load_model(exports.model(POSES)).generate(pixel_values=crops).pred_keypoints
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    graph = exports.exported(POSES, "openvino") / "openvino_model.xml"
    compiled = openvino.Core().compile_model(graph, "CPU", exact)
    check_close(compiled({"pixel_values": crops.numpy()})["pred_keypoints"], keypoints)
    given = ExportedModel.from_pretrained(exports.exported("depth", "onnx"), device="cpu")(pixel_values=images)
    check_close(given["predicted_depth"].numpy(), expected.predicted_depth)


def test_what_lies_beside_a_graph(exports):
    folder = exports.exported("depth", "onnx")
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "model.onnx.data", "export.json", "config.json", "preprocessor_config.json"}
    assert list(AutoConfig.from_pretrained(folder).tasks) == ["depth"]
    assert AutoImageProcessor.from_pretrained(folder).frame_size() == (96, 96)
    content = json.loads((folder / "export.json").read_text())
    assert content["export_format"] == "onnx" and content["components"].keys() == {"model"}


def test_a_graph_says_nothing_of_the_machine_that_made_it(exports):
    content = (exports.exported("depth", "onnx") / "model.onnx").read_bytes()
    assert b".py" not in content and b"site-packages" not in content
    onnx.checker.check_model(exports.exported("depth", "onnx") / "model.onnx")


@torch.no_grad()
def test_eight_bits_are_smaller_and_near(exports):
    plain, small = exports.exported(LABELS, "onnx"), exports.exported(LABELS, "onnx", "--int8")
    sizes = [sum(path.stat().st_size for path in folder.glob("model.onnx*")) for folder in (plain, small)]
    assert sizes[1] < 0.8 * sizes[0]
    operations = {node.op_type for node in onnx.load(small / "model.onnx").graph.node}
    assert "MatMulInteger" in operations
    images = blotches(3, 3, (96, 96))
    exact, near = (load_exported(folder)(pixel_values=images)["class_maps"] for folder in (plain, small))
    assert 0 < (near - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.slow
@torch.no_grad()
def test_a_program_is_compiled_ahead_of_time(exports, tmp_path):
    """As for C++."""
    program = torch.export.load(exports.exported(NORMALS, "pt2") / "model.pt2")
    package = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "library.pt2"))
    images = blotches(3, 3, (96, 96))
    given = torch._inductor.aoti_load_package(package)(pixel_values=images)["predicted_map"]
    expected = load_model(exports.model(NORMALS)).generate(pixel_values=images).predicted_map
    check_close(given.numpy(), expected, of_range=1e-4)


@pytest.mark.parametrize("task, name", EXPORTED_TOKENIZERS)
@torch.no_grad()
def test_tokenizers_both_ways(exports, tmp_path, task, name):
    tokenizer = load_tokenizer(exports.model(task) / "tokenizers" / TOKENIZERS[task])
    torch.manual_seed(4)
    tokenizer.init_codebook(example_samples(tokenizer, 8))  # else all samples might have the same code
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    ait("export", tmp_path / "tokenizer", "--format", name, "--output", tmp_path / "out")
    graphs = load_exported(tmp_path / "out", trust_remote_code=name == "pt2").runners
    assert graphs.keys() == {"tokenize", "detokenize_ids", "detokenize_probabilities"}
    for number in BATCHES:
        samples = example_samples(tokenizer, number)
        ids = tokenizer.tokenize(samples)
        assert len(ids.unique()) > 1
        torch.testing.assert_close(graphs["tokenize"](sample=samples)["ids"], ids, rtol=0, atol=0)
        check_close(graphs["detokenize_ids"](ids=ids)["sample"].numpy(), tokenizer.detokenize(ids=ids))
        soft = torch.randn(*ids.shape, tokenizer.config.num_vq_embeddings).softmax(-1)
        given = graphs["detokenize_probabilities"](probabilities=soft)["sample"]
        check_close(given.numpy(), tokenizer.detokenize(probabilities=soft))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number, size in enumerate([(60, 90), (100, 70), (60, 90)]):
        picture(*size, seed=number).save(folder / f"{number}.png")
    boxes = {f"{number}.png": [[5, 5, 30, 40], [20, 10, 40, 45]][: number + 1] for number in range(3)}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return folder


def numbers(path: Path) -> np.ndarray:
    """All that a file of a prediction says, as numbers."""
    if path.suffix == ".json":
        people = json.loads(path.read_text())
        return np.array(
            [[person["score"], *person["box"], *sum(person["keypoints"].values(), [])] for person in people]
        )
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path)).astype(float)


@pytest.mark.parametrize(
    "task, name",
    [
        ("depth", "onnx"),
        pytest.param("depth", "openvino", marks=pytest.mark.slow),
        pytest.param(LABELS, "onnx", marks=pytest.mark.slow),
        pytest.param(NORMALS, "onnx", marks=pytest.mark.slow),
        (POSES, "openvino"),
    ],
)
def test_predictions_of_an_export_are_the_same_files(exports, photographs, tmp_path, task, name):
    options = ["--boxes", photographs / "boxes.json", "--flip-test"] if task == POSES else []
    common = ["--task", task, *options, "--batch-size", 2, photographs]
    ait("predict", "--model", exports.model(task), "--output", tmp_path / "model", *common)
    exported = ["--model", exports.exported(task, name), "--runtime", name]
    ait("predict", *exported, "--output", tmp_path / "export", *common)
    files = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "export").iterdir()) and len(files) >= 6
    for file in files:
        expected, given = numbers(tmp_path / "model" / file), numbers(tmp_path / "export" / file)
        assert expected.std() > 0, file
        # A number that lies between two values, or colours, of a picture may be rounded to the other.
        is_rounded = file.endswith(".png")
        np.testing.assert_allclose(given, expected, rtol=0 if is_rounded else 1e-4, atol=3 if is_rounded else 1e-3)
        assert not is_rounded or (given != expected).mean() < 0.01, file


def refusal(capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as caught:
        ait(*arguments)
    message = capsys.readouterr().err
    assert caught.value.code == 2
    return message.splitlines()[-1]


@pytest.fixture(scope="module")
def others(tmp_path_factory) -> Path:
    """Models that take several passes, and what is no model."""
    folder = tmp_path_factory.mktemp("others")
    save_tiny_model(folder / "ait")
    objects = object_model(object_config((INSTANCES,), parallel=True))
    save_with_remote_code(objects, object_processor(), folder / "objects")
    squeezed = AiTImageProcessor(size={"height": 96, "width": 96})
    save_with_remote_code(dense_model(dense_config((SEMANTICS,), parallel=True)), squeezed, folder / "classes")
    (folder / "empty").mkdir()
    return folder


REFUSED = {
    "objects": (["OTHERS/objects", "--task", INSTANCES], "takes several passes"),
    "masks of classes": (["OTHERS/classes", "--task", SEMANTICS], "takes several passes"),
    "AiT": (["OTHERS/ait", "--task", "depth"], "takes several passes"),
    "no such task": (["MODEL", "--task", "depths"], "Unknown task 'depths'"),
    "no task": (["MODEL"], "is a model: say which --task of it to export"),
    "task of a tokenizer": (["TOKENIZER", "--task", "depth"], "is a tokenizer, which has no tasks: leave out --task"),
    "int8 of a tokenizer": (["TOKENIZER", "--int8"], "whose ids eight bits would change: leave out --int8"),
    "int8 elsewhere": (["MODEL", "--task", "depth", "--format", "openvino", "--int8"], "--int8 is for --format onnx"),
    "int8 of torch": (["MODEL", "--task", "depth", "--format", "pt2", "--int8"], "--int8 is for --format onnx"),
    "no model": (["OTHERS/empty", "--task", "depth"], "config.json"),
    "no folder": (["OTHERS/nothing", "--task", "depth"], "nothing"),
    "an export": (["EXPORT", "--task", "depth"], "is an exported AiT model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_in_a_sentence(exports, others, tmp_path, capsys, case):
    arguments, said = REFUSED[case]
    places = {
        "OTHERS": others,
        "MODEL": exports.model("depth"),
        "TOKENIZER": exports.model("depth") / "tokenizers/depth",
    }
    if "EXPORT" in arguments:
        places["EXPORT"] = exports.exported("depth", "onnx")
    for name, path in places.items():
        arguments = [argument.replace(name, str(path)) for argument in arguments]
    capsys.readouterr()
    message = refusal(capsys, "export", "--format", "onnx", *arguments, "--output", tmp_path / "out")
    assert said in message
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(exports, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    tokenizer = exports.model(POSES) / "tokenizers/pose"
    arguments = ["export", tokenizer, "--format", "pt2", "--output", tmp_path / "out"]
    assert "exists: choose another folder or pass --overwrite" in refusal(capsys, *arguments)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]
    ait(*arguments, "--overwrite")
    assert "tokenize.pt2" in {path.name for path in (tmp_path / "out").iterdir()}


def test_a_graph_that_gives_something_else_is_not_left(exports, tmp_path, capsys, monkeypatch):
    exact = AiTOnePass.forward

    def shifted(self, pixel_values):
        outputs = exact(self, pixel_values)
        return outputs | {"predicted_depth": outputs["predicted_depth"] + 1e-3}

    monkeypatch.setattr(AiTOnePass, "forward", shifted)
    arguments = ["--task", "depth", "--format", "pt2", "--output", tmp_path / "out"]
    message = refusal(capsys, "export", exports.model("depth"), *arguments)
    assert "does not give what the model gives: predicted_depth of a batch of 1 differs" in message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(exports, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    arguments = ["--task", "depth", "--format", "openvino", "--output", tmp_path / "out"]
    message = refusal(capsys, "export", exports.model("depth"), *arguments)
    assert message.endswith("The format openvino needs openvino: pip install 'ait-hf[export]'.")


UNFIT = {
    "another runtime": (["--runtime", "openvino"], "was exported with --format onnx, which --runtime openvino"),
    "no runtime": ([], "is an exported AiT model, without weights for torch: `ait predict --runtime` runs it"),
    "another task": (["--runtime", "onnx", "--task", "normals"], "Unknown task 'normals'"),
    **{
        option: (["--runtime", "onnx", option, *value], f"{option} is nothing that an exported model can still choose")
        for option, *value in [
            ("--tta",),
            ("--device", "cpu"),
            ("--dtype", "bfloat16"),
            ("--solver", "hard"),
            ("--detokenizer", "hard"),
            ("--temperature", "0.5"),
        ]
    },
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_an_export_cannot_do_is_refused_in_a_sentence(exports, photographs, tmp_path, capsys, case):
    options, said = UNFIT[case]
    folder = exports.exported("depth", "onnx")
    capsys.readouterr()
    arguments = ["--model", folder, "--task", "depth", *options, "--output", tmp_path / "out", photographs]
    assert said in refusal(capsys, "predict", *arguments)
    assert list(tmp_path.iterdir()) == []


def test_exports_that_are_not_whole_are_refused(exports, photographs, tmp_path, capsys):
    source = exports.exported("depth", "onnx")
    arguments = ["--runtime", "onnx", "--task", "depth", "--output", tmp_path / "out", photographs]
    for number, (name, content) in enumerate(
        {"export.json": None, "config.json": None, "model.onnx": b"no graph", "model.onnx.data": None}.items()
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        for path in source.iterdir():
            if path.name != name:
                (folder / path.name).hardlink_to(path)
        if content is not None:
            (folder / name).write_bytes(content)
        assert str(folder) in refusal(capsys, "predict", "--model", folder, *arguments), name
    assert "export.json does not exist" in refusal(capsys, "predict", "--model", exports.model("depth"), *arguments)
    assert not (tmp_path / "out").exists()


def test_people_of_an_exported_model_need_boxes(exports, photographs, tmp_path, capsys):
    arguments = ["--model", exports.exported(POSES, "openvino"), "--runtime", "openvino", "--task", POSES]
    capsys.readouterr()
    message = refusal(capsys, "predict", *arguments, "--output", tmp_path / "out", photographs)
    assert "give their boxes" in message
