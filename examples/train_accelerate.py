"""Train an audio classifier in a plain loop with Accelerate, without Trainer: the script to change for your own ideas.

    accelerate launch examples/train_accelerate.py --data_dir recordings --output_dir my-model
    accelerate launch --config_file examples/accelerate/ddp.yaml examples/train_accelerate.py --data_dir recordings ...

The data, splits, models and augmentation are those of `train.py`. An interrupted run goes on from its last whole epoch
when the same command is given again.
"""

import json
import math
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import get_cosine_schedule_with_warmup

from modeling_asm.training.arguments import describe_command, parse_arguments
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.cards import describe_environment, write_model_card
from modeling_asm.training.clips import ClipDataset, ClipTransform
from modeling_asm.training.data import DataArguments, load_audio_dataset, load_further_clips
from modeling_asm.training.decoding import decode_splits, fingerprint
from modeling_asm.training.labels import problem_type_of
from modeling_asm.training.losses import clip_losses, mean_loss
from modeling_asm.training.metrics import compute_scores
from modeling_asm.training.models import (
    ModelArguments,
    choose_seconds,
    make_model,
    sampling_rate_of,
    window_samples,
)
from modeling_asm.training.publishing import PublishingError, code_license, create_repository, push_to_hub
from modeling_asm.training.report import write_json, write_report
from modeling_asm.training.results import count_confusions, describe_data, describe_model, format_summary, score
from modeling_asm.training.runs import (
    UNFINISHED,
    CheckpointError,
    check_processes,
    clear_unfinished,
    delete_checkpoint,
    finished_results,
    move_into,
    open_run,
    saving,
)
from modeling_asm.training.splits import SplitArguments, choose_splits, describe_further, describe_groups
from modeling_asm.training.trainer import describe_failure


CARD_TEMPLATE = Path(__file__).resolve().parent.parent / "model_cards" / "card_template.md"

# What a result does not depend on.
INDIFFERENT = ("output_dir", "use_cpu", "push_to_hub", "hub_model_id", "num_workers", "report_to")


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
    on_bad_audio: str = field(
        default="error", metadata={"help": "What an unreadable file does.", "choices": ["error", "skip"]}
    )
    mixed_precision: str | None = field(default=None, metadata={"help": "no, bf16 or fp16; by default as launched."})
    use_cpu: bool = field(default=False, metadata={"help": "Leave GPUs alone."})
    seed: int = field(default=42, metadata={"help": "Seed of everything."})
    push_to_hub: bool = field(default=False, metadata={"help": "Publish the model, its code and its card."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Its name on the Hub: owner/name."})
    num_workers: int = field(default=0, metadata={"help": "Processes that prepare batches, for each process."})
    report_to: str | None = field(default=None, metadata={"help": "Where to show the curves: tensorboard, wandb."})


def main():
    classes = (LoopArguments, DataArguments, SplitArguments, ModelArguments, Augmentation)
    try:
        train(*parse_arguments(*classes))
    except (OSError, ValueError, CheckpointError, FloatingPointError, PublishingError) as error:
        sys.exit(str(error))  # what is wrong, in one line


def train(
    args: LoopArguments,
    data_args: DataArguments,
    split_args: SplitArguments,
    model_args: ModelArguments,
    augmentation: Augmentation,
):
    """Load, split, train, report and save."""
    accelerator = Accelerator(
        cpu=args.use_cpu,
        mixed_precision=args.mixed_precision,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
        log_with=args.report_to,
        project_dir=args.output_dir,
    )
    check_processes(accelerator.num_processes)
    if args.batch_size % accelerator.num_processes:
        raise ValueError(
            f"--batch_size {args.batch_size} cannot be shared by {accelerator.num_processes} processes evenly: take a "
            "multiple of them."
        )
    if data_args.streaming:
        raise ValueError("This loop needs the whole data set: leave --streaming out, or take train.py.")
    folder, repository = Path(args.output_dir), args.hub_model_id or Path(args.output_dir).resolve().name
    if args.push_to_hub and accelerator.is_main_process:
        repository = create_repository(repository)
    dataset = load_audio_dataset(data_args)
    further = load_further_clips(split_args.train_also, dataset, data_args.label_separator)
    with accelerator.main_process_first():
        clips = fingerprint(dataset, further)
        open_run(folder, settings_of(args, data_args, split_args, model_args, augmentation, clips), "state-*")
    if finished_results(folder) is not None:
        return end(accelerator, args, folder, repository)
    set_seed(args.seed)
    rate = sampling_rate_of(model_args)
    with accelerator.main_process_first():
        dataset, further, problems = decode_splits(dataset, further, rate, args.on_bad_audio)
    splits, test_name = choose_splits(dataset, split_args, args.seed, further)

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

    parameters = list(model.parameters())
    groups = [{"params": [parameter for parameter in parameters if parameter.ndim > 1]}]  # no gains, no biases decay
    groups += [{"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, weight_decay=args.weight_decay)
    model, optimizer, train_loader, *loaders = accelerator.prepare(model, optimizer, train_loader, *loaders)
    steps = args.num_train_epochs * len(train_loader)
    scheduler = get_cosine_schedule_with_warmup(optimizer, math.ceil(args.warmup * steps), steps)
    accelerator.register_for_checkpointing(scheduler)

    first_epoch, log = resume(accelerator, folder)
    accelerator.init_trackers("logs")
    for epoch in range(first_epoch, args.num_train_epochs):
        loss = train_epoch(accelerator, model, train_loader, optimizer, scheduler, epoch)
        log.append({"epoch": epoch + 1, "step": (epoch + 1) * len(train_loader), "loss": loss})
        if len(loaders) == 2:
            scores = compute_scores(problem_type_of(features), *predict(accelerator, model, loaders[0]))
            log[-1] |= {f"eval_{name}": value for name, value in scores.items()}
        accelerator.print(", ".join(f"{name} {value:.4g}" for name, value in log[-1].items()))
        accelerator.log(log[-1], step=log[-1]["step"])
        save(accelerator, folder, epoch + 1, log)

    logits, references = predict(accelerator, model, loaders[-1])
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        sizes = {name: len(split) for name, split in splits.items()}
        data = describe_data(data_args, features, test_name, sizes, problems)
        results = {
            "command": describe_command("train_accelerate.py", sys.argv[1:]),
            "data": data | describe_groups(splits["test"], split_args) | describe_further(further, split_args),
            "model": describe_model(model_args, accelerator.unwrap_model(model), feature_extractor, window),
            "training": describe_training(args, model_args, augmentation, accelerator, steps),
            "metrics": score(features, logits, references, 1000, splits["test"], split_args.group_column),
            **count_confusions(features, logits, references),
            "environment": describe_environment(),
        }
        staging = folder / f"{UNFINISHED}model"
        with saving("the model"):
            accelerator.unwrap_model(model).save_pretrained(staging, state_dict=weights)
            feature_extractor.save_pretrained(staging)
            write_report(staging, features, references, logits, log)
            write_model_card(staging, CARD_TEMPLATE, results, repository)
            (staging / "LICENSE").write_text(code_license(), encoding="utf-8")
            write_json(results, staging / "results.json")
            move_into(staging, folder)
    end(accelerator, args, folder, repository)


def end(accelerator: Accelerator, args: LoopArguments, folder: Path, repository: str):
    """Print the results of a finished run, publish them if asked to, and close what shows the curves."""
    if accelerator.is_main_process:
        print(f"\n{format_summary(finished_results(folder))}")
        if args.push_to_hub:
            print(f"Published: {push_to_hub(folder, repository)}")
    # `end_training` would also take the process group from under the model, and gloo's threads then wait at times for
    # the interpreter's lock, which waits for them.
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.wait_for_everyone()


def train_epoch(accelerator: Accelerator, model, loader, optimizer, scheduler, epoch: int) -> float:
    """Train for one epoch, and return the mean loss of its steps over all processes."""
    model.train()
    loader.set_epoch(epoch)  # shuffles anew
    loader.dataset.set_epoch(epoch)  # augments anew; accelerate tells a data set with one process only
    problem_type = accelerator.unwrap_model(model).config.problem_type
    losses = []
    for batch in tqdm(loader, disable=not accelerator.is_local_main_process, desc=f"Epoch {epoch + 1}"):
        labels, index = batch.pop("labels"), batch.pop("index")
        with accelerator.autocast():
            logits = model(**batch).logits
        loss = mean_loss(clip_losses(logits, labels, problem_type), accelerator)
        if not torch.isfinite(loss):
            files = loader.dataset.file_names(index.tolist())
            raise FloatingPointError(describe_failure(loss.item(), epoch * len(loader) + len(losses) + 1, files))
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
    return accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()


@torch.no_grad()
def predict(accelerator: Accelerator, model, loader) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and labels; `gather_for_metrics` drops the clips that fill up the last batch."""
    model.eval()
    logits, references = [], []
    for batch in loader:
        batch.pop("index")
        labels = batch.pop("labels")
        outputs, labels = accelerator.gather_for_metrics((model(**batch).logits.float(), labels))
        logits.append(outputs.cpu())
        references.append(labels.cpu())
    return torch.cat(logits).numpy(), torch.cat(references).numpy()


def save(accelerator: Accelerator, folder: Path, epoch: int, log: list[dict]):
    """Save the whole state under another name first, so that a state with a proper name is never half written."""
    part, whole = folder / f"{UNFINISHED}state", folder / f"state-{epoch}"
    with saving(whole.name):
        accelerator.save_state(str(part))
        if accelerator.is_main_process:
            write_json(log, part / "log.json")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        os.replace(part, whole)
        for old in folder.glob("state-*"):
            if old != whole:
                delete_checkpoint(old)
    accelerator.wait_for_everyone()


def describe_training(args: LoopArguments, model_args, augmentation, accelerator: Accelerator, steps: int) -> dict:
    return {
        "num_train_epochs": args.num_train_epochs,
        "max_steps": -1,
        "steps": steps,
        "batch_size": args.batch_size,
        "processes": accelerator.num_processes,
        "optim": "AdamW",
        "lr_scheduler_type": "cosine",
        "learning_rate": args.learning_rate,
        "weight_decay": args.weight_decay,
        "label_smoothing_factor": args.label_smoothing,
        "class_balance": "none",
        "kept": "the last epoch",
        "augmentation": asdict(augmentation) if args.augment else None,
        "freeze_encoder": model_args.freeze_encoder,
        "bf16": accelerator.mixed_precision == "bf16",
        "seed": args.seed,
    }


def settings_of(
    args: LoopArguments, data_args: DataArguments, split_args, model_args, augmentation, clips: str
) -> dict:
    """Return what the result depends on, without paths of this machine."""
    parts = (args, data_args, split_args, model_args, augmentation)
    settings = {name: value for part in parts for name, value in asdict(part).items()}
    settings = {name: value for name, value in settings.items() if name not in INDIFFERENT}
    settings |= {"data_dir": data_args.name, "manifest": Path(data_args.manifest or "").name}
    settings |= {"train_also": split_args.train_also_names}
    settings |= {"dataset_name": data_args.hub_name, "model_name_or_path": model_args.start}
    return settings | {"clips": clips}


def resume(accelerator: Accelerator, folder: Path) -> tuple[int, list[dict]]:
    """Load the last state, if there is one, and return the epoch to go on with, and what was logged before it."""
    if accelerator.is_main_process:
        clear_unfinished(folder)
    accelerator.wait_for_everyone()
    epochs = sorted(int(state.name.split("-")[1]) for state in folder.glob("state-*"))
    if not epochs:
        return 0, []
    accelerator.load_state(str(folder / f"state-{epochs[-1]}"))
    accelerator.print(f"Going on after epoch {epochs[-1]}")
    return epochs[-1], json.loads((folder / f"state-{epochs[-1]}" / "log.json").read_text())


if __name__ == "__main__":
    main()
