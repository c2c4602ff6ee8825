"""Modules under their former names: importing one gives the names of the modules that took its place, and a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings


PACKAGE = __name__.rpartition(".")[0]
# The first one is what `python -m` runs.
FORMER_NAMES = {
    "classify": ("commands.classify",),
    "convert_mixer": ("commands.convert", "conversion.mixer"),
    "explain": ("commands.explain", "saliency"),
    "mixer_weights": ("conversion.weights",),
    "onnx_asm": ("export.onnx_runtime",),
    "sizes": ("configuration_asm",),
    "sources": ("audio.sources",),
    "spectrograms": ("plots",),
    "stats": ("commands.stats", "audio.statistics"),
    "waveform_classifier": ("export.graphs",),
    "windows": ("audio.windows",),
    "training.balance": ("training.data.labels",),
    "training.cards": ("training.report.cards", "measuring.environment"),
    "training.clips": ("training.data.clips",),
    "training.cost": ("measuring.cost",),
    "training.decoding": ("training.data.decoding",),
    "training.folders": ("training.data.folders",),
    "training.labels": ("training.data.labels",),
    "training.losses": ("training.tasks", "training.trainer"),
    "training.plots": ("training.report.plots",),
    "training.publishing": ("training.report.publishing",),
    "training.results": ("training.report.results",),
    "training.runs": ("training.run_folder",),
    "training.splits": ("training.data.splits",),
    "training.timing": ("measuring.timing",),
}


def present_names(fullname: str) -> list[str]:
    """Return the full names of the modules that took the place of a module."""
    return [f"{PACKAGE}.{name}" for name in FORMER_NAMES.get(fullname.removeprefix(f"{PACKAGE}."), ())]


class FormerNames(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules of `FORMER_NAMES`; `python -m` finds them, too."""

    def find_spec(self, fullname: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if present_names(fullname) else None

    def exec_module(self, module):
        names = present_names(module.__name__)
        warnings.warn(f"{module.__name__} is now {' and '.join(names)}.", DeprecationWarning, stacklevel=2)
        for name in reversed(names):
            present = vars(importlib.import_module(name))
            vars(module).update({key: value for key, value in present.items() if not key.startswith("__")})

    def get_source(self, fullname: str) -> str:
        """Return what `python -m` runs: the present module, as a program."""
        name = present_names(fullname)[0]
        return f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"


def install():
    """Make the former names importable."""
    sys.meta_path.append(FormerNames())
