import json
import re
from dataclasses import dataclass, field

import pytest

from modeling_asm.training.arguments import describe_command, parse_arguments
from modeling_asm.training.training_arguments import AudioTrainingArguments


@dataclass
class Settings:
    learning_rate: float = 1e-3
    labels: list[str] = field(default_factory=list)
    augment: bool = True
    name: str | None = None

    def __post_init__(self):
        if self.learning_rate <= 0:
            raise ValueError(f"--learning_rate must be above 0, got {self.learning_rate}.")


def parse(*argv):
    return parse_arguments({"settings": Settings}, list(argv), "asm-test")[0]


def recipe(tmp_path, text) -> str:
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    return str(tmp_path / "recipe.yaml")


def test_a_recipe_and_the_command_line_which_wins(tmp_path):
    path = recipe(tmp_path, "# a comment\nlearning_rate: 2e-4\nlabels: ['no', 天气]\naugment: false\nname: a b\n")
    assert parse(path) == Settings(2e-4, ["no", "天气"], False, "a b")
    assert parse(path, "--learning_rate", "1", "--labels", "x") == Settings(1.0, ["x"], False, "a b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1\n", "sets 'learning_rat', which is not an argument; did you mean 'learning_rate'?"),
        ("- learning_rate\n", "must map arguments to values"),
        ("learning_rate: -1\n", "--learning_rate must be above 0, got -1.0"),
    ],
)
def test_recipes_that_do_not_do(tmp_path, text, message):
    with pytest.raises(SystemExit) as stop:
        parse(recipe(tmp_path, text))
    assert message in str(stop.value)


def test_no_recipe():
    with pytest.raises(SystemExit) as stop:
        parse("recipes/nowhere.yaml")
    assert "There is no recipe 'recipes/nowhere.yaml'" in str(stop.value)


def test_the_recorded_command_keeps_flags_and_names_but_no_paths(tmp_path):
    arguments = [
        str(tmp_path / "recipes" / "esc50.yaml"),
        f"--data_dir={tmp_path}/tones",
        "--output_dir",
        f"{tmp_path}/out",
        "--model_name_or_path",
        "ann/tones",
        "--credit",
        "see https://example.org/a",
        "--bf16",
    ]
    assert describe_command("asm-train", arguments) == (
        "asm-train recipes/esc50.yaml --data_dir=tones --output_dir out --model_name_or_path ann/tones "
        "--credit 'see https://example.org/a' --bf16"
    )


def test_the_recorded_command_has_no_token_and_no_path_in_any_argument(tmp_path):
    arguments = ["--hub_token", "hf_secret", "--push_to_hub", "--hub_token=hf_secret", "--dataset_name", str(tmp_path)]
    arguments += ["--manifest", "../far/clips.csv", "--labels", "yes", "no"]
    assert describe_command("asm-train", arguments) == (
        f"asm-train --push_to_hub --dataset_name {tmp_path.name} --manifest clips.csv --labels yes no"
    )


def test_paths_within_mappings_become_names(tmp_path):
    files = {"weights": str(tmp_path / "mn04.pt"), "type": "efficientat", "sizes": [1, "/far/x.csv"]}
    for text in (json.dumps({"mn04": files}), f"{{mn04: {{weights: {files['weights']}, type: efficientat}}}}"):
        described = describe_command("asm-distil", ["--teachers", text])
        assert '"weights": "mn04.pt"' in described
        assert str(tmp_path) not in described and "/far" not in described
    overrides = '{"hidden_size":64}'  # as it was given
    assert (
        describe_command("asm-train", ["--config_overrides", overrides])
        == f"asm-train --config_overrides '{overrides}'"
    )


def test_arguments_go_by_their_whole_names():
    """An abbreviation of `--hub_token` would pass by what keeps tokens out of the recorded command."""
    for argument in ("--learning", "--learning=2"):
        with pytest.raises(SystemExit) as stop:
            parse(argument, "2")
        assert str(stop.value) == "asm-test: There is no argument '--learning'; did you mean '--learning_rate'?"
    with pytest.raises(SystemExit) as stop:  # and not that --output_dir is missing
        parse_arguments({"training": AudioTrainingArguments}, ["--ouput_dir", "x"], "asm-test")
    assert str(stop.value) == "asm-test: There is no argument '--ouput_dir'; did you mean '--output_dir'?"
    with pytest.raises(SystemExit) as stop:
        parse("esc50")
    assert str(stop.value) == "asm-test: There is no argument 'esc50'; the name of a recipe ends in .yaml."


@dataclass
class Data:
    data_dir: str | None = field(default=None, metadata={"help": "Folder of recordings."})
    split: str = "train"


def test_help_has_the_essential_arguments_first(capsys):
    """Then a section for each dataclass, in which they do not come again."""
    with pytest.raises(SystemExit) as stop:
        parse_arguments({"settings": Settings, "data": Data}, ["--help"], "asm-test", "Test it.", ("data_dir", "name"))
    assert stop.value.code == 0
    text = capsys.readouterr().out
    places = [text.index(word) for word in ("Test it.", "essential:", "--data_dir", "--name", "settings:", "data:")]
    assert places == sorted(places)
    names = ("data_dir", "name", "learning_rate", "split")
    assert [len(re.findall(rf"^  --{name}[ ,]", text, re.MULTILINE)) for name in names] == [1] * 4


def test_the_help_is_in_sections(capsys):
    """The essential arguments first, how to call it above them, and the negation of each switch."""
    groups = {"settings": Settings}
    with pytest.raises(SystemExit):
        parse_arguments(groups, ["--help"], "asm-test", "Test arguments.", ("name",))
    text = capsys.readouterr().out
    parts = (
        "Test arguments.",
        "Usage: asm-test [recipe.yaml] [--argument value ...]",
        "essential:",
        "--help",
        "--name",
    )
    places = [text.index(part) for part in (*parts, "settings:", "--learning_rate", "--no_augment")]
    assert places == sorted(places)
    assert "The same as --augment false." in text
    with pytest.raises(SystemExit):
        parse_arguments(groups, ["--help"], "asm-test")
    assert capsys.readouterr().out.lstrip().startswith("Usage: asm-test")


def test_recipes_of_the_other_suffix_and_with_nested_values(tmp_path):
    (tmp_path / "plan.yml").write_text("name: {hidden_size: 96, patch_size: [16, 16]}\n")
    assert parse(str(tmp_path / "plan.yml")).name == '{"hidden_size": 96, "patch_size": [16, 16]}'
    assert describe_command("asm-test", [str(tmp_path / "plan.yml")]) == f"asm-test {tmp_path.name}/plan.yml"
    assert describe_command("asm-test", ["/plan.yml"]) == "asm-test plan.yml"
    assert describe_command("asm-test", ["--name", "a/plan.yaml"]) == "asm-test --name a/plan.yaml"


def test_files_of_arguments_are_not_read(tmp_path, monkeypatch):
    """Which transformers looks for beside the program: they would be arguments that nobody gave."""
    monkeypatch.setattr("sys.argv", [str(tmp_path / "asm-test.py")])
    (tmp_path / "asm-test.args").write_text("--learning_rate 7")
    assert parse().learning_rate == 1e-3


@pytest.mark.parametrize("given", ["--learning_rat", "--learningrate", "--learn_rate=3"])
def test_the_nearest_argument(given):
    with pytest.raises(SystemExit) as stop:
        parse(given)
    name = given.partition("=")[0]
    assert str(stop.value) == f"asm-test: There is no argument '{name}'; did you mean '--learning_rate'?"


def test_a_published_command_has_no_paths_in_its_json():
    teachers = '{"mn04": {"weights": "/home/me/teachers/mn04.safetensors", "type": "efficientat"}}'
    command = describe_command("asm-distil", ["--teachers", teachers])
    assert '"weights": "mn04.safetensors"' in command
    assert "/home" not in command
    assert '"type": "efficientat"' in command
