"""Downloads from a server on this machine, into a cache of the test's own."""

import http.server
import threading
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from modeling_asm.training.teachers import downloads
from modeling_asm.training.teachers.downloads import digest_file, digest_weights, find_file, load_weights


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve a folder; return it, and its address."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}/"
        running.shutdown()


def test_a_file_is_downloaded_once(server, monkeypatch, tmp_path):
    folder, address = server
    (folder / "labels.csv").write_text("index,display_name\n")
    monkeypatch.setitem(downloads.SHA256, f"{address}labels.csv", digest_file(folder / "labels.csv"))
    found = find_file(f"{address}labels.csv")
    assert found.startswith(str(tmp_path / "cache"))
    (folder / "labels.csv").unlink()
    assert find_file(f"{address}labels.csv") == found
    with open(found) as file:
        assert file.read() == "index,display_name\n"


def test_weights_are_the_same_in_any_format(server, monkeypatch, tmp_path):
    folder, address = server
    weights = {"b": torch.randn(3, 2), "a": torch.randn(4)}
    torch.save({**weights, "bn.num_batches_tracked": torch.tensor(7)}, folder / "weights.pt")
    save_file(weights, tmp_path / "weights.safetensors")
    own = load_weights(str(tmp_path / "weights.safetensors"))
    monkeypatch.setitem(downloads.SHA256, f"{address}weights.pt", digest_weights(own))
    loaded = load_weights(find_file(f"{address}weights.pt"))
    assert set(loaded) == {"a", "b"}
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())
    assert digest_weights({**own, "a": own["a"] + 1}) != digest_weights(own)
    assert digest_weights({"c": own["a"], "b": own["b"]}) != digest_weights(own)


def test_other_content_is_refused(server, monkeypatch):
    folder, address = server
    (folder / "model.onnx").write_bytes(b"something else")
    monkeypatch.setitem(downloads.SHA256, f"{address}model.onnx", "0" * 64)
    for _ in range(2):  # also where it is already there
        with pytest.raises(ValueError, match=rf"expected {'0' * 64}: it is not the file that is known by"):
            find_file(f"{address}model.onnx")


def test_nothing_that_runs_code_is_loaded(tmp_path):
    torch.save({"a": threading.Thread}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"cannot be read as weights\. Expected a safetensors file, or one of PyTorch"):
        load_weights(str(tmp_path / "weights.pt"))


def test_what_is_not_there(server, monkeypatch):
    _, address = server
    monkeypatch.setitem(downloads.SHA256, f"{address}gone.onnx", "0" * 64)
    with pytest.raises(FileNotFoundError, match=r"gone.onnx cannot be downloaded: .*404.* and give its path"):
        find_file(f"{address}gone.onnx")
    with pytest.raises(ValueError, match="is not a known address of a teacher's file"):
        find_file(f"{address}other.onnx")
    with pytest.raises(FileNotFoundError, match=r"There is no file 'nothing.onnx' of a teacher"):
        find_file("nothing.onnx")


def test_known_files_are_those_of_the_recipes(recordings):
    """The copies that the released encoders were taught by."""
    teachers = recordings / "teachers"
    assert digest_file(teachers / "audioset_labels.csv") == downloads.SHA256[downloads.AUDIOSET_LABELS]
    weights = load_weights(str(teachers / "mn04_as.safetensors"))
    assert digest_weights(weights) == downloads.SHA256[downloads.EFFICIENTAT]
