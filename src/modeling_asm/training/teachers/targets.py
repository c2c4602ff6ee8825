"""What teachers of a general encoder say of a sound: one vector, or a vector at each step along time."""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import soxr

from ...targets import MULTI_LABEL


@dataclass(frozen=True)
class Target:
    """An output of a teacher.

    Args:
        name: Its name, after the teacher's: `"mn04.logits"`.
        size: Length of a vector.
        hop: Seconds between the vectors along time; 0 if there is one for the whole window.
        first: Centre of the first vector, in seconds from the start of the window.
        labels: Whether the vector has a logit for each label of the teacher.
    """

    name: str
    size: int
    hop: float = 0.0
    first: float = 0.0
    labels: bool = False


@dataclass(frozen=True)
class Teacher:
    """A network that labels any sound.

    Args:
        name: Its name in the recipe.
        digest: Digest of its weights and settings; a bank belongs to those that labelled it.
        sampling_rate: Samples per second of what it hears, in hertz.
        targets: What it gives.
        label: A function of waveforms, float32 of shape `(batch_size, num_samples)` at its sampling rate, that returns
            an array for each target: of shape `(batch_size, size)`, or `(batch_size, steps, size)` along time.
        credit: What a student's card says of it: name, authors, licence.
        id2label: The names of its labels, if it has any.
        problem_type: Whether a sound may have several of them: as in the configuration of a model.
    """

    name: str
    digest: str
    sampling_rate: int
    targets: tuple[Target, ...]
    label: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    credit: str = ""
    id2label: dict[int, str] | None = None
    problem_type: str = MULTI_LABEL

    def __call__(self, waveforms: np.ndarray, sampling_rate: int) -> dict[str, np.ndarray]:
        """Label waveforms of shape `(batch_size, num_samples)` at any sampling rate.

        Raises:
            ValueError: If an output is not finite or does not have the shape of its target.
        """
        if sampling_rate != self.sampling_rate:
            waveforms = soxr.resample(waveforms.T, sampling_rate, self.sampling_rate).T
        outputs = self.label(np.ascontiguousarray(waveforms, dtype=np.float32))
        for target, output in zip(self.targets, outputs, strict=True):
            if output.ndim != 2 + (target.hop > 0) or output.shape[-1] != target.size:
                raise ValueError(
                    f"The teacher {self.name!r} gives {target.name!r} of shape {output.shape}, expected "
                    f"(batch_size, {'steps, ' if target.hop else ''}{target.size})."
                )
            if not np.isfinite(output).all():
                raise ValueError(f"The teacher {self.name!r} gives {target.name!r} that is not finite.")
        return {target.name: output for target, output in zip(self.targets, outputs, strict=True)}

    def describe(self) -> dict:
        """Return what a bank keeps of it, as JSON."""
        return {"name": self.name, "digest": self.digest, "targets": [asdict(target) for target in self.targets]}
