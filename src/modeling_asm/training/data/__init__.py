"""Labelled audio: where it comes from, what its labels are, how it is split, and how clips become a model's input."""

from .loading import DataArguments, load_audio_dataset


__all__ = ["DataArguments", "load_audio_dataset"]
