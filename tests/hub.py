"""A stand-in for the Hub on 127.0.0.1, with what huggingface_hub and datasets ask of it. It keeps everything in memory.

It proves that the real clients are driven rightly, not that the real Hub accepts what they send.
"""

import base64
import hashlib
import json
import os
import re
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from processes import run_python


TOKEN, USER = "hf_standin", "ann"
LARGE = (".safetensors", ".parquet", ".png", ".wav", ".bin")


@dataclass
class Repository:
    """A repository: its commits, the newest last, each a mapping of paths to bytes; and its branches and tags."""

    private: bool = False
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        digest = hashlib.sha1(str(len(self.commits)).encode())
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        self.commits.append((digest.hexdigest(), files))
        self.refs[branch] = digest.hexdigest()
        return digest.hexdigest()

    def resolve(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        oid = self.refs.get(revision, revision)
        return next(((name, files) for name, files in self.commits if name == oid), None)


class Hub:
    """The server; `failures` are method and path patterns whose next requests get a 500."""

    def __init__(self):
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.uploads: dict[str, bytes] = {}
        self.failures: list[str] = []
        self.requests: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def files(self, repo_id: str, kind: str = "models", revision: str = "main") -> dict[str, bytes]:
        found = self.repositories[kind, repo_id].resolve(revision)
        return found[1] if found else {}

    def environment(self, folder, token: str | None = TOKEN) -> dict[str, str]:
        """Variables for a client process; they are read when huggingface_hub is imported."""
        variables = {"HF_ENDPOINT": self.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0"}
        variables |= {
            "HF_DATASETS_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_MODULES_CACHE": f"{folder}/modules",
        }
        return variables | ({"HF_TOKEN": token} if token else {"HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"})


@contextmanager
def running_hub():
    """Start a stand-in, and stop it at the end."""
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.server.shutdown()
        hub.server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        """Stay silent."""

    def do_GET(self):
        self.handle_request()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def handle_request(self):
        url = urlsplit(self.path)
        self.path_only, self.query = unquote(url.path), parse_qs(url.query)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = f"{self.command} {self.path_only}"
        self.hub.requests.append(request)
        failing = next((pattern for pattern in self.hub.failures if re.search(pattern, request)), None)
        if failing is not None:
            self.hub.failures.remove(failing)
            return self.answer(500, {"error": "the stand-in was told to fail"})
        for methods, pattern, route in ROUTES:
            match = re.fullmatch(pattern, self.path_only)
            if match and self.command in methods:
                return route(self, **match.groupdict())
        return self.answer(404, {"error": f"no such endpoint: {request}"})

    def answer(self, status: int, content=None, headers: dict | None = None):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if "Content-Length" not in (headers or {}):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def repository(self, kind: str | None, repo: str) -> Repository | None:
        """Return a repository that the client may see; otherwise answer as the Hub does."""
        found = self.hub.repositories.get((kind or "models", repo))
        if found is None or (found.private and not self.known):
            self.answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def snapshot(self, kind, repo, revision) -> tuple[str, dict[str, bytes]] | None:
        found = self.repository(kind, repo)
        if found is None:
            return None
        snapshot = found.resolve(revision)
        if snapshot is None:
            self.answer(404, {"error": "Revision not found"}, {"X-Error-Code": "RevisionNotFound"})
        return snapshot

    def whoami(self):
        if not self.known:
            return self.answer(401, {"error": "Invalid username or password."})
        token = {"accessToken": {"role": "write", "displayName": "stand-in"}}
        return self.answer(200, {"type": "user", "name": USER, "orgs": [], "auth": token})

    def auth_check(self, kind, repo):
        if not self.known:
            return self.answer(401, {"error": "Invalid username or password."})
        return self.answer(200, {}) if self.repository(kind, repo) else None

    def create(self):
        if not self.known:
            return self.answer(401, {"error": "Invalid username or password."})
        wanted = json.loads(self.body)
        repo = f"{wanted.get('organization') or USER}/{wanted['name']}"
        kind = f"{wanted.get('type') or 'model'}s"
        status = 409 if (kind, repo) in self.hub.repositories else 200
        private = wanted.get("private") or wanted.get("visibility") == "private"
        repository = self.hub.repositories.setdefault((kind, repo), Repository(bool(private)))
        if not repository.commits:
            repository.commit({".gitattributes": b""})
        return self.answer(status, {"url": f"{self.hub.url}/{'' if kind == 'models' else kind + '/'}{repo}"})

    def validate_yaml(self):
        return self.answer(200, {"errors": [], "warnings": []})

    def info(self, kind, repo, revision=None):
        snapshot = self.snapshot(kind, repo, revision or "main")
        if snapshot:
            oid, files = snapshot
            siblings = [{"rfilename": path, "size": len(content)} for path, content in files.items()]
            moment = "2026-01-01T00:00:00.000Z"
            described = {"_id": oid[:24], "id": repo, "modelId": repo, "sha": oid, "private": False, "gated": False}
            described |= {"disabled": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings}
            self.answer(200, described | {"author": USER, "createdAt": moment, "lastModified": moment, "cardData": {}})

    def tree(self, kind, repo, revision, path=""):
        snapshot = self.snapshot(kind, repo, revision)
        if snapshot:
            prefix = f"{path.strip('/')}/" if path and path.strip("/") else ""
            inside = {name: content for name, content in snapshot[1].items() if name.startswith(prefix)}
            if prefix and not inside:
                return self.answer(404, {"error": "not found"}, {"X-Error-Code": "EntryNotFound"})
            entries, folders = [], set()
            deep = self.query.get("recursive", ["false"])[0].lower() in ("true", "1")
            for name, content in inside.items():
                parts = name[len(prefix) :].split("/")
                folders |= {
                    prefix + "/".join(parts[: depth + 1]) for depth in range(len(parts) - 1) if deep or not depth
                }
                if deep or len(parts) == 1:
                    entries.append(entry(name, content))
            entries += [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(folders)]
            return self.answer(200, entries)
        return None

    def paths_info(self, kind, repo, revision):
        snapshot = self.snapshot(kind, repo, revision)
        if snapshot:
            form = json.loads(self.body) if self.body.startswith(b"{") else parse_qs(self.body.decode())
            names, files = form.get("paths", []), snapshot[1]
            found = [entry(name, files[name]) for name in names if name in files]
            folders = [name for name in names if any(path.startswith(f"{name.strip('/')}/") for path in files)]
            found += [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders]
            self.answer(200, found)

    def refs(self, kind, repo):
        repository = self.repository(kind, repo)
        if repository:
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": oid}
                for name, oid in repository.refs.items()
            ]
            self.answer(200, {"branches": branches, "tags": [], "converts": []})

    def tag(self, kind, repo, revision):
        repository = self.repository(kind, repo)
        if repository:
            repository.refs[json.loads(self.body)["tag"]] = repository.refs.get(revision, revision)
            self.answer(200, {})

    def preupload(self, kind, repo, revision):
        if self.repository(kind, repo):
            files = json.loads(self.body)["files"]
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for file in files
            ]
            self.answer(200, {"files": modes})

    def lfs_batch(self, kind=None, repo=None):
        objects = [
            {
                **{name: wanted[name] for name in ("oid", "size")},
                "actions": {"upload": {"href": f"{self.hub.url}/lfs-upload/{wanted['oid']}"}},
            }
            for wanted in json.loads(self.body)["objects"]
        ]
        self.answer(200, {"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.hub.uploads[oid] = self.body
        self.answer(200, {})

    def commit(self, kind, repo, revision):
        repository = self.repository(kind, repo)
        if not repository:
            return None
        if not self.known:
            return self.answer(403, {"error": "You may not write here."})
        files = dict((repository.resolve(revision) or ("", {}))[1])
        for line in self.body.splitlines():
            part = json.loads(line)
            value = part["value"]
            if part["key"] == "header" and value.get("parentCommit") not in (None, repository.refs.get(revision)):
                return self.answer(412, {"error": "A commit has happened since."})
            if part["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif part["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploads[value["oid"]]
            elif part["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif part["key"] == "deletedFolder":
                files = {path: content for path, content in files.items() if not path.startswith(value["path"])}
        oid = repository.commit(files, revision)
        return self.answer(200, {"success": True, "commitOid": oid, "commitUrl": f"{self.hub.url}/{repo}/commit/{oid}"})

    def download(self, kind, repo, revision, path):
        snapshot = self.snapshot(kind, repo, revision)
        if not snapshot:
            return None
        oid, files = snapshot
        headers = {"X-Repo-Commit": oid, "Accept-Ranges": "bytes"}
        if path not in files:
            return self.answer(404, {"error": "Entry not found"}, headers | {"X-Error-Code": "EntryNotFound"})
        content = files[path]
        headers["ETag"] = f'"{hashlib.sha256(content).hexdigest()}"'
        if path.endswith(LARGE):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-Etag": headers["ETag"]}
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first, last = int(span[1]), min(int(span[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            return self.answer(206, content[first : last + 1], headers)
        return self.answer(200, content, headers | {"Content-Length": str(len(content))})


def entry(path: str, content: bytes) -> dict:
    """Describe a file as the Hub does."""
    described = {"type": "file", "path": path, "oid": hashlib.sha1(content).hexdigest(), "size": len(content)}
    if path.endswith(LARGE):
        described["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return described


REPO = r"(?P<repo>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>models|datasets)/{REPO}"
ROUTES = [
    ("GET", r"/api/whoami-v2", Handler.whoami),
    ("POST", r"/api/repos/create", Handler.create),
    ("POST", r"/api/validate-yaml", Handler.validate_yaml),
    ("GET", API, Handler.info),
    ("GET", rf"{API}/auth-check/write", Handler.auth_check),
    ("GET", rf"{API}/revision/(?P<revision>[^/]+(?:/[^/]+)*)", Handler.info),
    ("GET", rf"{API}/tree/(?P<revision>refs/convert/parquet|[^/]+)(?P<path>/.*)?", Handler.tree),
    ("POST", rf"{API}/paths-info/(?P<revision>refs/convert/parquet|[^/]+)", Handler.paths_info),
    ("GET", rf"{API}/refs", Handler.refs),
    ("POST", rf"{API}/tag/(?P<revision>.+)", Handler.tag),
    ("POST", rf"{API}/preupload/(?P<revision>.+)", Handler.preupload),
    ("POST", rf"{API}/commit/(?P<revision>.+)", Handler.commit),
    ("POST", rf"/(?:(?P<kind>datasets)/)?{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    ("PUT", r"/lfs-upload/(?P<oid>\w+)", Handler.lfs_upload),
    (
        ("GET", "HEAD"),
        rf"/(?:(?P<kind>datasets)/)?{REPO}/resolve/(?P<revision>refs/convert/parquet|[^/]+)/(?P<path>.+)",
        Handler.download,
    ),
]


def environment_of(hub, folder, token=True, **variables) -> dict[str, str]:
    """Return the environment of a process that knows the stand-in, with a cache of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return environment | hub.environment(folder / "hf_home", **({} if token else {"token": None})) | variables


def run_with_hub(hub, folder, *words, check=True, **options) -> subprocess.CompletedProcess:
    """Run Python in a folder, with the environment of [`environment_of`]."""
    return run_python(*words, environment=environment_of(hub, folder, **options), folder=folder, check=check)
