"""Update the released checkpoints: copy the code that travels with them, and render their cards again.

python research/sync_checkpoints.py
"""

import json
import shutil
from pathlib import Path

from transformers.dynamic_module_utils import get_relative_import_files

import modeling_asm
from modeling_asm.training.report.cards import write_model_card


REPOSITORY = Path(__file__).resolve().parent.parent
ENTRANCES = ("configuration_asm.py", "feature_extraction_asm.py", "modeling_asm.py")  # those that config files name


def main():
    for checkpoint in sorted((REPOSITORY / "checkpoints").iterdir()):
        for file in travelling_files():
            shutil.copyfile(file, checkpoint / file.name)
        results = json.loads((checkpoint / "results.json").read_text(encoding="utf-8"))
        write_model_card(checkpoint, results, checkpoint.name)
        print(f"{checkpoint.name}: up to date")


def travelling_files() -> list[Path]:
    """Return the files that transformers copies into a checkpoint: the classes' own, and what they import."""
    entrances = [Path(modeling_asm.__file__).with_name(name) for name in ENTRANCES]
    imported = [Path(file) for entrance in entrances for file in get_relative_import_files(entrance)]
    return sorted({*entrances, *imported})


if __name__ == "__main__":
    main()
