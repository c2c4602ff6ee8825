"""The way to the Hub and back, by the unpatched clients, against the stand-in of hub.py: each in its own process."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from hub import TOKEN, running_hub
from hub import run_with_hub as run
from strangers import EVERY_AUTO_CLASS, PRINT, TRAVELLING


pytestmark = pytest.mark.slow


PUSH_TONES = """
import io, sys
import numpy as np, soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict

def wav(frequency):
    file = io.BytesIO()
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * frequency * np.arange(3200) / 16000), 16000, format="WAV")
    return file.getvalue()

rng = np.random.default_rng(0)
rows = [{"path": f"{row}.wav", "bytes": wav((300 if row % 2 else 1500) * rng.uniform(0.9, 1.1))} for row in range(40)]
dataset = Dataset.from_dict({"audio": rows, "pitch": [row % 2 for row in range(40)]})
dataset = dataset.cast_column("audio", Audio(decode=False)).cast_column("pitch", ClassLabel(names=["high", "low"]))
splits = DatasetDict(train=dataset.select(range(30)), test=dataset.select(range(30, 40)))
splits.push_to_hub(sys.argv[1], private=len(sys.argv) > 2)
"""

TRAIN, PREDICT = ("-m", "modeling_asm.commands.train"), ("-m", "modeling_asm.commands.predict")
QUICK = ["--use_cpu", "--per_device_train_batch_size", "5", "--measure_cost", "false", "--resamples", "20"]
TONES = ["--dataset_name", "ann/tones", "--label_column", "pitch"]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with running_hub() as hub:
        run(hub, tmp_path_factory.mktemp("push"), "-c", PUSH_TONES, "ann/tones")
        yield hub


def stranger(hub, folder, name, package: bool, revision=None) -> dict:
    """Load a model from the Hub in a clean process, with this package or with the checkpoint's own code."""
    if not package:
        (folder / "blocked" / "modeling_asm").mkdir(parents=True, exist_ok=True)
        (folder / "blocked" / "modeling_asm" / "__init__.py").write_text("raise ImportError('not installed here')\n")
    code = "import json, sys\nfolder = sys.argv[1]\n" + EVERY_AUTO_CLASS + PRINT
    if package:
        code = code.replace('    sys.exit("the package is there")\n', "")
    variables = {} if package else {"PYTHONPATH": str(folder / "blocked")}
    return json.loads(run(hub, folder, "-c", code, name, **variables).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def published(hub, tmp_path_factory, pytestconfig):
    """A model that `asm-train` trained on a data set of the Hub, and published."""
    folder = tmp_path_factory.mktemp("train")
    arguments = [
        *TONES,
        *QUICK,
        "--size",
        "tiny",
        "--num_train_epochs",
        "12",
        "--output_dir",
        folder / "model",
        "--dev_fraction",
        "0.2",
    ]
    arguments += ["--push_to_hub", "--hub_model_id", "ann/tones-tiny", "--licence", "cc0-1.0"]
    process = run(hub, folder, *TRAIN, *arguments, "--hub_token", TOKEN)
    assert "Published: ann/tones-tiny" in process.stdout
    return folder


def test_a_run_leaves_a_whole_repository(hub, published):
    files = hub.files("ann/tones-tiny")
    code = {f"{name}.py" for name in TRAVELLING}
    assert {
        "model.safetensors",
        "config.json",
        "preprocessor_config.json",
        "README.md",
        "LICENSE",
        "results.json",
    } <= set(files)
    assert code <= set(files)
    assert not [
        name for name in files if name.endswith((".bin", ".pt", ".pth")) or "checkpoint-" in name or name == "run.json"
    ]
    assert set(json.loads(files["config.json"])["auto_map"]) == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForAudioClassification",
    }
    card = files["README.md"].decode()
    assert "datasets:\n- ann/tones\n" in card
    assert 'model="ann/tones-tiny"' in card
    assert "license: cc0-1.0" in card
    assert b"Apache License" in files["LICENSE"]
    secrets = (str(published).encode(), TOKEN.encode())
    assert not any(secret in content for content in files.values() for secret in secrets)


def test_the_plain_loop_leaves_one_too(hub, tmp_path, repository):
    arguments = [*TONES, "--size", "tiny", "--num_train_epochs", "2", "--use_cpu", "--output_dir", tmp_path / "loop"]
    run(hub, tmp_path, repository / "examples" / "train_accelerate.py", *arguments)
    push = "import sys; from modeling_asm.training.report.publishing import push_to_hub; push_to_hub(*sys.argv[1:])"
    run(hub, tmp_path, "-c", push, tmp_path / "loop", "ann/loop")
    files = hub.files("ann/loop")
    assert {"model.safetensors", "preprocessor_config.json", "fbank.py", "LICENSE", "results.json"} <= set(files)
    assert not [name for name in files if "/" in name]
    assert 'model="loop"' in files["README.md"].decode()
    assert "from `results.json` by `examples/train_accelerate.py`" in files["README.md"].decode()
    assert stranger(hub, tmp_path, "ann/loop", package=True)["config"] == "ASMConfig"


@pytest.mark.parametrize("package", [True, False], ids=["with-the-package", "with-its-own-code"])
def test_a_stranger_loads_and_classifies(hub, published, tmp_path, package):
    answer = stranger(hub, tmp_path, "ann/tones-tiny", package)
    assert answer["config"] == "ASMConfig"
    assert {score["label"] for score in answer["scores"]} == {"high", "low"}
    local = stranger(hub, tmp_path, str(published / "model"), package)
    np.testing.assert_allclose(answer["head"], local["head"], atol=1e-6)


def test_the_base_model_of_the_next_is_named(hub, published, tmp_path, repository):
    arguments = [*TONES, *QUICK, "--num_train_epochs", "1", "--output_dir", tmp_path / "tuned"]
    arguments += ["--model_name_or_path", "ann/tones-tiny", "--streaming", "--max_steps", "3"]
    run(hub, tmp_path, *TRAIN, *arguments)
    results = json.loads((tmp_path / "tuned" / "results.json").read_text())
    assert results["model"]["base_model"] == "ann/tones-tiny"
    assert results["training"]["steps"] == 3
    assert results["data"]["clips"] == {"test": 10}  # a stream: nobody knows how long train is
    assert "base_model: ann/tones-tiny" in (tmp_path / "tuned" / "README.md").read_text()


def test_a_stream_of_an_audiofolder(hub, tones, tmp_path):
    """Whose rows are names of files on the Hub."""
    push = "import sys; from huggingface_hub import HfApi; api = HfApi(); "
    push += "api.create_repo('ann/folder', repo_type='dataset'); "
    push += "api.upload_folder(repo_id='ann/folder', repo_type='dataset', folder_path=sys.argv[1])"
    run(hub, tmp_path, "-c", push, tones)
    read = "import hashlib, json; from modeling_asm.training.data.loading import DataArguments, load_audio_dataset; "
    read += "rows = load_audio_dataset(DataArguments(dataset_name='ann/folder', streaming=True))['train']; "
    read += "print(json.dumps([[row['label'], hashlib.sha256(row['audio']['bytes']).hexdigest()] for row in rows]))"
    rows = json.loads(run(hub, tmp_path, "-c", read).stdout.splitlines()[-1])
    files = sorted(tones.glob("*/*.wav"))
    contents = [[int(file.parent.name == "low"), hashlib.sha256(file.read_bytes()).hexdigest()] for file in files]
    assert sorted(rows) == sorted(contents)


def test_predictions_of_a_stream(hub, published, tmp_path, repository):
    arguments = ["--model", "ann/tones-tiny", "--dataset_name", "ann/tones", "--streaming", "--split", "train"]
    arguments += ["--output_dir", tmp_path / "out", "--rows_per_file", "8", "--use_cpu"]
    run(hub, tmp_path, *PREDICT, *arguments)
    rows = [row for file in sorted((tmp_path / "out").glob("rows-*")) for row in pq.read_table(file).to_pylist()]
    assert [row["row"] for row in rows] == list(range(30))
    assert rows[3]["file"] == "3.wav"
    right = np.mean([row["label"] == ("low" if row["row"] % 2 else "high") for row in rows])
    assert right > 0.9


BY_HAND = """
import sys, torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
import modeling_asm

folder, name = sys.argv[1:]
model = AutoModelForAudioClassification.from_pretrained(folder)
ModelCard.load(f"{folder}/README.md").push_to_hub(name)
HfApi().upload_file(path_or_fileobj=f"{folder}/LICENSE", path_in_repo="LICENSE", repo_id=name)
model.push_to_hub(name)
AutoFeatureExtractor.from_pretrained(folder).push_to_hub(name)
first = HfApi().model_info(name).sha
HfApi().create_tag(name, tag="v1")
torch.nn.init.zeros_(model.classifier.weight)
model.push_to_hub(name)
old = AutoModelForAudioClassification.from_pretrained(name, revision="v1")
pinned = AutoModelForAudioClassification.from_pretrained(name, revision=first)
new = AutoModelForAudioClassification.from_pretrained(name)
print(torch.equal(old.classifier.weight, pinned.classifier.weight), bool((new.classifier.weight == 0).all()),
      bool((old.classifier.weight == 0).all()))
"""


def test_pushed_by_hand_and_pinned(hub, published, tmp_path):
    create = "from huggingface_hub import create_repo; create_repo('ann/by-hand')"
    run(hub, tmp_path, "-c", create)
    process = run(hub, tmp_path, "-c", BY_HAND, published / "model", "ann/by-hand")
    assert process.stdout.splitlines()[-1] == "True True False"
    assert {"README.md", "LICENSE", "fbank.py", "preprocessor_config.json"} <= set(hub.files("ann/by-hand"))
    assert "## Cost" not in hub.files("ann/by-hand")["README.md"].decode()  # it was not measured, so it is left out
    assert stranger(hub, tmp_path, "ann/by-hand", package=False)["config"] == "ASMConfig"


TRAINER = """
import sys
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Trainer, TrainingArguments
import modeling_asm
from modeling_asm.training.data import DataArguments, load_audio_dataset
from modeling_asm.training.data.clips import ClipDataset, ClipTransform, collate_clips
from modeling_asm.training.data.decoding import decode_audio
from modeling_asm.training.frontend import Frontend

def collate(batch):
    return {name: value for name, value in collate_clips(batch).items() if name != "index"}

folder = sys.argv[1]
model = AutoModelForAudioClassification.from_pretrained(folder)
extractor = AutoFeatureExtractor.from_pretrained(folder)
dataset = load_audio_dataset(DataArguments(dataset_name="ann/tones", label_column="pitch"))
clips, _ = decode_audio(dataset["train"], 16000)
rows = ClipDataset(clips, ClipTransform(Frontend(extractor, 1.0), clips.features))
args = {"push_to_hub": True, "hub_model_id": "ann/trainer", "use_cpu": True, "report_to": "none"}
args = TrainingArguments("out", max_steps=2, remove_unused_columns=False, **args)
trainer = Trainer(model, args, collate, train_dataset=rows, processing_class=extractor)
trainer.train()
trainer.push_to_hub(tasks="audio-classification")
"""


def test_transformers_own_trainer_pushes(hub, published, tmp_path):
    run(hub, tmp_path, "-c", TRAINER, published / "model")
    assert stranger(hub, tmp_path, "ann/trainer", package=False)["config"] == "ASMConfig"


def test_a_push_that_fails_in_the_midst(hub, published, tmp_path):
    """The files are there, the commit fails: nobody sees a half; the next push succeeds."""
    push = "from modeling_asm.training.report.publishing import push_to_hub, PublishingError\nimport sys\n"
    push += "try:\n    print(push_to_hub(sys.argv[1], 'broken'))\n"
    push += "except PublishingError as error:\n    sys.exit(str(error))\n"
    hub.failures[:] = [r"POST /api/models/ann/broken/commit/"]
    process = run(hub, tmp_path, "-c", push, published / "model", check=False)
    assert process.returncode == 1
    message = process.stderr.strip().splitlines()[-1]
    assert message.startswith("The upload to 'ann/broken' failed: ")
    assert "The repository is unchanged, and 'model' is complete. Try again later." in message
    assert hub.files("ann/broken") == {".gitattributes": b""}
    assert hub.uploads  # the weights had arrived
    assert run(hub, tmp_path, "-c", push, published / "model").stdout == "ann/broken\n"
    assert stranger(hub, tmp_path, "ann/broken", package=False)["config"] == "ASMConfig"


def test_without_a_token(hub, published, tmp_path, repository):
    """Private data and models, and a push: each says what is missing, before anything is trained."""
    run(hub, tmp_path, "-c", PUSH_TONES, "ann/secret", "private")
    script = TRAIN
    base = ["--label_column", "pitch", *QUICK, "--output_dir", tmp_path / "model", "--num_train_epochs", "1"]
    for arguments, words in (
        (["--dataset_name", "ann/secret"], "'ann/secret' doesn't exist on the Hub or cannot be accessed"),
        (
            ["--dataset_name", "ann/tones", "--push_to_hub", "--hub_model_id", "ann/new"],
            "Cannot write to 'ann/new' on the Hub",
        ),
    ):
        process = run(hub, tmp_path, *script, *base, *arguments, token=False, check=False)
        assert process.returncode == 1
        assert words in process.stderr
        assert "Traceback" not in process.stderr
    assert "hf auth login" in process.stderr
    create = "from huggingface_hub import create_repo; create_repo('ann/hidden', private=True)"
    run(hub, tmp_path, "-c", create)
    model = ["--dataset_name", "ann/tones", "--model_name_or_path", "ann/hidden"]
    process = run(hub, tmp_path, *script, *base, *model, token=False, check=False)
    assert process.returncode == 1
    assert "Traceback" not in process.stderr
    assert "ann/hidden" in process.stderr
    assert "private repository" in process.stderr
    run(hub, tmp_path / ".", *script, *base, "--dataset_name", "ann/secret")  # with a token, it loads


def test_revisions_of_data(hub, tmp_path):
    """A pinned revision, and one in a branch as that of the Hub's own conversion to Parquet."""
    repository = hub.repositories["datasets", "ann/tones"]
    repository.commit(dict(hub.files("ann/tones", "datasets")), "refs/convert/parquet")
    code = "from modeling_asm.training.data import *\nimport sys\n"
    code += "args = DataArguments(dataset_name='ann/tones', dataset_revision=sys.argv[1], label_column='pitch')\n"
    code += "print(len(load_audio_dataset(args)['train']))\n"
    for revision in ("refs/convert/parquet", repository.refs["main"]):
        assert run(hub, tmp_path, "-c", code, revision).stdout.split()[-1] == "30"


def test_a_data_set_that_is_a_script(hub, tmp_path):
    hub.repositories["datasets", "ann/old"] = type(hub.repositories["datasets", "ann/tones"])()
    hub.repositories["datasets", "ann/old"].commit({"old.py": b"import datasets\n"})
    code = "from modeling_asm.training.data import *\nload_audio_dataset(DataArguments(dataset_name='ann/old'))\n"
    process = run(hub, tmp_path, "-c", code, check=False)
    assert "ValueError: 'ann/old' is a script, which `datasets` no longer runs." in process.stderr
    assert "--dataset_revision refs/convert/parquet" in process.stderr
