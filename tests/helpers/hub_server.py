# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face Hub of its own on the loopback interface: models, over the HTTP that `huggingface_hub` speaks."""

import hashlib
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import yaml
from card_schema import card_errors


@dataclass(frozen=True)
class Blob:
    content: bytes
    is_lfs: bool

    @property
    def oid(self) -> str:
        """As the Hub names it: the SHA-256 of large files, git's hash of others."""
        if self.is_lfs:
            return hashlib.sha256(self.content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


@dataclass(frozen=True)
class Commit:
    oid: str
    message: str
    files: dict[str, Blob]


@dataclass
class Repository:
    private: bool
    commits: list[Commit] = field(default_factory=lambda: [Commit("0" * 40, "initial commit", {})])

    @property
    def head(self) -> Commit:
        return self.commits[-1]

    def commit(self, message: str, files: dict[str, Blob]) -> Commit:
        text = repr((self.head.oid, message, sorted((path, blob.oid) for path, blob in files.items())))
        self.commits.append(Commit(hashlib.sha1(text.encode()).hexdigest(), message, files))
        return self.head

    def at(self, revision: str) -> Commit | None:
        if revision == "main":
            return self.head
        return next((commit for commit in self.commits if commit.oid == revision), None)


class Refusal(Exception):
    def __init__(self, status: int, message: str, code: str | None = None):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass
class Hub:
    """
    Args:
        users: Name of the user by token.
        repositories: By `user/name`.
        objects: Large files that have arrived, by SHA-256.
        requests: `METHOD path` of all requests so far.
        broken_uploads: So many of the next uploads of large files break off in the middle.
    """

    users: dict[str, str] = field(default_factory=lambda: {"hf_right": "user"})
    repositories: dict[str, Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    broken_uploads: int = 0
    url: str = ""

    def files(self, repo_id: str) -> dict[str, bytes]:
        """What the last commit of a repository holds."""
        return {path: blob.content for path, blob in self.repositories[repo_id].head.files.items()}


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """A hub that answers while the context lasts."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
ROUTES = (
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", rf"/api/models/{REPO}/preupload/(?P<revision>[^/]+)", "preupload"),
    ("POST", rf"/{REPO}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/objects/(?P<oid>[0-9a-f]{64})", "upload"),
    ("POST", rf"/api/models/{REPO}/commit/(?P<revision>[^/]+)", "commit"),
    ("GET", rf"/api/models/{REPO}/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?", "tree"),
    ("GET", rf"/api/models/{REPO}(?:/revision/(?P<revision>[^/]+))?", "info"),
    ("HEAD", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ("GET", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            for method, pattern, name in ROUTES:
                if method == self.command and (match := re.fullmatch(pattern, path)):
                    getattr(self, name)(**match.groupdict())
                    return
            raise Refusal(404, f"There is no {self.command} {path}.")
        except Refusal as refusal:
            codes = {"X-Error-Message": str(refusal)} | ({"X-Error-Code": refusal.code} if refusal.code else {})
            self.answer({"error": str(refusal)}, refusal.status, codes)

    do_HEAD = do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass

    def answer(self, content, status: int = 200, headers: dict[str, str] | None = None) -> None:
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
        self.body()  # what was not read would be taken for the next request
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            del self.headers["Transfer-Encoding"]
            chunks = []
            while length := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(length))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        length = int(self.headers.get("Content-Length", 0))
        del self.headers["Content-Length"]  # it is read once
        return self.rfile.read(length)

    def user(self) -> str | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def known_user(self) -> str:
        user = self.user()
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        return user

    def writable(self, repo_id: str) -> Repository:
        user = self.known_user()
        repository = self.readable(repo_id)
        if user != repo_id.partition("/")[0]:
            raise Refusal(403, "You don't have the rights to write there")
        return repository

    def readable(self, repo_id: str) -> Repository:
        user, repository = self.user(), self.hub.repositories.get(repo_id)
        if repository is None or (repository.private and user != repo_id.partition("/")[0]):
            raise Refusal(404 if user else 401, "Repository not found", "RepoNotFound")
        return repository

    def commit_at(self, repo_id: str, revision: str | None) -> Commit:
        commit = self.readable(repo_id).at(revision or "main")
        if commit is None:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def whoami(self):
        self.answer({"type": "user", "name": self.known_user(), "orgs": []})

    def create(self):
        request, user = json.loads(self.body()), self.known_user()
        owner = request["organization"] or user
        if owner != user:
            raise Refusal(403, f"You don't have the rights to create a model under the namespace {owner!r}")
        name = f"{owner}/{request['name']}"
        status = 409 if name in self.hub.repositories else 200
        if status == 200:
            self.hub.repositories[name] = Repository(private=request.get("visibility") == "private")
        self.answer({"url": f"{self.hub.url}/{name}"}, status)

    def validate(self):
        errors = [{"message": message} for message in card_errors(json.loads(self.body())["content"])]
        self.answer({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, repo: str, revision: str):
        present = self.writable(repo).head.files
        answers = []
        for file in json.loads(self.body())["files"]:
            path = file["path"]
            mode = "lfs" if path.endswith(".safetensors") else "regular"
            oid = {"oid": present[path].oid} if path in present else {}
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, **oid})
        self.answer({"files": answers})

    def batch(self, repo: str):
        self.writable(repo)
        answers = []
        for file in json.loads(self.body())["objects"]:
            href = f"{self.hub.url}/objects/{file['oid']}"
            missing = {} if file["oid"] in self.hub.objects else {"actions": {"upload": {"href": href}}}
            answers.append({"oid": file["oid"], "size": file["size"], **missing})
        self.answer({"transfer": "basic", "objects": answers})

    def upload(self, oid: str):
        if self.hub.broken_uploads:
            self.hub.broken_uploads -= 1
            self.rfile.read(1000)
            self.close_connection = True
            return
        content = self.body()
        if hashlib.sha256(content).hexdigest() != oid:
            raise Refusal(400, "The content is not what was announced")
        self.hub.objects[oid] = content
        self.answer({})

    def commit(self, repo: str, revision: str):
        repository = self.writable(repo)
        header, *operations = [json.loads(line) for line in self.body().splitlines()]
        files = dict(repository.head.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = Blob(b64decode(value["content"]), is_lfs=False)
            elif operation["key"] == "lfsFile" and value["oid"] in self.hub.objects:
                files[value["path"]] = Blob(self.hub.objects[value["oid"]], is_lfs=True)
            else:
                raise Refusal(400, f"Cannot commit {operation}")
        oid = repository.commit(header["value"]["summary"], files).oid
        self.answer({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def tree(self, repo: str, revision: str, path: str | None):
        files = self.commit_at(repo, revision).files
        prefix = f"{path}/" if path else ""
        listed = {name: blob for name, blob in files.items() if name.startswith(prefix)}
        if path and not listed:
            raise Refusal(404, f"{path} does not exist", "EntryNotFound")
        entries = []
        for name, blob in listed.items():
            size = len(blob.content)
            large = {"lfs": {"oid": blob.oid, "size": size, "pointerSize": 134}} if blob.is_lfs else {}
            entries.append({"type": "file", "path": name, "size": size, "oid": blob.oid, **large})
        self.answer(entries)

    def info(self, repo: str, revision: str | None):
        commit = self.commit_at(repo, revision)
        answer = {"id": repo, "sha": commit.oid, "private": self.hub.repositories[repo].private, "tags": []}
        if "README.md" in commit.files:
            answer["cardData"] = yaml.safe_load(commit.files["README.md"].content.decode().split("---\n")[1])
            answer["pipeline_tag"] = answer["cardData"].get("pipeline_tag")
        self.answer(answer | {"siblings": [{"rfilename": path} for path in commit.files]})

    def resolve(self, repo: str, revision: str, path: str):
        commit = self.commit_at(repo, revision)
        headers = {"X-Repo-Commit": commit.oid}
        if path not in commit.files:
            self.answer(b"", 404, {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
            return
        self.answer(commit.files[path].content, headers={**headers, "ETag": f'"{commit.files[path].oid}"'})
