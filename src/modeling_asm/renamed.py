"""Modules under their former names: importing one gives the module that took its place, and a warning."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings


PACKAGE = __name__.rpartition(".")[0]
FORMER_NAMES = {
    "classify": "commands.classify",
    "convert_mixer": "commands.convert",
    "explain": "saliency",
    "mixer_weights": "conversion.weights",
    "onnx_asm": "export.onnx_runtime",
    "sources": "audio.sources",
    "spectrograms": "plots",
    "stats": "audio.statistics",
    "waveform_classifier": "export.graphs",
    "windows": "audio.windows",
    "training.cards": "training.report.cards",
    "training.clips": "training.data.clips",
    "training.cost": "measuring.cost",
    "training.decoding": "training.data.decoding",
    "training.folders": "training.data.folders",
    "training.labels": "training.data.labels",
    "training.losses": "training.tasks",
    "training.plots": "training.report.plots",
    "training.publishing": "training.report.publishing",
    "training.results": "training.report.results",
    "training.runs": "training.run_folder",
    "training.splits": "training.data.splits",
    "training.timing": "measuring.timing",
}


class FormerNames(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `FORMER_NAMES`; `python -m` finds them, too."""

    def find_spec(self, fullname: str, path=None, target=None) -> importlib.machinery.ModuleSpec | None:
        package, _, name = fullname.partition(".")
        if package != PACKAGE or name not in FORMER_NAMES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec):
        name = f"{PACKAGE}.{FORMER_NAMES[spec.name.partition('.')[2]]}"
        warnings.warn(f"{spec.name} is now {name}.", DeprecationWarning, stacklevel=2)
        self.module = importlib.import_module(name)
        self.spec = self.module.__spec__
        return self.module

    def exec_module(self, module):
        module.__spec__ = self.spec  # importing it under the former name must not rename it

    def get_code(self, fullname: str):
        """Return what `python -m` runs: the present module, as a program."""
        name = f"{PACKAGE}.{FORMER_NAMES[fullname.partition('.')[2]]}"
        return compile(
            f"import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)", fullname, "exec"
        )


def install():
    """Make the former names importable."""
    if not any(isinstance(finder, FormerNames) for finder in sys.meta_path):
        sys.meta_path.append(FormerNames())
