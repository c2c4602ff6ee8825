"""Train an audio classifier in a plain Accelerate loop, without Trainer: the script to copy for ideas of your own.

    accelerate launch examples/train_accelerate.py --data_dir recordings --output_dir my-model
    accelerate launch --config_file examples/accelerate/ddp.yaml examples/train_accelerate.py --data_dir recordings ...

Data, splits, models and augmentation are those of `asm-train`. The same command continues an interrupted run.
"""

import math
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader
from transformers import get_cosine_schedule_with_warmup

from modeling_asm.measuring.environment import describe_environment
from modeling_asm.training import run_folder
from modeling_asm.training.arguments import describe_command, parse_arguments
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.clips import ClipDataset, ClipTransform, collate_clips
from modeling_asm.training.data.decoding import decode_splits, fingerprint
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.data.splits import SplitArguments, choose_splits, describe_groups
from modeling_asm.training.models import AUTO, SCRATCH, ModelArguments, make_frontend, make_model, sampling_rate_of
from modeling_asm.training.report import results as report
from modeling_asm.training.report.checkpoint import write_checkpoint
from modeling_asm.training.tasks import TASKS
from modeling_asm.training.trainer import describe_failure, mean_loss


@dataclass
class LoopArguments:
    output_dir: str = field(metadata={"help": "Folder for the model, its results and the states of the run."})
    num_train_epochs: int = field(default=40, metadata={"help": "Number of epochs (default: %(default)s)."})
    batch_size: int = field(default=32, metadata={"help": "Clips per step, over all processes (default: %(default)s)."})
    learning_rate: float = field(default=1e-3, metadata={"help": "Peak learning rate (default: %(default)s)."})
    weight_decay: float = field(default=0.05, metadata={"help": "Weight decay of AdamW (default: %(default)s)."})
    warmup: float = field(default=0.1, metadata={"help": "Fraction of the steps with warm-up (default: %(default)s)."})
    label_smoothing: float = field(default=0.1, metadata={"help": "Label smoothing (default: %(default)s)."})
    augment: bool = field(default=True, metadata={"help": "Whether to augment the training clips (default: true)."})
    mixed_precision: str | None = field(default=None, metadata={"help": "no, bf16 or fp16 (default: as launched)."})
    use_cpu: bool = field(default=False, metadata={"help": "Do not use a GPU."})
    seed: int = field(default=42, metadata={"help": "Random seed (default: %(default)s)."})


GROUPS = {"loop": LoopArguments, "data": DataArguments, "splits": SplitArguments, "model": ModelArguments}
GROUPS |= {"augmentation": Augmentation}


def train(args: LoopArguments, data_args: DataArguments, split_args, model_args, augmentation):
    loading = DataLoaderConfiguration(use_seedable_sampler=True)
    accelerator = Accelerator(cpu=args.use_cpu, mixed_precision=args.mixed_precision, dataloader_config=loading)
    run_folder.check_processes(accelerator.num_processes)
    if args.batch_size % accelerator.num_processes:
        raise ValueError(
            f"--batch_size {args.batch_size} must be a multiple of the {accelerator.num_processes} processes."
        )
    if data_args.streaming or split_args.train_also:
        raise ValueError("This loop takes neither --streaming nor --train_also. Use asm-train.")
    if model_args.tune not in (AUTO, "all"):
        raise ValueError(f"This loop trains all weights. Use asm-train for --tune {model_args.tune}.")
    if model_args.is_general and model_args.model_name_or_path is None:  # this loop has the settings of a new model
        model_args = replace(model_args, model_name_or_path=SCRATCH)
    folder, dataset = Path(args.output_dir), load_audio_dataset(data_args, say=accelerator.print)
    parts = (args, data_args, split_args, model_args, augmentation)
    settings = {name: value for part in parts for name, value in asdict(part).items()}
    settings |= {"clips": fingerprint(dataset), "output_dir": None, "data_dir": data_args.name}
    with accelerator.main_process_first():
        run_folder.open_run(folder, settings, "state-*")
    if (results := run_folder.finished_results(folder)) is not None:
        return accelerator.print(report.format_summary(results))
    set_seed(args.seed)
    with accelerator.main_process_first():
        options = {"say": accelerator.print, "channel": data_args.channel}
        dataset, _, _ = decode_splits(dataset, None, sampling_rate_of(model_args), **options)
    splits, test_name = choose_splits(dataset, split_args, args.seed)

    features = splits["train"].features
    model, feature_extractor = make_model(model_args, splits["train"], data_args.channel)
    task, frontend = (
        TASKS[model.config.problem_type],
        make_frontend(model_args, model, feature_extractor, splits["train"]),
    )
    augmentation = augmentation if args.augment else None
    transform = ClipTransform(frontend, features, augmentation, args.label_smoothing, data_args.channel)
    options = {"batch_size": args.batch_size // accelerator.num_processes, "collate_fn": collate_clips}
    train_loader = DataLoader(ClipDataset(splits["train"], transform, args.seed), shuffle=True, **options)
    plain = ClipTransform(frontend, features, channel=data_args.channel)
    test_loader = DataLoader(ClipDataset(splits["test"], plain), **options)

    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]  # gains and biases do not decay
    groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.learning_rate, weight_decay=args.weight_decay)
    model, optimizer, train_loader, test_loader = accelerator.prepare(model, optimizer, train_loader, test_loader)
    steps = args.num_train_epochs * len(train_loader)
    scheduler = get_cosine_schedule_with_warmup(optimizer, math.ceil(args.warmup * steps), steps)
    accelerator.register_for_checkpointing(scheduler)

    first_epoch, log = run_folder.load_epoch(accelerator, folder)
    for epoch in range(first_epoch, args.num_train_epochs):
        model.train()
        train_loader.set_epoch(epoch)  # shuffles again
        train_loader.dataset.set_epoch(epoch)  # augments again; accelerate does not forward it with several processes
        losses = []
        for batch in train_loader:
            labels, index = batch.pop("labels"), batch.pop("index")
            with accelerator.autocast():
                logits = model(**batch).logits
            loss = mean_loss(task.losses(logits, labels), accelerator)
            if not torch.isfinite(loss):
                step = epoch * len(train_loader) + len(losses) + 1
                files = train_loader.dataset.file_names(index.tolist())
                raise FloatingPointError(describe_failure(loss.item(), step, files))
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.detach())
        loss = accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()
        log.append({"epoch": epoch + 1, "step": (epoch + 1) * len(train_loader), "loss": loss})
        accelerator.print(", ".join(f"{name} {value:.4g}" for name, value in log[-1].items()))
        run_folder.save_epoch(accelerator, folder, epoch + 1, log)

    logits, references = predict(accelerator, model, test_loader)
    weights = accelerator.get_state_dict(model)
    if accelerator.is_main_process:
        sizes = {name: len(split) for name, split in splits.items()}
        details = {"optim": "AdamW", "lr_scheduler_type": "cosine", "max_steps": -1, "steps": steps}
        details |= {"label_smoothing_factor": args.label_smoothing, "processes": accelerator.num_processes}
        details |= {"augmentation": augmentation and asdict(augmentation), "class_balance": "none"}
        model = accelerator.unwrap_model(model)
        data = report.describe_data(data_args, features, test_name, sizes)
        results = {
            "command": describe_command("python examples/train_accelerate.py", sys.argv[1:]),
            "data": data | describe_groups(splits["test"], split_args),
            "model": report.describe_model(model_args, model, frontend),
            "training": asdict(args) | details | {"output_dir": None},
            "metrics": report.score(features, logits, references, 1000, splits["test"], split_args.group_column),
            **report.count_confusions(features, logits, references),
            "environment": describe_environment(),
        }
        outputs = (references, logits, log, splits["test"], data_args.root)
        write_checkpoint(folder, results, model, frontend, *outputs, weights=weights)
        print(f"\n{report.format_summary(results)}")
    accelerator.wait_for_everyone()  # not `end_training`, after which gloo's threads may deadlock at exit


@torch.no_grad()
def predict(accelerator: Accelerator, model, loader):
    """Return logits and labels; `gather_for_metrics` drops the clips that pad the last batch."""
    model.eval()
    outputs = []
    for batch in loader:
        batch.pop("index")
        labels = batch.pop("labels")
        outputs.append(accelerator.gather_for_metrics((model(**batch).logits.float(), labels)))
    return (torch.cat(part).cpu().numpy() for part in zip(*outputs))


if __name__ == "__main__":
    try:
        train(*parse_arguments(GROUPS, sys.argv[1:], "train_accelerate.py", __doc__.splitlines()[0]))
    except (OSError, ValueError, run_folder.CheckpointError, FloatingPointError) as error:
        sys.exit(str(error))
