"""Publish checkpoints on the Hub: complete, in one commit, and only what others need."""

from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from huggingface_hub import HfApi
from transformers import TrainingArguments


# Never a pickle such as training_args.bin, which holds the arguments of the run, a token among them.
PUBLISHED = ["*.safetensors", "*.safetensors.index.json", "*.py", "*.csv", "*.png", "README.md", "LICENSE"]
PUBLISHED += ["config.json", "preprocessor_config.json", "results.json"]


class PublishingError(RuntimeError):
    """The Hub did not accept a checkpoint; the message says what to do."""


def code_license() -> str:
    """Return the text of this package's licence, which covers the code in a checkpoint."""
    for distribution in metadata.distributions(name="modeling_asm"):
        for name in ("licenses/LICENSE", "LICENSE"):
            if text := distribution.read_text(name):
                return text
    return (Path(__file__).resolve().parents[4] / "LICENSE").read_text(encoding="utf-8")  # a checkout


def create_repository(repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Make sure before hours of training that a repository exists and takes uploads; return its full name.

    Raises:
        PublishingError: If the Hub refuses.
    """
    api = HfApi(token=token)
    try:
        name = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        api.auth_check(name, write=True)  # one that exists is returned even to those who may only read it
        return name
    except Exception as error:  # errors of the Hub, the network and the disk have no common class
        raise PublishingError(
            f"Cannot write to {repo_id!r} on the Hub: {first_line(error)}. Check the connection, log in with "
            "`hf auth login` and a token with write access, or omit --push_to_hub."
        ) from error


def open_repository(training_args: TrainingArguments) -> str | None:
    """Make sure that the Hub will accept what a run is to publish; return the repository's name, if it is to.

    `Trainer` would push pickles, so `push_to_hub` of the arguments is off from then on.

    Raises:
        PublishingError: If the Hub refuses.
    """
    if not training_args.push_to_hub:
        return None
    training_args.push_to_hub = False
    name = training_args.hub_model_id or Path(training_args.output_dir).resolve().name
    if training_args.process_index > 0:
        return name
    return create_repository(name, training_args.hub_private_repo, training_args.hub_token)


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Upload a checkpoint with its card and licence in one commit.

    (`push_to_hub` of a model uploads neither its feature extractor nor its card.)

    Args:
        folder: The output of `asm-train`, or of `save_pretrained` of a model and its feature extractor.
        repo_id: Repository on the Hub, owner/name, which is created if it does not exist.
        private: Whether a new repository is private; by default the setting of its owner.
        token: Token with write access; by default that of `hf auth login`.
        revision: Branch to commit to.

    Returns:
        Full name of the repository.

    Raises:
        PublishingError: If the folder is not a checkpoint, or the Hub does not accept it. The repository is then
            unchanged.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise PublishingError(f"{str(folder)!r} is not a checkpoint: it has no config.json.")
    repo_id = create_repository(repo_id, private, token)
    if not (folder / "LICENSE").is_file():
        (folder / "LICENSE").write_text(code_license(), encoding="utf-8")
    try:
        HfApi(token=token).upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            revision=revision,
            allow_patterns=published_files(folder),
            commit_message=f"Upload {folder.resolve().name}",
        )
    except Exception as error:  # errors of the Hub, the network and the disk have no common class
        raise PublishingError(
            f"The upload to {repo_id!r} failed: {first_line(error)}. The repository is unchanged, and "
            f"{folder.name!r} is complete. Try again later."
        ) from error
    return repo_id


def published_files(folder: Path) -> list[str]:
    """Return the names of the files to upload: the known ones directly in the folder."""
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    return [name for name in names if any(fnmatch(name, pattern) for pattern in PUBLISHED)]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
