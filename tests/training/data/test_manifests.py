import json
import os

import pytest
from files import touch, write_csv
from hypothesis import given
from hypothesis import strategies as st

from modeling_asm.training.data.manifests import read_manifest, resolve_inside


def test_a_manifest_elsewhere(tmp_path):
    touch(tmp_path, "audio/1.wav")
    write_csv(tmp_path / "list.csv", ("path", "class", "fold"), ("1.wav", "dog", "3"))
    columns = read_manifest(tmp_path / "list.csv", tmp_path / "audio", "path", "class")
    assert columns == {"audio": [str(tmp_path / "audio" / "1.wav")], "label": ["dog"], "fold": ["3"]}


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.wav"])
def test_a_manifest_cannot_leave_the_data_folder(tmp_path, name):
    write_csv(tmp_path / "list.csv", ("file_name", "label"), (name, "dog"))
    with pytest.raises(ValueError, match=r"list\.csv' names '.*', which is outside '"):
        read_manifest(tmp_path / "list.csv")


@given(st.text(min_size=1, max_size=30).filter(lambda text: "\0" not in text))
def test_no_name_at_all_leaves_the_folder(tmp_path, name):
    try:
        path = resolve_inside(tmp_path, name, "list")
    except (ValueError, OSError):
        return
    assert path.resolve().is_relative_to(tmp_path.resolve())


@pytest.mark.parametrize(
    ("header", "label_column", "words"),
    [
        (("file", "label"), None, ["'file_name'", "file, label", "--audio_column"]),
        (("file_name", "class"), None, ["'label'", "file_name, class", "--label_column"]),
        (("file_name", "label"), "species", ["'species'", "file_name, label"]),
        (("file_name", "label", "label"), None, ["two columns 'label'", "Rename or remove"]),
        (("file_name", "label", "labels"), None, ["two label columns", "--label_column"]),
    ],
    ids=["no-file", "no-label", "no-named-label", "one-name-twice", "two-label-columns"],
)
def test_columns_that_do_not_do(tmp_path, header, label_column, words):
    write_csv(tmp_path / "list.csv", header, ("1.wav", "a", "b")[: len(header)])
    with pytest.raises(ValueError) as error:
        read_manifest(tmp_path / "list.csv", label_column=label_column)
    for word in (*words, "list.csv"):
        assert word in str(error.value)


def test_json_with_one_name_twice_or_none(tmp_path):
    (tmp_path / "list.jsonl").write_text('{"file_name": "1.wav", "label": "a", "label": "b"}\n')
    with pytest.raises(ValueError, match="two columns 'label'"):
        read_manifest(tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text('{"file_name": "1.wav", "label": "a"}\nno json\n')
    with pytest.raises(ValueError, match="no JSON object in line 2"):
        read_manifest(tmp_path / "list.jsonl")
    (tmp_path / "list.jsonl").write_text("5\n")
    with pytest.raises(ValueError, match="no JSON object in line 1: 5"):
        read_manifest(tmp_path / "list.jsonl")


@pytest.mark.parametrize(("row", "column"), [(("1.wav", ""), "label"), (("", "a"), "file_name"), (("1.wav",), "label")])
def test_a_gap_names_the_row(tmp_path, row, column):
    write_csv(tmp_path / "list.csv", ("file_name", "label"), ("2.wav", "b"), row)
    with pytest.raises(ValueError, match=rf"list\.csv' has no '{column}' in line 3"):
        read_manifest(tmp_path / "list.csv")


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl"])
def test_lines_are_counted_as_an_editor_does(tmp_path, name):
    if name.endswith(".csv"):
        text = 'file_name,label\n\n"1\n.wav",a\n\n2.wav,\n'
    else:
        text = '\n{"file_name": "1.wav", "label": "a"}\n\n\n{"file_name": "2.wav"}\n'
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r"has no 'label' in line (6|5)\. Add it, or remove the line") as error:
        read_manifest(tmp_path / name)
    assert f"line {6 if name.endswith('.csv') else 5}" in str(error.value)


def test_spaces_around_the_names_of_columns(tmp_path):
    (tmp_path / "list.csv").write_text("file_name, label\n1.wav,cat\n")
    assert read_manifest(tmp_path / "list.csv")["label"] == ["cat"]


def test_a_value_too_many(tmp_path):
    (tmp_path / "list.csv").write_text("file_name,label\n1.wav,cat,dog\n")
    message = r"list\.csv' has 3 values in line 2, and 2 columns\. Put a value that has a comma in quotation marks"
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "list.csv")


def test_a_clip_without_any_of_several_labels(tmp_path):
    (tmp_path / "list.jsonl").write_text(
        '{"file_name": "1.wav", "labels": ["a", "b"]}\n{"file_name": "2.wav", "labels": []}\n'
    )
    assert read_manifest(tmp_path / "list.jsonl")["label"] == [["a", "b"], []]


def test_links_that_lead_elsewhere(tmp_path):
    """As in the cache of huggingface_hub: the files of a snapshot are links to those of all snapshots."""
    touch(tmp_path, "blobs/1", "blobs/2")
    (tmp_path / "snapshot").mkdir()
    for name, blob in (("1.wav", "1"), ("metadata.csv", "2")):
        (tmp_path / "snapshot" / name).symlink_to(tmp_path / "blobs" / blob)
    write_csv(tmp_path / "blobs" / "2", ("file_name", "label"), ("1.wav", "a"))
    assert read_manifest(tmp_path / "snapshot" / "metadata.csv")["audio"] == [str(tmp_path / "snapshot" / "1.wav")]
    write_csv(tmp_path / "blobs" / "2", ("file_name", "label"), ("../blobs/1", "a"))
    with pytest.raises(ValueError, match=r"names '\.\./blobs/1', which is outside '.*snapshot'"):
        read_manifest(tmp_path / "snapshot" / "metadata.csv")


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifest"):
        read_manifest(tmp_path / "nowhere.csv")
    (tmp_path / "list.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"its name must end in \.csv or \.jsonl"):
        read_manifest(tmp_path / "list.xlsx")


def test_a_damaged_csv(tmp_path):
    (tmp_path / "clips.csv").write_text('file_name,label\n1.wav,"yes\n')
    with pytest.raises(ValueError, match=r"clips\.csv' is not valid CSV after line 1: unexpected end of data"):
        read_manifest(tmp_path / "clips.csv")


def test_text_that_is_not_in_utf8(tmp_path):
    (tmp_path / "list.csv").write_bytes("file_name,label\n天气.wav,a\n".encode("gbk"))
    with pytest.raises(ValueError, match=r"list\.csv' is not UTF-8: .* Save it as UTF-8"):
        read_manifest(tmp_path / "list.csv")


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_columns_that_are_not_separated_by_commas(tmp_path, separator, name):
    (tmp_path / "list.csv").write_text(f"file_name{separator}label\n1.wav{separator}dog\n")
    with pytest.raises(ValueError, match=rf"list\.csv' are separated by {name}, expected commas"):
        read_manifest(tmp_path / "list.csv")


def test_paths_of_windows(tmp_path):
    write_csv(tmp_path / "list.csv", ("file_name", "label"), (r"dog\1.wav", "dog"))
    message = r"list\.csv' names 'dog\\\\1\.wav', a path of Windows\. Write it with slashes: 'dog/1\.wav'\."
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / "list.csv")
    (tmp_path / r"dog\1.wav").touch()  # a name with a backslash
    assert read_manifest(tmp_path / "list.csv")["audio"] == [str(tmp_path / r"dog\1.wav")]


def test_a_pipe(tmp_path):
    """As `<(command)` of a shell names it."""
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(ValueError, match=r"The manifest '.*list\.csv' is a pipe, which cannot be read twice"):
        read_manifest(tmp_path / "list.csv")


def test_a_file_that_is_named_twice(tmp_path):
    write_csv(tmp_path / "list.csv", ("file_name", "label"), ("1.wav", "a"), ("2.wav", "a"), ("./1.wav", "b"))
    with pytest.raises(ValueError, match=r"list\.csv' names 1 files more than once, '1\.wav' first\. Keep one row"):
        read_manifest(tmp_path / "list.csv")


def test_a_label_of_spaces_is_a_gap(tmp_path):
    write_csv(tmp_path / "list.csv", ("file_name", "label"), ("1.wav", "  "))
    with pytest.raises(ValueError, match=r"has no 'label' in line 2"):
        read_manifest(tmp_path / "list.csv")


def test_a_line_separator_in_a_label(tmp_path):
    row = json.dumps({"file_name": "1.wav", "label": "a\u2028b"}, ensure_ascii=False)
    (tmp_path / "list.jsonl").write_text(row + "\n", encoding="utf-8")
    assert read_manifest(tmp_path / "list.jsonl")["label"] == ["a\u2028b"]
