"""What the commands share: the trained model, messages of one line, and a decoder that does not talk."""

import contextlib
import os
import sys
from collections.abc import Iterator

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

from .modeling_asm import ASMForAudioClassification
from .pipeline_asm import ASMAudioClassificationPipeline


def load_pipeline(checkpoint: str, device: str | None = None) -> ASMAudioClassificationPipeline:
    """Load the pipeline of a trained classifier.

    Args:
        checkpoint: Its folder, or its name on the Hub.
        device: Where to compute, such as `"cpu"` or `"cuda:0"`; by default the first accelerator, if there is one.

    Raises:
        OSError: If there is no such checkpoint, or a file instead of a folder.
        ValueError: If it is not an ASM, or has no weights for a part of the model, which would then be random, or there
            is no such device.
    """
    check_checkpoint(checkpoint)
    try:
        model, loading = AutoModelForAudioClassification.from_pretrained(checkpoint, output_loading_info=True)
    except OSError as error:
        if os.path.isdir(checkpoint):
            raise
        raise OSError(f"There is no folder {checkpoint!r}, and from the Hub: {error}") from error
    if not isinstance(model, ASMForAudioClassification):
        raise ValueError(
            f"{checkpoint} is a {type(model).__name__}, expected an ASMForAudioClassification; transformers' own "
            "`pipeline('audio-classification')` takes it."
        )
    check_weights(checkpoint, loading)
    try:
        model.to(device or "cpu")
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"The device {device!r} cannot be used: {error}") from error
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    return ASMAudioClassificationPipeline(model=model, feature_extractor=feature_extractor, device=device)


def check_checkpoint(name: str):
    """Raise an `OSError` where a name is a file's, or such as only a folder has, which is not there."""
    if os.path.isfile(name):
        raise NotADirectoryError(
            f"{name!r} is a file, expected the folder of a checkpoint, or its name on the Hub. Of exported models, "
            "`asm-classify` takes those that end on .onnx; the others are for their own runtimes."
        )
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not os.path.isdir(name):
        raise FileNotFoundError(
            f"There is no checkpoint {name!r}: give its folder, or its name on the Hub, owner/name."
        )


def check_weights(checkpoint: str, loading: dict):
    """Raise `ValueError` where a part of a model has no weights in its checkpoint, and is random.

    Args:
        checkpoint: What to call it in the message.
        loading: What `from_pretrained` says with `output_loading_info=True`.
    """
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"]))
        raise ValueError(f"{checkpoint} is no trained classifier: it has no weights for {missing}. Train it first.")


def one_line(error: object) -> str:
    """Return a message without line breaks: a file's name may have some."""
    return " ".join(str(error).split())


@contextlib.contextmanager
def quiet_decoder() -> Iterator[None]:
    """Keep what libmpg123 itself prints about a damaged file off standard error, for commands, which say it in a line.

    Python's `sys.stderr` goes where it went.
    """
    stderr = sys.stderr
    try:
        shared = stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):  # closed, or kept in memory
        shared = False
    if not shared:
        yield
        return
    stderr.flush()
    options = {"buffering": 1, "encoding": stderr.encoding, "errors": stderr.errors}
    with open(os.devnull, "w") as nothing, open(os.dup(2), "w", **options) as kept:
        os.dup2(nothing.fileno(), 2)
        sys.stderr = kept
        try:
            yield
        finally:
            os.dup2(kept.fileno(), 2)
            sys.stderr = stderr
