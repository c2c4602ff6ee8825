"""All arguments of an experiment, and the settings that decide its result."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from .arguments import use_defaults
from .augmentation import GENERAL_AUGMENTATION, Augmentation
from .data.loading import DataArguments
from .data.splits import SplitArguments
from .models import ModelArguments, checkpoint_name
from .teachers.soft_labels import digest_teachers, digest_weights
from .training_arguments import DECISIVE, GENERAL_DEFAULTS, AudioTrainingArguments


@dataclass
class ExperimentArguments:
    """What to repeat, what to report, and how to treat the audio."""

    cross_validate: bool = field(
        default=False,
        metadata={"help": "Hold out each value of --fold_column in turn; report mean and standard deviation."},
    )
    seeds: list[int] = field(
        default_factory=list,
        metadata={"help": "Repeat everything with these seeds; report mean and standard deviation."},
    )
    evaluate_only: bool = field(
        default=False, metadata={"help": "Train nothing: report --model_name_or_path on the test split."}
    )
    augment: bool = field(default=True, metadata={"help": "Whether to augment the training clips (default: true)."})
    on_bad_audio: str = field(
        default="error",
        metadata={"help": "What to do with an unreadable file (default: error).", "choices": ["error", "skip"]},
    )
    keep_audio: bool = field(
        default=True,
        metadata={"help": "Cache decoded samples on disk instead of decoding in each epoch (default: true)."},
    )
    resamples: int = field(
        default=1000, metadata={"help": "Bootstrap resamples for the intervals; 0 omits them (default: %(default)s)."}
    )
    measure_cost: bool = field(
        default=True, metadata={"help": "Time the model beside AST, for the card (default: true)."}
    )
    shuffle_buffer: int = field(
        default=1000, metadata={"help": "Buffer for shuffling a stream, in clips (default: %(default)s)."}
    )
    results_file: str | None = field(default=None, metadata={"help": "Also write results.json here."})
    licence: str | None = field(
        default=None, metadata={"help": "Licence of the model, for its card, such as cc-by-4.0."}
    )
    credit: str | None = field(default=None, metadata={"help": "Source and authors of the recordings, for the card."})


@dataclass
class Arguments:
    """All arguments of an experiment or of one of its runs."""

    experiment: ExperimentArguments
    data: DataArguments
    split: SplitArguments
    model: ModelArguments
    training: AudioTrainingArguments
    augmentation: Augmentation
    clips: str | None = None  # digest of the data

    def __post_init__(self):
        if self.model.is_general:
            use_defaults(self.training, GENERAL_DEFAULTS)
            use_defaults(self.augmentation, GENERAL_AUGMENTATION)

    def settings(self) -> dict:
        """Return everything that decides the result, without paths of this machine."""
        parts = (self.data, self.split, self.model, self.augmentation)
        settings = {name: value for part in parts for name, value in asdict(part).items()}
        settings |= {name: getattr(self.training, name, None) for name in DECISIVE}
        names = ("evaluate_only", "augment", "on_bad_audio", "shuffle_buffer")
        settings |= {name: getattr(self.experiment, name) for name in names}
        return settings | {
            "dataset_name": self.data.hub_name,
            "manifest": Path(self.data.manifest or "").name,
            "data_dir": self.data.name,
            "clips": self.clips,
            "model_name_or_path": self.model.start,
            "start_weights": digest_weights(self.model.checkpoint),
            "teachers": [checkpoint_name(teacher) for teacher in self.training.teachers],
            "teacher_weights": digest_teachers(self.training.teachers),
            "train_also": self.split.train_also_names,
        }
