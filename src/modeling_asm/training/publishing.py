"""Checkpoints on the Hub: whole, in one commit, and nothing but what a stranger needs."""

from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

from huggingface_hub import HfApi


# Never a pickle such as training_args.bin, which has the run's arguments, a token among them.
PUBLISHED = ["*.safetensors", "*.safetensors.index.json", "*.py", "*.csv", "*.png", "README.md", "LICENSE"]
PUBLISHED += ["config.json", "preprocessor_config.json", "results.json"]


class PublishingError(RuntimeError):
    """The Hub did not take a checkpoint; the message says what to do."""


def code_license() -> str:
    """Return the text of this package's licence, which is that of the code in a checkpoint."""
    for distribution in metadata.distributions(name="modeling_asm"):
        for name in ("licenses/LICENSE", "LICENSE"):
            if text := distribution.read_text(name):
                return text
    return (Path(__file__).resolve().parents[3] / "LICENSE").read_text(encoding="utf-8")  # a checkout


def create_repository(repo_id: str, private: bool | None = None, token: str | None = None) -> str:
    """Create a repository on the Hub, if it is not there, before hours of training; return its full name.

    Raises:
        PublishingError: If the Hub refuses.
    """
    try:
        return HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True).repo_id
    except Exception as error:  # the Hub's errors, the network's and the disk's have no base of their own
        raise PublishingError(
            f"Cannot write to {repo_id!r} on the Hub: {first_line(error)}. See that it can be reached, log in by "
            "`hf auth login` with a token that may write, or leave --push_to_hub out."
        ) from error


def push_to_hub(
    folder: str | Path,
    repo_id: str,
    private: bool | None = None,
    token: str | None = None,
    revision: str | None = None,
) -> str:
    """Upload a checkpoint, card and licence included, as one commit: it is there as a whole or not at all.

    (`push_to_hub` of a model knows neither its feature extractor nor its card.)

    Args:
        folder: What `examples/train.py` left, or `save_pretrained` of a model and of its feature extractor.
        repo_id: Repository on the Hub, owner/name, which is created if it is not there.
        private: Whether a new repository is private; by default as the owner has set it.
        token: Token that may write; by default the one of `hf auth login`.
        revision: Branch to commit to.

    Returns:
        The repository's full name.

    Raises:
        PublishingError: If it is no checkpoint, or the Hub does not take it; what was there before stays as it was.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise PublishingError(f"{str(folder)!r} is no checkpoint: it has no config.json.")
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
    except Exception as error:  # the Hub's errors, the network's and the disk's have no base of their own
        raise PublishingError(
            f"The upload to {repo_id!r} failed: {first_line(error)}. Nothing of it is visible there, and "
            f"{folder.name!r} is whole: try again later."
        ) from error
    return repo_id


def published_files(folder: Path) -> list[str]:
    """Return the names of the files that go to the Hub: of those in the folder itself, the known ones."""
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    return [name for name in names if any(fnmatch(name, pattern) for pattern in PUBLISHED)]


def first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
