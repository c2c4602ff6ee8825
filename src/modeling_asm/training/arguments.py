"""Arguments from a recipe, a small YAML file, and from the command line, which wins."""

import difflib
import json
import os
import shlex
import sys
from pathlib import Path

import yaml
from transformers import HfArgumentParser


SOURCES_AND_TARGETS = ("data_dir", "manifest", "output_dir", "results_file", "output")  # always paths


def parse_arguments(*classes: type, argv: list[str] | None = None) -> tuple:
    """Parse the command line into dataclasses, after those values that a recipe, its first argument, sets.

    A recipe maps arguments to values: `learning_rate: 1e-4` says what `--learning_rate 1e-4` does.

    Args:
        classes: The dataclasses.
        argv: The arguments; by default those of this process.

    Returns:
        One instance of each class.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = HfArgumentParser(classes, allow_abbrev=False)  # what is published of a command goes by whole names
    try:
        if argv and argv[0].endswith((".yaml", ".yml")):
            argv = [*read_recipe(argv[0], parser), *argv[1:]]
        *parsed, rest = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
        if rest:
            name, hint = rest[0].partition("=")[0], "a recipe's name ends in .yaml."
            if name.startswith("-"):
                hint = f"did you mean '--{nearest_argument(name, parser)}'?"
            raise ValueError(f"There is no argument {name!r}; {hint}")
        return tuple(parsed)
    except (ValueError, FileNotFoundError) as error:  # what a dataclass or a recipe finds wrong, in one line
        sys.exit(str(error))


def read_recipe(path: str, parser: HfArgumentParser) -> list[str]:
    """Turn a recipe into arguments of the command line."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no recipe {path!r}.")
    recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path!r} is no mapping of arguments to values.")
    argv = []
    for name, value in recipe.items():
        if f"--{name}" not in parser._option_string_actions:
            nearest = nearest_argument(str(name), parser)
            raise ValueError(f"The recipe {path!r} sets {name!r}, which is no argument; did you mean {nearest!r}?")
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        argv += [f"--{name}", *map(str, values)]
    return argv


def nearest_argument(name: str, parser: HfArgumentParser) -> str:
    """Return the argument whose name is most like `name`."""
    known = [option.removeprefix("--") for option in parser._option_string_actions if option.startswith("--")]
    return difflib.get_close_matches(name.removeprefix("--"), known, n=1, cutoff=0)[0]


def describe_command(script: str, argv: list[str]) -> str:
    """Return a command that may be published: of files and folders it keeps the names, and of tokens nothing."""
    described, flag = ["python", f"examples/{script}"], ""
    for number, argument in enumerate(argv):
        if argument.startswith("--"):
            flag, separator, value = argument.removeprefix("--").partition("=")
            argument = f"--{flag}{separator}{without_folders(flag, value)}"
        elif number == 0 and argument.endswith((".yaml", ".yml")):
            argument = f"{Path(argument).parent.name}/{Path(argument).name}".lstrip("/")
        else:
            argument = without_folders(flag, argument)
        if "token" not in flag:
            described.append(argument)
    return shlex.join(described)


def without_folders(flag: str, value: str) -> str:
    """Return the name of a file or folder, and any other value as it is."""
    is_path = flag in SOURCES_AND_TARGETS or os.path.isabs(value) or os.path.exists(value)
    return (os.path.basename(os.path.normpath(value)) or value) if is_path and value else value
