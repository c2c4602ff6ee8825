"""Train an audio classifier in a plain loop with Accelerate, without Trainer: the script to change for your own ideas.

    accelerate launch examples/train_accelerate.py --data_dir recordings --output_dir my-model
    accelerate launch --config_file examples/accelerate/ddp.yaml examples/train_accelerate.py --data_dir recordings ...

The data, splits, models and augmentation are those of `train.py`. An interrupted run goes on from its last whole epoch
when the same command is given again.
"""

import math
import os
import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from datasets import DatasetDict
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from modeling_asm.training.arguments import describe_command, parse_arguments
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.cards import describe_environment
from modeling_asm.training.clips import ClipDataset, ClipTransform, clip_name, decode_audio
from modeling_asm.training.data import DataArguments, load_audio_dataset
from modeling_asm.training.labels import label_names
from modeling_asm.training.metrics import compute_scores
from modeling_asm.training.models import ModelArguments, choose_seconds, make_model, window_samples
from modeling_asm.training.report import format_scores, format_table, write_json
from modeling_asm.training.runs import UNFINISHED, clear_unfinished, open_run
from modeling_asm.training.splits import SplitArguments, choose_splits
from modeling_asm.training.trainer import audio_loss, describe_failure


@dataclass
class LoopArguments:
    output_dir: str = field(metadata={"help": "Where the model, its results and the states of the run go."})
    num_train_epochs: int = field(default=40, metadata={"help": "How often each training clip is seen."})
    batch_size: int = field(default=32, metadata={"help": "Clips in a step, over all processes."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Largest learning rate of a cosine schedule."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW."})
    warmup: float = field(default=0.1, metadata={"help": "Share of the steps in which the learning rate grows."})
    label_smoothing: float = field(default=0.1, metadata={"help": "Share of a target that is spread over all classes."})
    augment: bool = field(default=True, metadata={"help": "Whether to augment the training clips."})
    mixed_precision: str | None = field(default=None, metadata={"help": "no, bf16 or fp16; by default as launched."})
    use_cpu: bool = field(default=False, metadata={"help": "Leave GPUs alone."})
    seed: int = field(default=42, metadata={"help": "Seed of everything."})
    num_workers: int = field(default=0, metadata={"help": "Processes that prepare batches, for each process."})


def main():
    args, data_args, split_args, model_args, augmentation = parse_arguments(
        LoopArguments, DataArguments, SplitArguments, ModelArguments, Augmentation
    )
    accelerator = Accelerator(
        cpu=args.use_cpu,
        mixed_precision=args.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    folder = Path(args.output_dir)
    try:
        with accelerator.main_process_first():
            settings = {**asdict(args), **asdict(model_args), **asdict(augmentation), "output_dir": folder.name}
            open_run(folder, {**settings, "data": data_args.name, **asdict(split_args)}, "state-*")
        set_seed(args.seed)
        dataset = load_audio_dataset(data_args)
        with accelerator.main_process_first():
            dataset = DatasetDict({name: decode_audio(split, 16000)[0] for name, split in dataset.items()})
        splits, test_name = choose_splits(dataset, split_args, args.seed)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(str(error))
    if args.batch_size % accelerator.num_processes:
        sys.exit(f"--batch_size {args.batch_size} cannot be shared by {accelerator.num_processes} processes evenly.")

    features = splits["train"].features
    model, feature_extractor = make_model(model_args, splits["train"])
    window = window_samples(feature_extractor, choose_seconds(model_args, splits["train"]))
    train_transform = ClipTransform(
        feature_extractor, features, window, augmentation if args.augment else None, args.label_smoothing
    )
    eval_transform = ClipTransform(feature_extractor, features, window)
    options = {"batch_size": args.batch_size // accelerator.num_processes, "num_workers": args.num_workers}
    train_loader = DataLoader(ClipDataset(splits["train"], train_transform, args.seed), shuffle=True, **options)
    loaders = [
        DataLoader(ClipDataset(splits[name], eval_transform), **options) for name in ("dev", "test") if name in splits
    ]

    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=args.weight_decay)
    model, optimizer, train_loader, *loaders = accelerator.prepare(model, optimizer, train_loader, *loaders)
    steps = args.num_train_epochs * len(train_loader)
    scheduler = get_cosine_schedule_with_warmup(optimizer, math.ceil(args.warmup * steps), steps)
    accelerator.register_for_checkpointing(scheduler)

    names = [clip_name(audio, row) for row, audio in enumerate(splits["train"]["audio"])]
    for epoch in range(resume(accelerator, folder), args.num_train_epochs):
        try:
            loss = train_epoch(accelerator, model, train_loader, optimizer, scheduler, epoch, names)
        except FloatingPointError as error:
            sys.exit(str(error))
        line = f"epoch {epoch + 1}: loss {loss:.4f}"
        if len(loaders) == 2:
            scores, _ = evaluate(accelerator, model, loaders[0])
            line += "".join(f", {name} {value:.3f}" for name, value in scores.items())
        accelerator.print(line)
        save(accelerator, folder, epoch + 1)

    scores, clips = evaluate(accelerator, model, loaders[-1], n_resamples=1000)
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        accelerator.unwrap_model(model).save_pretrained(folder, state_dict=weights)
        feature_extractor.save_pretrained(folder)
        results = {
            "command": describe_command("train_accelerate.py", sys.argv[1:]),
            "data": {"name": data_args.name, "test_split": test_name, "labels": label_names(features)},
            "processes": accelerator.num_processes,
            "clips": clips,
            "metrics": scores,
            "environment": describe_environment(),
        }
        write_json(results, folder / "results.json")
        print("\n" + format_table([("tested on", f"{clips} clips, {test_name}"), *format_scores(scores)]))
    accelerator.end_training()


def train_epoch(accelerator: Accelerator, model, loader, optimizer, scheduler, epoch: int, names: list[str]) -> float:
    """Train for one epoch, and return the mean loss of its steps over all processes; `names` are those of the clips."""
    model.train()
    loader.set_epoch(epoch)  # shuffles and augments anew
    problem_type = accelerator.unwrap_model(model).config.problem_type
    losses = []
    for batch in tqdm(loader, disable=not accelerator.is_local_main_process, desc=f"Epoch {epoch + 1}"):
        labels, index = batch.pop("labels"), batch.pop("index")
        with accelerator.autocast():
            logits = model(**batch).logits
        loss = audio_loss(logits, labels, problem_type)
        if not torch.isfinite(loss):
            files = [names[row] for row in index.tolist()]
            raise FloatingPointError(describe_failure(loss.item(), epoch * len(loader) + len(losses) + 1, files))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()


@torch.no_grad()
def evaluate(accelerator: Accelerator, model, loader, n_resamples: int = 0) -> tuple[dict[str, float], int]:
    """Score a split; `gather_for_metrics` drops the clips that fill up the last batch, so that none counts twice."""
    model.eval()
    logits, labels = [], []
    for batch in loader:
        batch.pop("index")
        targets = batch.pop("labels")
        outputs = model(**batch).logits.float()
        outputs, targets = accelerator.gather_for_metrics((outputs, targets))
        logits.append(outputs.cpu())
        labels.append(targets.cpu())
    problem_type = accelerator.unwrap_model(model).config.problem_type
    logits, labels = torch.cat(logits).numpy(), torch.cat(labels).numpy()
    return compute_scores(problem_type, logits, labels, n_resamples), len(labels)


def save(accelerator: Accelerator, folder: Path, epoch: int):
    """Save the whole state under another name first, so that a state with a proper name is never half written."""
    part, whole = folder / f"{UNFINISHED}state", folder / f"state-{epoch}"
    accelerator.save_state(str(part))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        os.replace(part, whole)
        for old in folder.glob("state-*"):
            if old != whole:
                os.replace(old, folder / f"{UNFINISHED}deleted")
                shutil.rmtree(folder / f"{UNFINISHED}deleted")
    accelerator.wait_for_everyone()


def resume(accelerator: Accelerator, folder: Path) -> int:
    """Load the last state, if there is one, and return the epoch to go on with."""
    if accelerator.is_main_process:
        clear_unfinished(folder)
    accelerator.wait_for_everyone()
    epochs = sorted(int(state.name.split("-")[1]) for state in folder.glob("state-*"))
    if not epochs:
        return 0
    accelerator.load_state(str(folder / f"state-{epochs[-1]}"))
    accelerator.print(f"Going on after epoch {epochs[-1]}")
    return epochs[-1]


if __name__ == "__main__":
    main()
