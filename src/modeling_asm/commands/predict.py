"""The command `asm-predict`: classify a folder, a manifest or a data set of any size into Parquet files.

    asm-predict --model my-model --data_dir recordings --output_dir predictions
    accelerate launch -m modeling_asm.commands.predict --model my-model --dataset_name owner/name --output_dir out

The same command continues an interrupted run.
"""

import sys

from ..prediction import PredictArguments, predict
from ..training.arguments import parse_arguments
from ..training.data.loading import DataArguments
from ..training.run_folder import CheckpointError
from .console import one_line


GROUPS = {"prediction": PredictArguments, "data": DataArguments}
ESSENTIAL = ("model", "data_dir", "output_dir")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    description = "Classify a folder, a manifest or a data set of any size into Parquet files."
    try:
        predict(*parse_arguments(GROUPS, arguments, "asm-predict", description, ESSENTIAL))
    except (OSError, ValueError, CheckpointError) as error:
        sys.exit(f"asm-predict: {one_line(error)}")  # printed after the progress bars are gone
    return 0


if __name__ == "__main__":
    sys.exit(main())
