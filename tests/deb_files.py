"""Debian packages as tests need them."""

import io
import tarfile
import zipfile
from pathlib import Path


def archive(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:xz") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return output.getvalue()


def zipped(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return output.getvalue()


def write_deb(path: Path, files: dict[str, bytes]):
    """Write a binary package: an `ar` archive of a version, and of two tar archives (deb(5))."""
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": archive({"control": b"Package: game\n"}),
        "data.tar.xz": archive(files),
    }
    with open(path, "wb") as file:
        file.write(b"!<arch>\n")
        for name, content in parts.items():
            file.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode())
            file.write(content + b"\n" * (len(content) % 2))
