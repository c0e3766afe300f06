# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Publishing of checkpoints on the Hugging Face Hub: one commit with weights, configuration, code and a model card."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi

# `HTTPError` is that of the HTTP library below, which differs between versions of huggingface_hub.
from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from ..recipes.parsing import as_section
from .card import public_recipe, read_template, render_card
from .files import CARD, RECIPE, checkpoint_files


@as_section
class HubRecipe:
    """The section `hub` of a recipe: where the trained model is published. Arguments as of [`push_folder`]."""

    repo_id: str
    private: bool = False
    license: str | None = None
    message: str | None = None

    def validate_name(self):
        check_repo_id(self.repo_id)


def prepare_repository(hub: HubRecipe) -> None:
    """Makes the repository of a recipe, so that a wrong token, or that no card can be made, is known before hours of
    training. Errors as of [`push_folder`]."""
    read_template()
    api = HfApi()
    with _clear_errors(api, hub.repo_id):
        _make_repository(api, hub.repo_id, hub.private)


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    message: str | None = None,
    card_only: bool = False,
    include: Sequence[str] = (),
) -> str:
    """
    Publishes a saved model or tokenizer in one commit: all of it or nothing. The token is that of `hf auth login` or
    `HF_TOKEN`, the Hub that of `HF_ENDPOINT`.

    The card is the folder's `README.md` if it has one, else it is rendered from what the folder says of itself. The
    recipe goes up without the folders of this machine.

    Args:
        folder (`str` or `Path`): As training, conversion or [`~ait_hf.hub.remote_code.save_with_remote_code`] left it.
        repo_id (`str`): `"user/name"`; is made if missing.
        private (`bool`): Whether a new repository is private.
        license (`str`, *optional*): Of the weights, as the Hub abbreviates it (`"apache-2.0"`, `"cc-by-nc-4.0"`), for a
            rendered card, which says by default that it is not known.
        message (`str`, *optional*): Of the commit.
        card_only (`bool`): Push the card alone, to a repository that is there.
        include (`Sequence[str]`): Patterns of further files, such as `"logs/*"` or `"checkpoints/*"`.

    Returns:
        `str`: Address of the commit.

    Raises:
        FileNotFoundError, ValueError: The folder is not a whole checkpoint, or the Hub refuses the card; before
            anything is sent. Or there is no repository for a card alone.
        PermissionError: The token is missing, wrong, or may not write there.
        ConnectionError: The Hub cannot be reached or the connection broke off.
    """
    check_repo_id(repo_id)
    if card_only and (private or include):
        raise ValueError("A card alone goes to a repository that is there: leave out private and include.")
    folder = Path(folder)
    contents = {name: folder / name for name in checkpoint_files(folder, include)}
    if RECIPE in contents:
        contents[RECIPE] = public_recipe(folder / RECIPE).encode()
    card = {CARD: folder / CARD if (folder / CARD).is_file() else str(render_card(folder, repo_id, license)).encode()}
    contents = card if card_only else contents | card
    api = HfApi()
    with _clear_errors(api, repo_id):
        if not card_only:
            _make_repository(api, repo_id, private)
        # Not `upload_folder`, which may make several commits.
        operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
        message = message or ("Model card" if card_only else "Upload by ait_hf")
        commit = api.create_commit(repo_id, operations, commit_message=message)
    return commit.commit_url


def check_repo_id(repo_id: str) -> None:
    """Raises `ValueError` for what is no name of a repository."""
    if repo_id.count("/") != 1:
        raise ValueError(f"The name of a repository is user/name, got {repo_id!r}.")
    validate_repo_id(repo_id)


def _make_repository(api: HfApi, repo_id: str, private: bool) -> None:
    api.create_repo(repo_id, private=private or None, exist_ok=True)
    if private and not api.model_info(repo_id).private:
        raise ValueError(
            f"{repo_id} is there already and public: make it private in its settings, or choose another name."
        )


@contextmanager
def _clear_errors(api: HfApi, repo_id: str) -> Iterator[None]:
    """Says in one sentence what went wrong and what to do."""
    try:
        yield
    except OfflineModeIsEnabled as error:
        raise ConnectionError("HF_HUB_OFFLINE=1 forbids to reach the Hub: unset it to push.") from error
    except HfHubHTTPError as error:
        raise _explain(error, api, repo_id) from error
    except (HTTPError, RuntimeError) as error:  # of an upload, the latter wraps the former
        reason = str(error.__cause__ or error).rstrip(".")
        raise ConnectionError(
            f"The connection to {api.endpoint} failed ({reason}): check the network and run the same command again; a "
            "push is one commit, all or nothing, and files that have arrived are not sent again."
        ) from error


def _explain(error: HfHubHTTPError, api: HfApi, repo_id: str) -> OSError:
    known = {
        401: PermissionError(
            f"{api.endpoint} knows no valid token of yours (401): log in by `hf auth login`, or set HF_TOKEN to a token "
            f"that may write to {repo_id}."
        ),
        403: PermissionError(
            f"Your token may not write to {repo_id} (403): choose a name of your own, or a token with the right to "
            "write there."
        ),
        404: FileNotFoundError(
            f"{api.endpoint} has no repository {repo_id} that your token may see (404): check the name, or push the "
            "whole folder to make it."
        ),
    }
    refused = ConnectionError(f"{api.endpoint} refused the push: {' '.join(str(error).split())}")
    return known.get(error.response.status_code, refused)
