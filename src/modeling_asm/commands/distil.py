"""The command `asm-distil`: teach a general audio encoder what trained networks say of unlabelled audio.

    asm-distil recipes/encoders/general_small.yaml --pool corpus --bank bank --output_dir encoder

The pool is made by `research/corpus/make_corpus.py`. Mixtures of its recordings, with what the teachers say of them,
are kept in the bank. The same command continues an interrupted run. `accelerate launch -m modeling_asm.commands.distil`
runs it on several processors.
"""

import sys

from ..training.arguments import describe_command, parse_arguments
from ..training.distillation.arguments import DistillationArguments, DistillationTrainingArguments
from ..training.distillation.run import run_distillation
from ..training.report.publishing import PublishingError
from ..training.run_folder import CheckpointError
from .console import one_line


GROUPS = {
    "distillation": DistillationArguments,
    "training (transformers' TrainingArguments)": DistillationTrainingArguments,
}
ESSENTIAL = ("pool", "bank", "output_dir", "teachers", "mixtures", "max_steps", "learning_rate")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    description = "Teach a general audio encoder what trained networks say of unlabelled audio."
    args, training_args = parse_arguments(GROUPS, arguments, "asm-distil", description, ESSENTIAL)
    try:
        results = run_distillation(args, training_args, describe_command("asm-distil", arguments))
    except (ImportError, OSError, ValueError, CheckpointError, FloatingPointError, PublishingError) as error:
        sys.exit(f"asm-distil: {one_line(error)}")
    if training_args.process_index > 0:
        return 0
    losses = {name: round(value, 4) for name, value in results["metrics"].items()}
    print(f"Validation losses: {losses}\nThe encoder and its results: {training_args.output_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
