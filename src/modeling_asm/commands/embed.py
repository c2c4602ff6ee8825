"""The command `asm-embed`: embed the recordings in a folder with a general encoder, and draw a map of them.

    asm-embed recordings --output embeddings.parquet
    asm-embed recordings --html map.html
    asm-embed recordings --output windows.npz --timestamps

A recording that cannot be read is reported on standard error, and the exit status is then 1.
"""

import argparse
import os
import sys
import urllib.parse
from pathlib import Path

import jinja2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..embeddings import Embedder, Embedding, embed_folder, lay_out
from ..general import find_encoder
from .console import one_line, quiet_decoder, quiet_libraries


TEMPLATE = Path(__file__).resolve().parent.parent / "embedding_map.html"
FORMATS = (".npz", ".parquet")
EXIT_STATUS = "Exit status: 0 on success, 1 if a recording could not be read, 2 if the command could not start."


@quiet_decoder()
def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    description = "Embed the recordings in a folder, and draw a map of them."
    parser = argparse.ArgumentParser(prog="asm-embed", description=description, epilog=EXIT_STATUS)
    parser.add_argument("folder", help="Folder of recordings.")
    parser.add_argument("--output", help="File for the embeddings: .npz or .parquet.")
    parser.add_argument("--html", help="File for a map that plays the recordings: similar ones are close together.")
    parser.add_argument("--model", help="Folder of an ASM, or its name on the Hub (default: asm-small-general).")
    parser.add_argument("--timestamps", action="store_true", help="Write each window, not the mean of a recording.")
    parser.add_argument("--window_overlap", type=float, help="Fraction of a window that overlaps with the next.")
    parser.add_argument("--channel", type=int, help="Channel of each file, from 0 (default: the mean of all).")
    parser.add_argument("--device", help="Where to compute: cpu, cuda:0, ... (default: the first GPU, if any).")
    args = parser.parse_args(arguments)
    if not args.output and not args.html:
        parser.error("Set --output, --html or both: there is nothing to write.")
    if args.output and not args.output.endswith(FORMATS):
        parser.error(f"--output is {args.output!r}, expected a file that ends in {' or '.join(FORMATS)}.")
    if args.timestamps and not args.output:
        parser.error("--timestamps is for --output: a map has one point for each recording.")
    quiet_libraries()
    try:
        for path in filter(None, (args.output, args.html)):
            check_target(path)
        embedder = Embedder(args.model or find_encoder(), args.device, args.window_overlap)
        embeddings, errors = embed_folder(args.folder, embedder, args.channel)
        for error in errors.values():
            print(f"asm-embed: {one_line(error)}", file=sys.stderr)
        write(embeddings, args)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"asm-embed: {one_line(error)}", file=sys.stderr)
        return 2
    return 1 if errors else 0


def check_target(path: str):
    """Raise `OSError` if a file cannot be written there, before hours are spent on what it is to hold."""
    folder = Path(path).resolve().parent
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder {str(folder)!r} for {Path(path).name!r}.")
    if Path(path).is_dir() or not os.access(folder, os.W_OK):
        raise PermissionError(f"{path!r} cannot be written: it is a folder, or in one that is read-only.")


def write(embeddings: dict[str, Embedding], args: argparse.Namespace):
    """Write what was asked for."""
    if args.output:
        columns = tabulate(embeddings, args.timestamps)
        unfinished = Path(args.output).with_name(f"unfinished-{Path(args.output).name}")
        if args.output.endswith(".npz"):
            np.savez(unfinished, **columns)
        else:
            rows = pa.array(list(columns.pop("embeddings")), pa.list_(pa.float32()))
            names = {"files": "file", "starts": "start", "ends": "end"}
            table = {names[name]: pa.array(values) for name, values in columns.items()}
            pq.write_table(pa.table({**table, "embedding": rows}), unfinished)
        os.replace(unfinished, args.output)
    if args.html:
        unfinished = Path(args.html).with_name(f"unfinished-{Path(args.html).name}")
        unfinished.write_text(draw(embeddings, args), encoding="utf-8")
        os.replace(unfinished, args.html)


def printable(name: str) -> str:
    """Return the name of a file with question marks for bytes that are not UTF-8."""
    return name.encode("utf-8", "replace").decode("utf-8")


def tabulate(embeddings: dict[str, Embedding], timestamps: bool) -> dict[str, np.ndarray]:
    """Return the columns of the output: `files` and `embeddings`, and with timestamps `starts` and `ends`."""
    if not timestamps:
        vectors = np.stack([embedding.vector for embedding in embeddings.values()])
        return {"files": np.array(list(map(printable, embeddings))), "embeddings": vectors}
    times = np.concatenate([embedding.times for embedding in embeddings.values()])
    return {
        "files": np.repeat(
            list(map(printable, embeddings)), [len(embedding.windows) for embedding in embeddings.values()]
        ),
        "starts": times[:, 0],
        "ends": times[:, 1],
        "embeddings": np.concatenate([embedding.windows for embedding in embeddings.values()]),
    }


def draw(embeddings: dict[str, Embedding], args: argparse.Namespace) -> str:
    """Return the page with the map. The folder of a recording decides its colour."""
    places = lay_out(np.stack([embedding.vector for embedding in embeddings.values()]))
    folders = sorted({os.path.dirname(name) for name in embeddings})
    hues = {folder: round(360 * number / len(folders)) for number, folder in enumerate(folders)}
    base = Path(os.path.relpath(args.folder, os.path.dirname(os.path.abspath(args.html))))  # as browsers do: no links
    points = [
        {"x": x, "y": y, "name": printable(name), "hue": hues[os.path.dirname(name)],
         "url": urllib.parse.quote((base / name).as_posix(), errors="surrogateescape")}
        for name, (x, y) in zip(embeddings, places.tolist())
    ]  # fmt: skip
    template = jinja2.Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=Path(args.folder).resolve().name, points=points)


if __name__ == "__main__":
    sys.exit(main())
