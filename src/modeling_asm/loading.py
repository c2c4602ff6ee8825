"""Load a trained classifier as a pipeline, or its encoder, and say at once what is wrong with a checkpoint."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification
from transformers.utils import logging

from .configuration_asm import ASMConfig
from .feature_extraction_asm import ASMFeatureExtractor
from .general import resolve_checkpoint
from .modeling_asm import ASMForAudioClassification, ASMModel
from .pipeline_asm import ASMAudioClassificationPipeline


def load_pipeline(checkpoint: str, device: str | None = None) -> ASMAudioClassificationPipeline:
    """Load a trained classifier as a pipeline.

    Args:
        checkpoint: Its folder, the name of an encoder of this package, or its name on the Hub.
        device: Where to compute, such as `"cpu"` or `"cuda:0"`; by default the first accelerator, if there is one.

    Raises:
        OSError: If there is no such checkpoint, or it is a file.
        ValueError: If it is not an ASM, lacks weights for a part of the model (which would then be random), or the
            device cannot be used.
    """
    checkpoint = resolve_checkpoint(checkpoint)
    check_checkpoint(checkpoint)
    try:
        model, loading = AutoModelForAudioClassification.from_pretrained(checkpoint, output_loading_info=True)
    except OSError as error:
        if os.path.isdir(checkpoint):
            raise
        raise OSError(f"There is no folder {checkpoint!r}, and the Hub says: {error}") from error
    if not isinstance(model, ASMForAudioClassification):
        raise ValueError(
            f"{checkpoint} is a {type(model).__name__}, expected an ASMForAudioClassification. Use transformers' own "
            "`pipeline('audio-classification')` for it."
        )
    check_weights(checkpoint, loading)
    try:
        model.to(device or "cpu")
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"The device {device!r} cannot be used: {error}") from error
    feature_extractor = AutoFeatureExtractor.from_pretrained(checkpoint)
    return ASMAudioClassificationPipeline(model=model, feature_extractor=feature_extractor, device=device)


def load_encoder(checkpoint: str) -> tuple[ASMModel, ASMFeatureExtractor]:
    """Load an ASM without its classifier, and its feature extractor.

    Args:
        checkpoint: Its folder, the name of an encoder of this package, or its name on the Hub.

    Raises:
        OSError: If there is no such checkpoint, or it is a file.
        ValueError: If it is not an ASM, or lacks weights.
    """
    checkpoint = resolve_checkpoint(checkpoint)
    check_checkpoint(checkpoint)
    if (kind := AutoConfig.from_pretrained(checkpoint).model_type) != ASMConfig.model_type:
        raise ValueError(f"{checkpoint!r} is a model of the type {kind!r}, expected {ASMConfig.model_type!r}.")
    with without_report():  # that the classifier is not loaded
        model, loading = ASMModel.from_pretrained(checkpoint, output_loading_info=True)
    check_weights(checkpoint, loading)
    return model.eval(), AutoFeatureExtractor.from_pretrained(checkpoint)


@contextmanager
def without_report() -> Iterator[None]:
    """Keep transformers' report about weights off the screen: for whoever looks at the loading information instead."""
    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def check_checkpoint(name: str):
    """Raise `OSError` if a checkpoint's name is that of a file, or can only be that of a folder that does not exist."""
    if os.path.isfile(name):
        raise NotADirectoryError(
            f"{name!r} is a file, expected the folder of a checkpoint or its name on the Hub. `asm-classify` also "
            "runs exported .onnx files; .pt2 and .pte files need their own runtimes."
        )
    if (name.startswith((".", "/", "~")) or name.count("/") > 1) and not os.path.isdir(name):
        raise FileNotFoundError(
            f"There is no checkpoint {name!r}: give its folder, or its name on the Hub, owner/name."
        )


def check_weights(checkpoint: str, loading: dict):
    """Raise `ValueError` if a part of a model has no weights in its checkpoint, and is therefore random.

    Args:
        checkpoint: Its name in the message.
        loading: What `from_pretrained` returns with `output_loading_info=True`.
    """
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"]))
        raise ValueError(f"{checkpoint} is not a trained classifier: it has no weights for {missing}. Train it first.")
