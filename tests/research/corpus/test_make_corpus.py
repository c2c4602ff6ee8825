"""The command, on folders and synthetic sound."""

import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import yaml
from deb_files import write_deb

from modeling_asm.training.distillation.pool import AudioPool, read_lines


@pytest.fixture
def recordings(tmp_path):
    """Three recordings, a copy of one, a louder copy of one that must not be there, and a text."""
    rng = np.random.default_rng(0)
    for name in ("mine", "theirs"):
        (tmp_path / name).mkdir()
    waves = {name: melody(rng) for name in ("a", "b", "c", "secret")}
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / "mine" / f"{name}.wav", waves[name], 16000)
    shutil.copy(tmp_path / "mine" / "a.wav", tmp_path / "mine" / "copy.wav")
    soundfile.write(tmp_path / "theirs" / "secret.wav", waves["secret"], 16000)
    soundfile.write(tmp_path / "mine" / "leak.flac", np.clip(1.5 * waves["secret"], -1, 1), 16000)
    (tmp_path / "mine" / "notes.txt").write_text("notes")
    return tmp_path


def melody(rng) -> np.ndarray:
    time = np.arange(3200) / 16000
    notes = [np.sin(2 * np.pi * rng.uniform(200, 3000) * time) * np.exp(-6 * time) for _ in range(20)]
    return 0.4 * np.concatenate(notes) + 0.003 * rng.standard_normal(64000)


@pytest.fixture
def make(run, tmp_path):
    """Run the command, without packages."""

    def call(*arguments):
        common = ("--output_dir", tmp_path / "corpus", "--packages", "", "--num_processes", 1)
        return run("corpus/make_corpus.py", *common, *arguments)

    return call


def test_folders_and_textures(make, recordings, tmp_path):
    arguments = ["--folder", "effects", "CC0", recordings / "mine", "--never", recordings / "theirs"]
    arguments += ["--synthesise", "textures", "0.003"]
    result = make(*arguments)
    assert result.error is None
    assert "| effects | 3 | 1 | 0.0 |" in result.stdout
    assert "mine: 6 files found, 5 used; left out: 1 not known as recordings ('notes.txt')" in result.stdout
    pool = AudioPool(tmp_path / "corpus")
    names = [recording.name for recording in pool.recordings]
    assert names[:3] == ["mine/a.wav", "mine/b.wav", "mine/c.wav"]
    assert all(name.startswith("textures/") for name in names[3:])
    assert [recording.licence for recording in pool.recordings[:3]] == ["CC0"] * 3
    rows = [json.loads(line) for line in (tmp_path / "corpus" / "left_out.jsonl").read_text().splitlines()]
    reasons = {row["name"]: row["reason"] for row in rows}
    assert reasons["mine/copy.wav"] == "it is a copy of another recording"
    assert reasons["mine/leak.flac"].startswith("it sounds like theirs/secret.wav (")
    again = make(*arguments)
    assert again.error is None
    assert [recording.name for recording in AudioPool(tmp_path / "corpus").recordings] == names


def test_what_must_not_be_there_may_be_said_in_parts(make, recordings, tmp_path):
    """And a click, which has too few peaks to be recognised, is told."""
    (tmp_path / "clicks").mkdir()
    click = np.zeros(4000, np.float32)
    click[2000] = 0.5
    soundfile.write(tmp_path / "clicks" / "click.wav", click, 16000)
    soundfile.write(tmp_path / "clicks" / "noise.wav", 0.1 * np.random.default_rng(0).standard_normal(16000), 16000)
    arguments = ["--folder", "effects", "CC0", recordings / "mine"]
    result = make(*arguments, "--never", recordings / "theirs", "--never", tmp_path / "clicks")
    assert result.error is None
    rows = [json.loads(line) for line in (tmp_path / "corpus" / "left_out.jsonl").read_text().splitlines()]
    assert "mine/leak.flac" in {row["name"] for row in rows if row["reason"].startswith("it sounds like")}
    assert "1 recordings that must not be in the corpus cannot be recognised there" in result.stdout
    assert "it has too few spectral peaks" in result.stdout


def test_packages_that_must_not_be_there(make, recordings, tmp_path):
    """Their recordings are recognised whatever their licence; what is too short to be recognised is told."""
    copyright_file = b"Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
    files = {
        "usr/share/kits/secret.wav": (recordings / "theirs" / "secret.wav").read_bytes(),
        "usr/share/kits/broken.wav": b"RIFF",
        "usr/share/doc/kits/copyright": copyright_file,
    }
    rows = []
    for name, content in (("kits", files), ("silence", {"usr/share/doc/silence/copyright": copyright_file})):
        path = tmp_path / f"{name}_1_all.deb"
        write_deb(path, content)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows.append({"name": name, "version": "1", "sha256": digest, "never": True})
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(rows[:1]))
    arguments = ["--folder", "effects", "CC0", recordings / "mine", "--debs", tmp_path]
    arguments += ["--packages", tmp_path / "list.yaml"]
    result = make(*arguments)
    assert result.error is None
    assert "1 recordings that must not be in the corpus cannot be recognised there, such as 'kits/usr" in result.stdout
    left_out = (tmp_path / "corpus" / "left_out.jsonl").read_text()
    assert "it sounds like kits/usr/share/kits/secret.wav (" in left_out
    shutil.rmtree(tmp_path / "corpus")
    (tmp_path / "list.yaml").write_text(yaml.safe_dump(rows))
    assert "'silence' has no recording that could be recognised in the corpus." in make(*arguments).error


def test_another_list_of_what_must_not_be_there(make, recordings):
    arguments = ["--folder", "effects", "CC0", recordings / "mine"]
    assert make(*arguments, "--never", recordings / "theirs").error is None
    soundfile.write(recordings / "theirs" / "second.wav", melody(np.random.default_rng(9)), 16000)
    result = make(*arguments, "--never", recordings / "theirs")
    assert "was made with another --never" in result.error


def test_a_source_with_other_files_or_settings(make, recordings):
    arguments = ["--folder", "effects", "CC0", recordings / "mine"]
    assert make(*arguments).error is None
    result = make("--folder", "music", *arguments[2:])
    assert "mine' is in the corpus in" in result.error and "with other settings or files" in result.error
    soundfile.write(recordings / "mine" / "d.wav", melody(np.random.default_rng(9)), 16000)
    assert "with other settings or files. Make the corpus anew in another folder." in make(*arguments).error


def test_two_folders_of_one_name(make, recordings):
    shutil.copytree(recordings / "mine", recordings / "other" / "mine")
    folders = (recordings / "mine", recordings / "other" / "mine")
    arguments = [word for folder in folders for word in ("--folder", "effects", "CC0", folder)]
    for words in (arguments, [*arguments[:4], "--never", *folders]):
        result = make(*words)
        assert "Two sources have the name 'mine', by which recordings are told apart. Rename one." in result.error


def test_a_licence_that_does_not_allow_it(make, recordings):
    result = make("--folder", "effects", "CC-BY-NC-4.0", recordings / "mine")
    assert "The licence 'CC-BY-NC-4.0' of" in result.error
    assert "does not allow what is done here, or is unknown" in result.error


def test_an_interrupted_run_goes_on(make, recordings, tmp_path):
    """A source that was not finished is gone through again, and what is there is kept."""
    arguments = ["--folder", "effects", "CC0", recordings / "mine"]
    assert make(*arguments).error is None
    whole = (tmp_path / "corpus" / "samples.i16").read_bytes()
    lines = (tmp_path / "corpus" / "recordings.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "corpus" / "recordings.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    (tmp_path / "corpus" / "finished_sources.jsonl").unlink()
    result = make("--folder", "effects", "CC-BY-4.0", recordings / "mine")
    assert "mine' is in the corpus in" in result.error and "with other settings or files" in result.error
    assert make(*arguments).error is None
    assert (tmp_path / "corpus" / "samples.i16").read_bytes() == whole


def test_any_name_of_a_file(make, recordings, tmp_path):
    with open(os.fsencode(recordings / "mine") + b"/\xff.wav", "wb") as file:
        file.write((recordings / "theirs" / "secret.wav").read_bytes())
    shutil.copy(recordings / "mine" / "a.wav", recordings / "mine" / "z\u2028.wav")
    os.rename(recordings / "theirs" / "secret.wav", os.fsencode(recordings / "theirs") + b"/\xfe.wav")
    arguments = ["--folder", "effects", "CC0", recordings / "mine", "--never", recordings / "theirs"]
    for _ in range(2):
        result = make(*arguments)
        assert result.error is None
        assert "it is a copy of another recording" in result.stdout
    reasons = {row["name"]: row["reason"] for row in read_lines(tmp_path / "corpus" / "left_out.jsonl")}
    assert reasons[os.fsdecode(b"mine/\xff.wav")].startswith(os.fsdecode(b"it sounds like theirs/\xfe.wav ("))
    assert reasons["mine/z\u2028.wav"] == "it is a copy of another recording"


def test_a_package_that_is_gone_is_named_and_the_others_go_on(make, recordings, tmp_path):
    (tmp_path / "debs").mkdir()
    path = tmp_path / "debs" / "game_1.0_all.deb"
    files = {"usr/share/game/a.wav": (recordings / "mine" / "a.wav").read_bytes()}
    write_deb(path, files | {"usr/share/doc/other/copyright": b"CC0\n"})
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = [
        {"name": "gone", "version": "9", "sha256": "0" * 64, "licence": "CC0"},
        {"name": "game", "version": "1.0", "sha256": "1" * 64, "licence": "CC0"},
        {"name": "other", "version": "1.0", "sha256": sha256, "licence": "CC0"},
    ]
    shutil.copy(path, tmp_path / "debs" / "other_1.0_all.deb")
    (tmp_path / "packages.yaml").write_text(yaml.safe_dump(rows))
    result = make("--packages", tmp_path / "packages.yaml", "--debs", tmp_path / "debs")
    assert result.error is None
    assert "gone 9 cannot be downloaded" in result.stdout or "there is no apt-get" in result.stdout
    assert "game_1.0_all.deb has the SHA-256" in result.stdout
    assert [row.source for row in AudioPool(tmp_path / "corpus").recordings] == ["other"]


def test_a_data_set_without_audio(make, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "train.csv").write_text("text\nhello\n")
    result = make("--hub", "effects", "CC0", tmp_path / "texts")
    assert "has no column of audio, only " in result.error


def test_a_data_set_as_on_the_hub(make, recordings, tmp_path):
    result = make("--hub", "effects", "CC0", recordings / "mine", "--clips_per_hub_set", "2")
    assert result.error is None
    assert len(AudioPool(tmp_path / "corpus").recordings) == 2


def test_nothing_to_learn_from(make, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty' has no recordings." in make("--folder", "effects", "CC0", tmp_path / "empty").error
    assert "missing' is not a folder." in make("--folder", "effects", "CC0", tmp_path / "missing").error
    assert "nowhere' is not a folder." in make("--never", tmp_path / "nowhere").error  # before anything is fetched
    assert "has no recording: see" in make().error
    assert "There is no synthesiser 'kazoo', expected one of espeak-ng" in make("--synthesise", "kazoo", "1").error
