"""Arguments from a recipe, a small YAML file, and from the command line, which takes precedence."""

import argparse
import dataclasses
import difflib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from transformers import HfArgumentParser


SOURCES_AND_TARGETS = ("data_dir", "manifest", "output_dir", "results_file", "output")  # always paths


class ArgumentParser(HfArgumentParser):
    """Turns dataclasses into arguments; its help has a section for each dataclass, and the essential ones first.

    Args:
        groups: The dataclasses, by the title of their section.
        essential: Names of the arguments that come first.
        **options: As for `argparse.ArgumentParser`.
    """

    def __init__(self, groups: dict[str, type], essential: Sequence[str] = (), **options):
        options = {"formatter_class": argparse.HelpFormatter, "allow_abbrev": False, **options}  # published commands
        super().__init__(list(groups.values()), **options)
        self.groups, self.essential = groups, essential
        for action in self._actions:
            if action.option_strings[0].startswith("--no_"):
                action.help = f"The same as --{action.dest} false."

    def format_help(self) -> str:
        """Return the help, in sections."""
        formatter = self._get_formatter()
        formatter.add_text(self.description)
        formatter.add_text("Usage: " + self.usage if self.usage else None)
        for title, names in self.sections().items():
            formatter.start_section(title)
            formatter.add_arguments([action for name in names for action in self._actions if action.dest == name])
            formatter.end_section()
        return formatter.format_help()

    def sections(self) -> dict[str, list[str]]:
        """Return the names of the arguments in each section."""
        rest = {
            title: [item.name for item in dataclasses.fields(group) if item.name not in self.essential]
            for title, group in self.groups.items()
        }
        return {"essential": ["help", *self.essential], **rest}


def parse_arguments(
    groups: dict[str, type],
    arguments: list[str],
    program: str,
    description: str = "",
    essential: Sequence[str] = (),
) -> tuple:
    """Parse arguments into dataclasses. If the first one is a recipe, the recipe is applied first.

    A recipe maps arguments to values: `learning_rate: 1e-4` means `--learning_rate 1e-4`.

    Args:
        groups: The dataclasses, by the title of their section in the help.
        arguments: The arguments.
        program: Name of the command.
        description: What it does, for the help.
        essential: Names of the arguments that come first in the help.

    Returns:
        One instance of each class.
    """
    usage = f"{program} [recipe.yaml] [--argument value ...]"
    parser = ArgumentParser(groups, essential, prog=program, description=description, usage=usage)
    try:
        if arguments and arguments[0].endswith((".yaml", ".yml")):
            arguments = [*read_recipe(arguments[0], parser), *arguments[1:]]
        _, rest = parser.parse_known_args(arguments)
        if rest:  # before the values are looked at: a name with a typo is also one that is missing
            name, hint = rest[0].partition("=")[0], "the name of a recipe ends in .yaml."
            if name.startswith("-"):
                hint = f"did you mean '--{nearest_argument(name, parser)}'?"
            raise ValueError(f"There is no argument {name!r}; {hint}")
        parsed = parser.parse_args_into_dataclasses(arguments, look_for_args_file=False)
        named = (parser._option_string_actions.get(argument.partition("=")[0]) for argument in arguments)
        named = {action.dest for action in named if action}
        for group in parsed:  # those that tell what was given, be it the default
            if hasattr(group, "given"):
                group.given |= named & {item.name for item in dataclasses.fields(group)}
        return tuple(parsed)
    except (ValueError, FileNotFoundError) as error:  # from a dataclass or a recipe
        sys.exit(f"{program}: {error}")


def use_defaults(group, defaults: dict[str, float]):
    """Set those fields of a dataclass of arguments that are not in its `given`."""
    for name, value in defaults.items():
        if name not in group.given:
            setattr(group, name, value)


def read_recipe(path: str, parser: HfArgumentParser) -> list[str]:
    """Turn a recipe into command-line arguments."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no recipe {path!r}.")
    recipe = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(recipe, dict):
        raise ValueError(f"The recipe {path!r} must map arguments to values.")
    argv = []
    for name, value in recipe.items():
        if f"--{name}" not in parser._option_string_actions:
            nearest = nearest_argument(str(name), parser)
            raise ValueError(f"The recipe {path!r} sets {name!r}, which is not an argument; did you mean {nearest!r}?")
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        argv += [f"--{name}", *map(str, values)]
    return argv


def nearest_argument(name: str, parser: HfArgumentParser) -> str:
    """Return the argument whose name is most similar to `name`."""
    known = [option.removeprefix("--") for option in parser._option_string_actions if option.startswith("--")]
    return difflib.get_close_matches(name.removeprefix("--"), known, n=1, cutoff=0)[0]


def describe_command(program: str, argv: list[str]) -> str:
    """Return a command that is safe to publish: without the paths of files and folders, and without tokens."""
    described, flag = shlex.split(program), ""
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
    """Return the name of a file or folder without its path, also in JSON, and any other value unchanged."""
    if value.startswith("{"):
        mapped = yaml.safe_load(value)
        stripped = without_folders_in(mapped)
        return value if stripped == mapped else json.dumps(stripped)
    is_path = flag in SOURCES_AND_TARGETS or os.path.isabs(value) or os.path.exists(value)
    return (os.path.basename(os.path.normpath(value)) or value) if is_path and value else value


def without_folders_in(value):
    """Return names and values of YAML or JSON with the names of files and folders instead of their paths."""
    if isinstance(value, dict):
        return {key: without_folders_in(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_folders_in(part) for part in value]
    is_path = isinstance(value, str) and (os.path.isabs(value) or os.path.exists(value))
    return os.path.basename(os.path.normpath(value)) or value if is_path else value
