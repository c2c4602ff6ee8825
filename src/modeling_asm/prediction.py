"""Classify a folder, a manifest or a data set of any size into Parquet files, block by block.

Each Parquet file holds a block of rows: the `row` and `file` of a clip, its best `label` and `score`, the `scores` of
all classes in the order of `predictions.json`, or the `error` of an unreadable file; `errors.csv` lists these.
The same call continues after an interruption: a block is complete or absent. ASM classifies the whole clip in
overlapping windows; other models classify its beginning. Decoding and extraction run in other processes, ahead of the
model.
"""

import csv
import hashlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from datasets import Dataset, DatasetDict
from torch.utils.data import DataLoader, IterableDataset
from tqdm.auto import tqdm
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, PreTrainedModel

from .audio.files import AudioFileError
from .audio.sources import open_audio
from .audio.windows import read_pieces, read_windows
from .general import resolve_checkpoint
from .loading import check_checkpoint, check_weights
from .scoring import score_clip
from .training.data.clips import columns_to_rows
from .training.data.decoding import clip_name, fingerprint
from .training.data.loading import DataArguments, load_audio_dataset, silent
from .training.data.splits import find_split
from .training.frontend import Frontend
from .training.models import checkpoint_name
from .training.report.tables import format_table, write_json
from .training.run_folder import UNFINISHED, check_processes, clear_unfinished, open_run, saving


SECONDS = 10.0  # window of a model that takes waveforms


@dataclass
class PredictArguments:
    """The model, the output, and how to compute."""

    model: str = field(metadata={"help": "Folder of a checkpoint, or its name on the Hub."})
    output_dir: str = field(metadata={"help": "Folder for the Parquet files."})
    split: str | None = field(default=None, metadata={"help": "Split to classify (default: the only one)."})
    model_revision: str = field(
        default="main", metadata={"help": "Branch, tag or commit of the checkpoint (default: %(default)s)."}
    )
    trust_remote_code: bool = field(default=False, metadata={"help": "Run code from the checkpoint."})
    seconds: float | None = field(
        default=None,
        metadata={"help": f"Window of a model that takes waveforms, such as wav2vec2 (default: {SECONDS:g})."},
    )
    batch_size: int = field(default=32, metadata={"help": "Windows per batch (default: %(default)s)."})
    rows_per_file: int = field(default=2048, metadata={"help": "Clips per Parquet file (default: %(default)s)."})
    num_workers: int = field(
        default=1, metadata={"help": "Decoding processes, for each process of the model (default: %(default)s)."}
    )
    mixed_precision: str | None = field(default=None, metadata={"help": "no, bf16 or fp16 (default: as launched)."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})

    def __post_init__(self):
        for name, least in (("batch_size", 1), ("rows_per_file", 1), ("num_workers", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}.")
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"--seconds must be above 0, got {self.seconds}.")


class ClipReader(IterableDataset):
    """Read the windows of the blocks of this process, ahead of the model. Workers share the blocks.

    Args:
        clips: A data set, or a stream.
        frontend: The model's feature extractor and window.
        window_shift: Distance between the windows of a clip, in frames; `None` for models that take one window.
        args: Sizes of batches and blocks.
        process: Index of this process, and their number.
        done: Indices of the finished blocks.
        channel: Number of a channel of each clip, from 0, to take instead of the mean of all.
    """

    def __init__(
        self,
        clips,
        frontend: Frontend,
        window_shift: int | None,
        args: PredictArguments,
        process: tuple[int, int],
        done: set[int],
        channel: int | None = None,
    ):
        self.clips, self.frontend, self.window_shift = clips, frontend, window_shift
        self.args, self.process, self.done, self.channel = args, process, done, channel

    def __iter__(self) -> Iterator[dict]:
        worker = torch.utils.data.get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        for block, rows in self.blocks(number, workers):
            windows = self.read(rows, first=block * self.args.rows_per_file)
            while batch := list(itertools.islice(windows, self.args.batch_size)):
                yield {"block": block, "windows": batch, "ended": False}
            yield {"block": block, "windows": [], "ended": True}

    def blocks(self, worker: int, workers: int) -> Iterator[tuple[int, Iterator[dict]]]:
        """Yield the blocks of a worker, with their rows, which are read one by one: they may hold whole files."""
        size, (process, processes) = self.args.rows_per_file, self.process

        def mine(block: int) -> bool:
            return block % (processes * workers) == process + worker * processes and block not in self.done

        if isinstance(self.clips, Dataset):
            for block in filter(mine, range(-(-len(self.clips) // size))):
                rows = range(block * size, min((block + 1) * size, len(self.clips)))
                yield block, map(self.clips.__getitem__, rows)
        else:
            rows = itertools.chain.from_iterable(map(columns_to_rows, self.clips.iter(1)))
            for block, numbered in itertools.groupby(enumerate(rows), lambda row: row[0] // size):
                if mine(block):
                    yield block, (row for _, row in numbered)

    def num_clips(self) -> int | None:
        """Return the number of clips of this process; `None` for a stream."""
        if not isinstance(self.clips, Dataset):
            return None
        size, (process, processes) = self.args.rows_per_file, self.process
        starts = [
            block * size for block in range(process, -(-len(self.clips) // size), processes) if block not in self.done
        ]
        return sum(min(size, len(self.clips) - start) for start in starts)

    def read(self, rows: Iterable[dict], first: int) -> Iterator[tuple[dict | None, dict | None]]:
        """Yield the windows of each clip, and then `None` and the clip, with its error if it cannot be read."""
        for number, row in enumerate(rows, start=first):
            clip = {"row": number, "file": clip_name(row["audio"], number), "error": None}
            try:
                for window in self.windows(row["audio"]):
                    yield window, None
            except (AudioFileError, TypeError, ValueError) as error:
                clip["error"] = str(error)
            yield None, clip

    def windows(self, audio: dict) -> Iterator[dict[str, torch.Tensor]]:
        """Decode a clip and extract the model's inputs, without a batch axis."""
        blocks = open_audio(audio, self.frontend.sampling_rate, self.channel)
        if self.window_shift is not None:
            for _, _, window in read_windows(blocks, self.frontend.feature_extractor, self.window_shift):
                yield {"input_values": window.clone()}  # not the frames around it, which travel with a view
        else:
            for waveform in read_pieces(blocks, self.frontend.window_samples):
                yield {name: value[0] for name, value in self.frontend.extract([waveform]).items()}


def predict(args: PredictArguments, data_args: DataArguments):
    """Classify the remaining blocks, and write and print a summary.

    Args:
        args: The model, the output, and how to compute.
        data_args: The clips.

    Raises:
        OSError: If data or checkpoint do not exist.
        ValueError: If arguments or data are invalid, or no clip could be classified.
        CheckpointError: If a block cannot be saved.
    """
    accelerator = Accelerator(cpu=args.use_cpu, mixed_precision=args.mixed_precision)
    check_processes(accelerator.num_processes)
    folder = Path(args.output_dir)
    options = {"revision": args.model_revision, "trust_remote_code": args.trust_remote_code}
    say = print if accelerator.is_main_process else silent
    clips = choose_split(load_audio_dataset(data_args, False, say), args.split, data_args.name)
    checkpoint = resolve_checkpoint(args.model)
    check_checkpoint(checkpoint)
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint, **options)
    model, loading = AutoModelForAudioClassification.from_pretrained(
        checkpoint, dtype=torch.float32, output_loading_info=True, **options
    )
    check_weights(checkpoint, loading)
    model.eval()
    frontend = Frontend(feature_extractor, args.seconds or SECONDS)
    if args.seconds:
        frontend.check_seconds(args.seconds, checkpoint_name(args.model))
    settings = {**asdict(data_args), "split": args.split, "rows_per_file": args.rows_per_file}
    settings |= {"model": digest_model(model, feature_extractor), "seconds": frontend.seconds}
    settings |= {"mixed_precision": accelerator.mixed_precision}
    if isinstance(clips, Dataset):
        settings["clips"] = fingerprint(DatasetDict(all=clips), contents=False)
    with accelerator.main_process_first():
        open_run(folder, settings, "rows-*")
    if accelerator.is_main_process:
        clear_unfinished(folder)
    accelerator.wait_for_everyone()

    model = model.to(accelerator.device)
    labels = [model.config.id2label[index] for index in range(model.config.num_labels)]
    done = {int(file.stem.split("-")[1]) for file in folder.glob("rows-*.parquet")}
    process = (accelerator.process_index, accelerator.num_processes)
    shift = getattr(model.config, "window_shift", None)
    reader = ClipReader(clips, frontend, shift, args, process, done, data_args.channel)
    loader = DataLoader(reader, batch_size=None, num_workers=args.num_workers)

    blocks: dict[int, tuple[list[dict], list[list[float]]]] = {}
    start, number = time.perf_counter(), 0
    share = f"Classifying, 1 of {process[1]} processes" if process[1] > 1 else "Classifying"
    with tqdm(
        total=reader.num_clips(), unit="clip", desc=share, disable=not accelerator.is_local_main_process
    ) as progress:
        for batch in loader:
            rows, pending = blocks.setdefault(batch["block"], ([], []))  # `pending`: logits of the current clip so far
            before, logits = len(rows), iter(classify(accelerator, model, batch["windows"]))
            for window, clip in batch["windows"]:
                if window is not None:
                    pending.append(next(logits))
                else:
                    rows.append(finish_clip(clip, pending, model.config, labels))
                    pending.clear()
            number += len(rows) - before
            progress.update(len(rows) - before)
            if batch["ended"]:
                with saving(f"block {batch['block']}"):
                    write_block(folder, batch["block"], blocks.pop(batch["block"])[0])
    number = accelerator.reduce(torch.tensor(number, device=accelerator.device)).item()  # waits for all processes
    seconds = time.perf_counter() - start
    good = not accelerator.is_main_process or finish(folder, args, data_args, labels, number / seconds)
    accelerator.wait_for_everyone()  # not `end_training`, after which gloo's threads may deadlock at exit
    if not good:
        raise ValueError("No clip could be classified: see errors.csv.")


def choose_split(dataset, split: str | None, name: str):
    """Return the requested split, or the only one."""
    if split is None and len(dataset) > 1:
        raise ValueError(f"{name!r} has the splits {', '.join(dataset)}. Choose one with --split.")
    found = find_split(dataset, split)
    if found is not None and found not in dataset:
        raise ValueError(f"There is no split {split!r}. The data has: {', '.join(dataset)}.")
    return dataset[found] if found else next(iter(dataset.values()))


def digest_model(model: PreTrainedModel, feature_extractor) -> str:
    """Return a digest of a model: of its weights, labels and feature extractor."""
    names = ("id2label", "problem_type", "window_overlap", "window_aggregation")
    fields = [getattr(model.config, name, None) for name in names]
    digest = hashlib.sha256(f"{fields} {feature_extractor.to_json_string()}".encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


@torch.inference_mode()
def classify(accelerator: Accelerator, model, windows: list[tuple]) -> list[list[float]]:
    """Return the logits of each window of a batch: hours of small tensors would fragment the memory."""
    inputs = [window for window, _ in windows if window is not None]
    if not inputs:
        return []
    batch = {name: torch.stack([window[name] for window in inputs]).to(accelerator.device) for name in inputs[0]}
    with accelerator.autocast():
        return model(**batch).logits.float().tolist()


def finish_clip(clip: dict, logits: list[list[float]], config, labels: list[str]) -> dict:
    """Return the row of a clip: its scores, or its error."""
    empty = {"label": None, "score": None, "scores": None}
    if clip["error"] is not None:
        return clip | empty
    scores = score_clip(torch.tensor(logits), config)
    if not scores.isfinite().all():
        return clip | empty | {"error": f"The scores of {clip['file']!r} are not finite. Check its samples."}
    best = scores.argmax().item()
    return clip | {"label": labels[best], "score": scores[best].item(), "scores": scores.tolist()}


SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("file", pa.string()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("scores", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


def write_block(folder: Path, block: int, rows: list[dict]):
    """Write a block of rows atomically."""
    part = folder / f"{UNFINISHED}{block:06d}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), part)
    os.replace(part, folder / f"rows-{block:06d}.parquet")


def finish(folder: Path, args: PredictArguments, data_args: DataArguments, labels: list[str], speed: float) -> bool:
    """Write errors and summary of all files, print the summary, and return whether a clip was classified."""
    files = sorted(folder.glob("rows-*.parquet"))
    rows, counts, errors = 0, dict.fromkeys(labels, 0), []
    for file in files:
        table = pq.read_table(file, columns=["row", "file", "label", "error"])
        rows += table.num_rows
        for row in table.to_pylist():
            if row["error"] is None:
                counts[row["label"]] += 1
            else:
                errors.append((row["row"], row["file"], row["error"]))
    with open(folder / "errors.csv", "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("row", "file", "error"), *errors])
    described = {"model": Path(args.model).name, "data": data_args.name, "labels": labels, "rows": rows}
    write_json(described | {"errors": len(errors), "clips_per_label": counts}, folder / "predictions.json")
    frequent = sorted(counts.items(), key=lambda item: -item[1])[:10]
    print("\n" + format_table([("label", "clips"), *frequent]))
    print(f"\n{rows} rows in {len(files)} files, {len(errors)} of them unreadable (errors.csv), {speed:.0f} clips/s.")
    if errors:
        print(f"The first of these is row {errors[0][0]}: {errors[0][2]}")
    return len(errors) < rows
