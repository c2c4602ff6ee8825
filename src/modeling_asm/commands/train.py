"""The command `asm-train`: train or fine-tune an audio classifier on labelled audio, report it, and publish it.

    asm-train recordings --output_dir my-model
    asm-train recipes/esc50.yaml --output_dir esc50 --learning_rate 1e-4

`recordings` is an `audiofolder`: `recordings/<class>/*.wav`, `recordings/<split>/<class>/*.wav`, or
`recordings/<split>/metadata.csv` with the columns `file_name` and `label`. Manifests, saved data sets and data sets on
the Hub load as well. Training starts from this package's general encoder, unless `--from` names another checkpoint or
`scratch`, or options describe a new model. The same command continues an interrupted run. `accelerate launch -m
modeling_asm.commands.train` runs it on several processors.
"""

import shlex
import sys

from ..modeling_asm import ASMForAudioClassification
from ..training.arguments import describe_command, parse_arguments
from ..training.augmentation import Augmentation
from ..training.data.loading import DataArguments
from ..training.data.splits import SplitArguments
from ..training.experiments import run_experiment
from ..training.models import ModelArguments
from ..training.report.publishing import PublishingError
from ..training.report.results import format_summary
from ..training.run_folder import CheckpointError
from ..training.settings import Arguments, ExperimentArguments
from ..training.training_arguments import AudioTrainingArguments
from .console import one_line


GROUPS = {
    "experiment": ExperimentArguments,
    "data": DataArguments,
    "splits": SplitArguments,
    "model": ModelArguments,
    "training (transformers' TrainingArguments and our own)": AudioTrainingArguments,
    "augmentation": Augmentation,
}
ESSENTIAL = ("data_dir", "output_dir", "model_name_or_path", "size", "num_train_epochs", "learning_rate")
ESSENTIAL += ("per_device_train_batch_size", "group_column", "hold_out", "push_to_hub")


def name_folder(arguments: list[str]) -> list[str]:
    """Put `--data_dir` before a folder that is given without it, first or after a recipe."""
    after_recipe = int(bool(arguments) and arguments[0].endswith((".yaml", ".yml")))
    if len(arguments) <= after_recipe or arguments[after_recipe].startswith("-"):
        return arguments
    return [*arguments[:after_recipe], "--data_dir", *arguments[after_recipe:]]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    description = "Train or fine-tune an audio classifier on labelled audio, report it, and publish it."
    args = Arguments(*parse_arguments(GROUPS, name_folder(arguments), "asm-train", description, ESSENTIAL))
    try:
        results = run_experiment(args, describe_command("asm-train", arguments))
    except (OSError, ValueError, CheckpointError, FloatingPointError, PublishingError) as error:
        sys.exit(f"asm-train: {one_line(error)}")  # printed after the progress bars are gone
    if results is not None:
        print(f"\n{format_summary(results)}\n\nAll results: {args.training.output_dir}")
        if "runs" not in results and results["model"]["architecture"] == ASMForAudioClassification.__name__:
            print(f"Classify a recording: asm-classify --model {shlex.quote(args.training.output_dir)} FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
