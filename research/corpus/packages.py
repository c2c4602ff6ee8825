"""The audio in Debian packages: fetched by name and version, checked, and read without installing anything."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from debian.debfile import DebFile
from items import Item
from licences import Licences, is_allowed


FONTS, SCORES = (".sf2", ".sf3"), (".mid", ".midi")
AUDIO = (".wav", ".ogg", ".oga", ".opus", ".flac", ".mp3", ".aiff", ".aif", ".au", ".voc")
ARCHIVES = (".zip", ".pk3", ".wz", ".pk4")
MUSIC, SPEECH = (
    re.compile(r"music|songs?/|/mus/|soundtrack", re.I),
    re.compile(r"/(voices?|speech|taunts?|talk)\b", re.I),
)


class PackageError(ValueError):
    """A package that is gone or is not what the list says; the message names it."""


@dataclass
class Package:
    """A package of the list.

    Args:
        name: Its name in Debian.
        version: Its version.
        sha256: Digest of the file.
        kind: What its recordings are, unless their path says music or speech; or `"font"` or `"score"`, for packages of
            sound fonts and MIDI files.
        architecture: That of the package; `"all"` if it has none.
        licence: Its licence, where its copyright file is not machine-readable.
        never: Whether nothing like its recordings may be in the corpus.
    """

    name: str
    version: str
    sha256: str
    kind: str = "effects"
    architecture: str = "all"
    licence: str = ""
    never: bool = False

    @property
    def file_name(self) -> str:
        """Name of the file, as `apt-get download` writes it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def read_packages(path: str | os.PathLike) -> list[Package]:
    """Read a list of packages."""
    return [Package(**row) for row in yaml.safe_load(Path(path).read_text(encoding="utf-8"))]


def fetch(package: Package, folder: Path) -> Path:
    """Download a package unless it is there, and check it.

    Raises:
        PackageError: If it cannot be downloaded, or has another checksum.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / package.file_name
    if not path.is_file():
        if shutil.which("apt-get") is None:
            raise PackageError(
                f"{package.file_name} is not in {str(folder)!r}, and there is no apt-get to download it."
            )
        command = ["apt-get", "download", "-qq", f"{package.name}={package.version}"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if not path.is_file():
            reason = (result.stderr.strip().splitlines() or ["no file was written"])[-1]
            raise PackageError(f"The package {package.name} {package.version} cannot be downloaded: {reason}")
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest() != package.sha256:
        raise PackageError(
            f"The package {path.name} has the SHA-256 {digest.hexdigest()}, expected {package.sha256}. Delete it if it "
            "was cut off; otherwise it is another build."
        )
    return path


def read_package(package: Package, path: Path, endings: tuple[str, ...] = AUDIO) -> Iterator[Item]:
    """Yield the recordings of a package, or other files of it, with their licences.

    Those whose licence does not allow it have a reason to be left out, unless they are only to be recognised.

    Raises:
        PackageError: If its licences cannot be read.
    """
    try:
        licences = Licences(read_copyright(package, path), package.licence)
    except ValueError as error:
        raise PackageError(f"The package {package.name} is left out: {error}.") from error
    for name, data in read_files(path, endings):
        licence = licences[name]
        reason = (
            ""
            if package.never or is_allowed(licence)
            else f"the licence {licence or 'is not known'!r} does not allow it"
        )
        kind = "music" if MUSIC.search(name) else "speech" if SPEECH.search(name) else package.kind
        yield Item(f"{package.name}/{name}", package.name, package.version, licence, kind, data, reason)


def read_copyright(package: Package, path: Path) -> str:
    """Return the copyright file of a package."""
    with DebFile(str(path)) as deb, deb.data.tgz() as archive:
        for member in archive:
            if member.name.endswith(f"usr/share/doc/{package.name}/copyright") and member.isfile():
                return archive.extractfile(member).read().decode("utf-8", "replace")
    raise PackageError(f"The package {package.name} has no copyright file.")


def read_files(path: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield the names and contents of the files of a package with such endings, those in its zip archives too."""
    with DebFile(str(path)) as deb, deb.data.tgz() as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if member.isfile() and name.lower().endswith(endings):
                yield name, archive.extractfile(member).read()
            elif member.isfile() and name.lower().endswith(ARCHIVES):
                yield from read_archive(name, archive.extractfile(member).read(), endings)


def read_archive(name: str, data: bytes, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yield such files of a zip archive; nothing if it is none."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for entry in archive.infolist():
            if entry.filename.lower().endswith(endings):
                yield f"{name}/{entry.filename}", archive.read(entry)
