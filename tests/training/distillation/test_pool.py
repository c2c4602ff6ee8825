import json

import numpy as np
import pytest

from modeling_asm.training.distillation.pool import AudioPool, PoolWriter, hours_by_kind


FIELDS = {"source": "package", "version": "1", "licence": "CC0", "kind": "speech"}


def write(folder, *names, **changes) -> dict:
    writer, waves = PoolWriter(folder), {}
    for number, name in enumerate(names):
        waves[name] = np.random.default_rng(number).integers(-(2**15), 2**15, 100 + number).astype(np.int16)
        writer.add(waves[name], name=name, sha256=name, **{**FIELDS, **changes})
    writer.close()
    return waves


def test_what_is_written_is_read(tmp_path):
    waves = write(tmp_path, "a", "b", "c")
    pool = AudioPool(tmp_path)
    for recording in pool.recordings:
        np.testing.assert_array_equal(pool.read(recording) * 2**15, waves[recording.name])
    last = pool.recordings[2]
    np.testing.assert_array_equal(pool.read(last, 10, 20), waves["c"][10:30].astype(np.float32) / 2**15)
    assert len(pool.read(last, 90, 50)) == 12  # to its end
    assert last.seconds == 102 / 32000


@pytest.mark.parametrize("cut", [1, 30])
def test_a_writer_goes_on_after_a_kill(tmp_path, cut):
    """Whether the kill came in the line or between samples and line, what was not written whole is written again."""
    waves = write(tmp_path, "a", "b")
    lines = tmp_path / "recordings.jsonl"
    lines.write_bytes(lines.read_bytes()[:-cut])
    writer = PoolWriter(tmp_path)
    assert "a" in writer
    assert "b" not in writer
    writer.add(waves["b"], name="b", sha256="b", **FIELDS)
    writer.close()
    pool = AudioPool(tmp_path)
    assert [recording.name for recording in pool.recordings] == ["a", "b"]
    np.testing.assert_array_equal(pool.read(pool.recordings[1]) * 2**15, waves["b"])
    assert (tmp_path / "samples.i16").stat().st_size == 2 * (100 + 101)


def test_what_is_left_out_is_kept_with_the_reason(tmp_path):
    PoolWriter(tmp_path).leave_out("noise", "it is silent")
    writer = PoolWriter(tmp_path)
    assert writer.left_out == {"noise": "it is silent"}
    assert "noise" in writer


def test_no_pool(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no pool of audio"):
        AudioPool(tmp_path)
    PoolWriter(tmp_path).close()
    (tmp_path / "recordings.jsonl").touch()
    with pytest.raises(ValueError, match="is empty: it has no recording"):
        AudioPool(tmp_path)


def test_samples_that_are_gone(tmp_path):
    write(tmp_path, "a", "b")
    with open(tmp_path / "samples.i16", "r+b") as file:
        file.truncate(300)
    with pytest.raises(ValueError, match=r"has 150 samples, expected at least 201. Make the pool again"):
        AudioPool(tmp_path)


def test_hours_by_kind(tmp_path):
    writer = PoolWriter(tmp_path)
    for name, kind, source in (("a", "speech", "x"), ("b", "speech", "y"), ("c", "music", "x")):
        writer.add(np.zeros(32000 * 36, np.int16), name=name, sha256=name, **{**FIELDS, "kind": kind, "source": source})
    writer.close()
    assert hours_by_kind(AudioPool(tmp_path).recordings) == {
        "music": {"recordings": 1, "sources": 1, "hours": 0.01},
        "speech": {"recordings": 2, "sources": 2, "hours": 0.02},
    }
    assert json.loads((tmp_path / "recordings.jsonl").read_text().splitlines()[0])["licence"] == "CC0"
