"""An experiment: one run, or one per seed and fold, reported together.

`run_experiment` is what `asm-train` does: load the data, plan the runs, train, evaluate, report, publish.
"""

from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from datasets import DatasetDict
from transformers.trainer_utils import IntervalStrategy

from .data.decoding import decode_splits, fingerprint
from .data.loading import is_streamed, load_audio_dataset, load_further_clips, silent
from .data.splits import fold_names
from .models import AUTO, SCRATCH, sampling_rate_of
from .report.cards import write_model_card
from .report.publishing import open_repository, push_to_hub
from .report.results import repeats, summarise
from .report.tables import write_json
from .run import divide, plan_tuning, run_once
from .run_folder import check_processes, open_run
from .settings import Arguments
from .training_arguments import AudioTrainingArguments


def run_experiment(args: Arguments, command: str) -> dict | None:
    """Run an experiment, or continue it, and publish its first model if that was requested.

    Args:
        args: All arguments.
        command: The command, for results and cards.

    Returns:
        The results, which are also in `results.json`; `None` in all processes but the first.

    Raises:
        OSError: If data or a checkpoint does not exist.
        ValueError: If arguments, data or labels are invalid.
        CheckpointError: If something cannot be saved.
        FloatingPointError: If the loss is not finite.
        PublishingError: If the Hub does not accept the model.
    """
    check_arguments(args)
    repository = open_repository(args.training)
    say = print if args.training.process_index == 0 else silent
    dataset, further, problems = load_audio_dataset(args.data, say=say), None, []
    if is_streamed(dataset):
        check_streamable(args)
        count_by_steps(args.training)
    else:
        further = load_further_clips(args.split.train_also, dataset, args.data.label_separator, say)
        args = replace(args, clips=fingerprint(dataset, further))
    runs = plan_runs(args, dataset)
    if not is_streamed(dataset):
        for run in runs:  # errors in a split surface before hours of decoding
            planned, _ = plan_tuning(run, dataset, further)
            divide(planned, dataset, further)
        with args.training.main_process_first(desc="decoding"):
            dataset, further, problems = decode_splits(
                dataset,
                further,
                sampling_rate_of(args.model),
                args.experiment.on_bad_audio,
                keep=args.experiment.keep_audio,
                num_proc=torch.get_num_threads(),
                channel=args.data.channel,
                say=say,
            )
    results = [run_once(run, dataset, further, problems, command) for run in runs]
    if args.training.process_index > 0:
        return None
    return report(args, runs, results, repository)


def check_arguments(args: Arguments):
    """Raise `ValueError` if arguments contradict each other."""
    check_processes(args.training.world_size)
    if args.experiment.evaluate_only and args.model.model_name_or_path in (None, SCRATCH):
        raise ValueError("--evaluate_only needs the checkpoint to report: --model_name_or_path.")
    if args.experiment.evaluate_only and args.split.train_also:
        raise ValueError("Omit --train_also: --evaluate_only trains nothing.")
    if args.experiment.evaluate_only and args.model.tune != AUTO:
        raise ValueError("Omit --tune: --evaluate_only trains nothing.")
    if args.training.teacher_share != AudioTrainingArguments.teacher_share and not args.training.teachers:
        raise ValueError(f"--teacher_share {args.training.teacher_share} would have no effect without --teachers.")
    if args.training.teachers and (args.experiment.evaluate_only or args.experiment.cross_validate):
        raise ValueError(
            "Omit --teachers: --evaluate_only trains nothing, and with --cross_validate the teachers would have been "
            "trained on clips that are reported."
        )
    if args.training.teachers and args.model.tune == "head":
        raise ValueError("Omit --teachers: --tune head fits a classifier to the labels alone.")
    check_split_arguments(args)
    if args.training.resume_from_checkpoint:
        raise ValueError(
            "Omit --resume_from_checkpoint: the same command continues from the last checkpoint by itself."
        )


def check_split_arguments(args: Arguments):
    """Raise `ValueError` if the clips to report are named twice, or a name would have no effect."""
    split, folds = args.split, args.experiment.cross_validate
    if split.fold_column and not folds and not split.hold_out:
        raise ValueError(
            f"--fold_column {split.fold_column} would have no effect: add --cross_validate, or hold out one of its "
            f"values with --hold_out {split.fold_column}=..."
        )
    if folds and split.hold_out and split.hold_out_column != split.fold_column:
        raise ValueError(
            f"--cross_validate holds out each {split.fold_column} in turn. Omit --hold_out {split.hold_out}."
        )
    if folds or split.hold_out:
        given = [name for name in ("train_split", "test_split", "test_fraction") if split.is_set(name)]
        if given:
            by = "--cross_validate" if folds else "--hold_out"
            raise ValueError(f"--{given[0]} would have no effect: {by} divides all clips. Leave it out.")


def report(args: Arguments, runs: list[Arguments], results: list[dict], repository: str | None) -> dict:
    """Write the results of all runs together and their cards, and publish the first."""
    given = {"licence": args.experiment.licence, "credit": args.experiment.credit}
    for result in results:  # a finished run may get these later, before it is published
        result["data"] |= {name: value for name, value in given.items() if value is not None}
    reported = results[0] if len(results) == 1 else summarise(results)
    write_json(reported, Path(args.training.output_dir) / "results.json")
    for run, result in zip(runs, results):
        folder = Path(run.training.output_dir)
        if "runs" in reported:
            result["repeats"] = repeats(reported)
        write_json(result, folder / "results.json")
        write_model_card(folder, result, repository or args.training.hub_model_id)
    if args.experiment.results_file:
        Path(args.experiment.results_file).parent.mkdir(parents=True, exist_ok=True)
        write_json(reported, args.experiment.results_file)
    if repository:
        first = runs[0].training
        push_to_hub(first.output_dir, repository, token=first.hub_token, revision=first.hub_revision)
        print(f"Published: {repository}")
    return reported


def plan_runs(args: Arguments, dataset: DatasetDict) -> list[Arguments]:
    """Return the arguments of each run: one per seed and fold, in its own folder, or a single one."""
    if args.experiment.cross_validate and args.split.fold_column is None:
        raise ValueError("--cross_validate needs the column with the folds, speakers or kits: --fold_column.")
    column, folder = args.split.fold_column, Path(args.training.output_dir)
    folds = fold_names(dataset, column) if args.experiment.cross_validate else [None]
    seeds = args.experiment.seeds or [args.training.seed]
    runs = []
    for seed in seeds:
        for fold in folds:
            names = [f"seed-{seed}"] * (len(seeds) > 1) + [f"{column}-{fold}"] * (len(folds) > 1)
            split = args.split if fold is None else replace(args.split, hold_out=f"{column}={fold}")
            training = copy(args.training)
            training.seed, training.output_dir = seed, str(folder.joinpath(*names))
            runs.append(replace(args, split=split, training=training))
    if len(runs) > 1:
        with args.training.main_process_first(desc="opening the runs"):
            open_run(folder, {**args.settings(), "seeds": seeds, "folds": folds}, "*/*")
    return runs


def check_streamable(args: Arguments):
    """Raise `ValueError` if an argument needs the whole data set, which a stream is not."""
    whole = {
        "--hold_out": args.split.hold_out is not None,
        "--cross_validate": args.experiment.cross_validate,
        "--evaluate_only": args.experiment.evaluate_only,
        f"--class_balance {args.training.class_balance}": args.training.class_balance != "none",
        "--train_also": bool(args.split.train_also),
        "--group_column": args.split.group_column is not None,
        "--test_fraction": args.split.is_set("test_fraction"),
    }
    given = [name for name, wanted in whole.items() if wanted]
    if given:
        raise ValueError(f"{given[0]} needs the whole data set. It cannot be combined with --streaming.")
    if args.training.max_steps <= 0:
        raise ValueError("A stream has no length: use --max_steps instead of a number of epochs.")


def count_by_steps(training_args: AudioTrainingArguments):
    """Log, evaluate and save by steps, since a stream has no epochs."""
    interval = min(training_args.save_steps, training_args.max_steps)
    for what in ("logging", "eval", "save"):
        if getattr(training_args, f"{what}_strategy") == "epoch":
            setattr(training_args, f"{what}_strategy", IntervalStrategy.STEPS)
            setattr(training_args, f"{what}_steps", interval)
