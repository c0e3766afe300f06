# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from hub_server import serve_hub
from huggingface_hub import HfApi, close_session
from huggingface_hub.errors import StrictDataclassError
from repository import SCRIPTS
from safetensors.torch import load_file
from saved_model import picture, save_tiny_model, tiny_model
from strangers import run_as_stranger

from ait_hf import VQTokenizer
from ait_hf.hub.push import HubRecipe, prepare_repository, push_folder
from ait_hf_cli import main as ait


REPO = "user/ait-tiny"
RECIPE = {
    "output_dir": "/somewhere/private/runs/tiny",
    "train": {"max_steps": 7},
    "evaluation": {"split": "validation"},
    "tasks": {"depth": {"data": {"name": "rgbd", "index": "/somewhere/private/index.json", "split": "train"}}},
    "model": {"pretrained": None, "backbone": "checkpoints/simmim"},
}

# What a stranger runs, who has the name on the Hub but not the package.
STRANGER = """
import sys
sys.modules["ait_hf"] = None
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel

name, picture, output = sys.argv[1:]
processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=True)
model = AutoModel.from_pretrained(name, trust_remote_code=True)
inputs = processor(Image.open(picture), return_tensors="pt")
outputs = model.generate(**inputs, task="depth")
torch.save({"weights": model.state_dict(), "inputs": inputs["pixel_values"], "sequences": outputs.sequences,
            "depth": outputs.predicted_depth}, output)
"""


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """As training leaves a folder."""
    folder = save_tiny_model(tmp_path_factory.mktemp("hub") / "tiny")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "history.json").write_text(json.dumps([{"step": 7, "eval_depth/rmse": 0.5}]))
    for name in ("checkpoints/step-00000007/optimizer.bin", "logs/events", "best/config.json", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def run(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.fixture
def hub(monkeypatch):
    """A hub that this process talks to, with the right token, and without waits between attempts."""
    with serve_hub() as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", "hf_right")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield hub
        close_session()


def test_a_stranger_loads_it_from_the_hub_and_gets_the_same(saved, hub, tmp_path):
    push_folder(saved, REPO, private=True)
    image = picture(60, 90)
    image.save(tmp_path / "picture.png")
    unset = ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_MODULES_CACHE")
    own = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    theirs = run_as_stranger(STRANGER, tmp_path, REPO, tmp_path / "picture.png", without=unset, **own)

    model, processor = tiny_model()
    inputs = processor(image, return_tensors="pt")
    ours = model.generate(**inputs, task="depth")
    assert theirs["weights"].keys() == model.state_dict().keys()
    assert all(torch.equal(theirs["weights"][name], value) for name, value in model.state_dict().items())
    assert torch.equal(theirs["inputs"], inputs["pixel_values"])
    assert torch.equal(theirs["sequences"], ours.sequences)
    # kernels round by the alignment of the weights in memory
    torch.testing.assert_close(theirs["depth"], ours.predicted_depth, rtol=1e-5, atol=1e-5)


def test_one_commit_holds_the_checkpoint_and_no_more(saved, hub):
    address = push_folder(saved, REPO, message="First")
    repository = hub.repositories[REPO]
    assert [commit.message for commit in repository.commits] == ["initial commit", "First"]
    assert address.endswith(f"/{REPO}/commit/{repository.head.oid}")
    assert not repository.private
    files = hub.files(REPO)
    saved_files = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    left_out = {"checkpoints/step-00000007/optimizer.bin", "logs/events", "best/config.json", "notes.txt"}
    assert files.keys() == saved_files - left_out | {"README.md"}
    for name in saved_files - left_out - {"recipe.yaml"}:
        assert files[name] == (saved / name).read_bytes(), name


def test_folders_of_this_machine_stay_private(saved, hub):
    push_folder(saved, REPO)
    assert not any(b"somewhere/private" in content for content in hub.files(REPO).values())
    expected = json.loads(
        json.dumps(RECIPE).replace("/somewhere/private/runs/", "").replace("/somewhere/private/", "")
    )
    assert yaml.safe_load(hub.files(REPO)["recipe.yaml"]) == expected


def test_the_hub_understands_the_card(saved, hub):
    push_folder(saved, REPO, license="mit")
    info = HfApi().model_info(REPO)
    assert info.pipeline_tag == "depth-estimation"
    assert info.card_data.license == "mit"
    (result,) = info.card_data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("rmse", 0.5, "validation")


def test_others_list_and_download_it(saved, hub, tmp_path):
    push_folder(saved, REPO)
    api = HfApi()
    assert api.whoami()["name"] == "user"
    sizes = {file.path: file.size for file in api.list_repo_tree(REPO, recursive=True)}
    assert sizes == {name: len(content) for name, content in hub.files(REPO).items()}
    folder = Path(api.snapshot_download(REPO, local_dir=tmp_path / "copy"))
    assert all((folder / name).read_bytes() == content for name, content in hub.files(REPO).items())


def test_a_second_push_sends_what_is_new(run, hub):
    push_folder(run, REPO)
    first = hub.repositories[REPO].head
    push_folder(run, REPO)
    assert hub.repositories[REPO].head == first
    (run / "README.md").write_text("---\nlicense: mit\nlibrary_name: transformers\ntags: [mine]\n---\n# Mine\n")
    del hub.requests[:]
    push_folder(run, REPO)
    assert hub.files(REPO) == {path: blob.content for path, blob in first.files.items()} | {
        "README.md": (run / "README.md").read_bytes()
    }
    assert not any(request.startswith("PUT") for request in hub.requests)


def test_card_only_changes_nothing_else(saved, hub):
    push_folder(saved, REPO)
    before = hub.files(REPO)
    push_folder(saved, REPO, card_only=True, license="mit")
    after = hub.files(REPO)
    assert {name for name in after if after[name] != before[name]} == {"README.md"}
    assert b"license: mit" in after["README.md"]


def test_included_files_go_up_too(saved, hub):
    push_folder(saved, REPO, include=["logs/*", "notes.txt"])
    assert {"logs/events", "notes.txt"} <= hub.files(REPO).keys()
    assert not any(name.startswith("checkpoints") for name in hub.files(REPO))
    with pytest.raises(ValueError, match="matches 'log/\\*'"):
        push_folder(saved, REPO, include=["log/*"])


def test_a_tokenizer_alone(saved, hub, tmp_path):
    push_folder(saved / "tokenizers/depth", "user/vq-tiny")
    assert hub.files("user/vq-tiny").keys() == {"config.json", "diffusion_pytorch_model.safetensors", "README.md"}
    loaded = VQTokenizer.from_pretrained("user/vq-tiny", cache_dir=tmp_path)
    expected = load_file(saved / "tokenizers/depth/diffusion_pytorch_model.safetensors")
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in expected.items())


@pytest.mark.parametrize("token", ["hf_wrong", ""])
def test_a_wrong_or_missing_token_is_named(saved, hub, monkeypatch, tmp_path, token):
    monkeypatch.setenv("HF_TOKEN", token)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(PermissionError, match=r"no valid token of yours \(401\): log in .* write to user/ait-tiny"):
        push_folder(saved, REPO)
    with pytest.raises(PermissionError, match="401"):
        prepare_repository(HubRecipe(repo_id=REPO))
    assert not hub.repositories


@pytest.mark.parametrize("exists", [False, True])
def test_somebody_elses_name_is_refused(saved, hub, monkeypatch, exists):
    if exists:
        hub.users["hf_other"] = "other"
        monkeypatch.setenv("HF_TOKEN", "hf_other")
        prepare_repository(HubRecipe(repo_id="other/model"))
        monkeypatch.setenv("HF_TOKEN", "hf_right")
    with pytest.raises(PermissionError, match=r"Your token may not write to other/model \(403\)"):
        push_folder(saved, "other/model")
    assert not hub.objects


def test_a_card_needs_a_repository(saved, hub):
    with pytest.raises(FileNotFoundError, match=r"has no repository user/ait-tiny .*\(404\)"):
        push_folder(saved, REPO, card_only=True)
    with pytest.raises(ValueError, match="leave out private"):
        push_folder(saved, REPO, card_only=True, private=True)


def test_what_was_to_be_private_does_not_become_public(saved, hub):
    prepare_repository(HubRecipe(repo_id=REPO))
    with pytest.raises(ValueError, match="there already and public"):
        push_folder(saved, REPO, private=True)
    assert not hub.files(REPO)


def test_an_upload_that_breaks_off_leaves_nothing_and_is_repeated(saved, hub):
    hub.broken_uploads = 100
    with pytest.raises(ConnectionError, match="connection to .* failed .* run the same command again"):
        push_folder(saved, REPO)
    assert not hub.files(REPO)
    hub.broken_uploads = 2  # these the library repeats by itself
    push_folder(saved, REPO)
    assert hub.files(REPO)["model.safetensors"] == (saved / "model.safetensors").read_bytes()
    assert len(hub.repositories[REPO].commits) == 2


def test_offline_and_without_a_server(saved, hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE=1 forbids"):
        push_folder(saved, REPO)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # the port of `discard`
    with pytest.raises(ConnectionError, match="connection to http://127.0.0.1:9 failed .* check the network"):
        push_folder(saved, REPO)


def test_the_hub_refuses_a_card_before_anything_is_sent(saved, hub):
    with pytest.raises(ValueError, match="license is not valid"):
        push_folder(saved, REPO, license="my own")
    assert not hub.objects and not hub.files(REPO)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("damage", "error", "sentence"),
    [
        (lambda run: (run / "config.json").unlink(), FileNotFoundError, "config.json is missing"),
        (lambda run: (run / "config.json").write_text("{"), ValueError, "config.json is damaged"),
        (lambda run: (run / "config.json").write_text("{}"), ValueError, "neither that of an AiT model"),
        (
            lambda run: (run / "generation_config.json").unlink(),
            FileNotFoundError,
            "generation_config.json is missing",
        ),
        (lambda run: (run / "preprocessor_config.json").unlink(), FileNotFoundError, "preprocessor_config.json is"),
        (lambda run: (run / "model.safetensors").unlink(), FileNotFoundError, "model.safetensors is missing"),
        (lambda run: truncate(run / "model.safetensors"), ValueError, "model.safetensors is damaged or half-written"),
        (lambda run: shutil.rmtree(run / "tokenizers"), FileNotFoundError, "tokenizers/depth/config.json is missing"),
        (lambda run: (run / "modeling_ait.py").unlink(), FileNotFoundError, "modeling_ait.py is missing"),
        (lambda run: (run / "quantization_ait.py").unlink(), FileNotFoundError, "quantization_ait.py is missing"),
        (lambda run: (run / ".model.tmp").mkdir(), ValueError, r"half-written \(.model.tmp\)"),
        (shutil.rmtree, FileNotFoundError, "There is no folder"),
    ],
)
def test_an_incomplete_folder_is_not_sent(run, hub, damage, error, sentence):
    damage(run)
    with pytest.raises(error, match=sentence):
        push_folder(run, REPO)
    assert not hub.requests


def test_a_folder_without_code_is_not_sent(tmp_path, hub):
    model, processor = tiny_model()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    for name, tokenizer in model.tokenizers.items():
        tokenizer.save_pretrained(tmp_path / "tokenizers" / name)
    with pytest.raises(ValueError, match="save it by ait_hf.hub.remote_code.save_with_remote_code"):
        push_folder(tmp_path, REPO)


def test_sharded_weights(run, hub):
    model, _ = tiny_model()
    (run / "model.safetensors").unlink()
    model.save_pretrained(run, max_shard_size="100KB")
    shards = {path.name for path in run.glob("model-*.safetensors")}
    assert len(shards) > 1
    config = json.loads((run / "config.json").read_text())
    push_folder(run, REPO)
    assert shards | {"model.safetensors.index.json"} <= hub.files(REPO).keys()
    assert config["model_type"] == "ait"
    (run / min(shards)).unlink()
    with pytest.raises(FileNotFoundError, match="-00001-of-"):
        push_folder(run, REPO)


@pytest.mark.parametrize("name", ["model", "a/b/c", "user/..", "user/"])
def test_a_wrong_name_is_refused(saved, hub, name):
    with pytest.raises(ValueError, match="(?i)repo"):
        push_folder(saved, name)
    with pytest.raises(StrictDataclassError):
        HubRecipe(repo_id=name)
    assert not hub.requests


def test_a_run_is_published_as_its_recipe_says(saved, hub):
    recipe = HubRecipe(repo_id=REPO, private=True, license="cc-by-4.0", message="Trained")
    prepare_repository(recipe)
    assert hub.repositories[REPO].private
    push_folder(saved, **asdict(recipe))
    assert hub.repositories[REPO].head.message == "Trained"
    assert b"license: cc-by-4.0" in hub.files(REPO)["README.md"]


def test_the_verb(saved, hub, capsys):
    ait(["push", "--folder", str(saved), "--repo", REPO, "--private"])
    assert capsys.readouterr().out.startswith(f"Pushed: {hub.url}/{REPO}/commit/")
    assert hub.repositories[REPO].private and "config.json" in hub.files(REPO)
    with pytest.raises(SystemExit, match="2"):
        ait(["push", "--folder", str(saved / "nothing"), "--repo", REPO])
    assert capsys.readouterr().err.startswith("ait push: There is no folder")


def test_the_script(saved, hub, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from push_to_hub import main

    main(["--folder", str(saved), "--repo", REPO, "--license", "mit", "--include", "logs/*"])
    assert capsys.readouterr().out == f"Pushed: {hub.url}/{REPO}/commit/{hub.repositories[REPO].head.oid}\n"
    assert "logs/events" in hub.files(REPO)
    with pytest.raises(SystemExit, match="2"):
        main(["--folder", str(saved / "nothing"), "--repo", REPO])
    message = capsys.readouterr().err.splitlines()
    assert len(message) == 1 and message[0].startswith("push_to_hub.py: There is no folder")
