"""Find the recordings in a folder, and keep what is left out, with the reason."""

from dataclasses import dataclass, field
from pathlib import Path

from .containers import is_recording


# Names that promise a recording, so that a damaged one is an error. What has another name is judged by its content.
ENDINGS = {".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".au", ".snd", ".flac", ".oga"}
ENDINGS |= {".ogg", ".opus", ".spx", ".mp3", ".mp2", ".m4a", ".aac", ".wma", ".webm", ".mka", ".wv", ".amr", ".3gp"}
ENDINGS |= {".sph", ".nist", ".voc", ".avr", ".8svx", ".sf", ".paf", ".pvf", ".htk", ".ac3", ".tta", ".ape", ".gsm"}
HIDDEN, DANGLING, OTHER = "hidden", "broken links", "not known as recordings"
HIDDEN_FOLDERS, LOOPS, MISSING = "hidden folders", "links to a folder of the same data", "missing"
NO_FILES = (HIDDEN_FOLDERS, LOOPS, MISSING)  # which are not counted among the files that were found
NAMED = 3  # names that a line shows of each reason


@dataclass
class Listing:
    """What was found in a folder.

    Args:
        files: The recordings, in alphabetical order of their paths.
        left_out: The other files, by the reason.
    """

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def leave_out(self, reason: str, path: Path):
        """Add a file that is left out."""
        self.left_out.setdefault(reason, []).append(path)

    def extend(self, other: "Listing"):
        """Add what was found elsewhere."""
        self.files += other.files
        for reason, paths in other.left_out.items():
            self.left_out.setdefault(reason, []).extend(paths)

    def describe(self, root: Path) -> str:
        """Say how many files were found, used, and left out and why, with names below a folder."""
        missing = sum(len(paths) for reason, paths in self.left_out.items() if reason not in NO_FILES)
        line = f"{len(self.files) + missing} files found, {len(self.files)} used"
        reasons = []
        for reason, paths in self.left_out.items():
            names = [repr(str(path.relative_to(root)) if path.is_relative_to(root) else str(path)) for path in paths]
            more = ", ..." if len(names) > NAMED else ""
            reasons.append(f"{len(paths)} {reason} ({', '.join(names[:NAMED])}{more})")
        return f"{line}; left out: {', '.join(reasons)}" if reasons else line


def list_recordings(folder: Path, deep: bool = True, root: Path | None = None) -> Listing:
    """List the recordings in a folder.

    Hidden files, broken links, links to a folder of the same data, and files that neither have the name of a recording
    nor its content are left out.

    Args:
        folder: The folder.
        deep: Whether to look into its sub-folders, too.
        root: The folder of the data, by default this one. A link that leads into it, or to a folder around it, would
            list files twice.

    Raises:
        OSError: If the folder cannot be read.
    """
    listing = Listing()
    list_into(listing, folder, deep, [(root or folder).resolve()])
    listing.files.sort()
    return listing


def list_into(listing: Listing, folder: Path, deep: bool, entered: list[Path]):
    """Add what is in a folder to a listing.

    Args:
        listing: What was found so far.
        folder: The folder.
        deep: Whether to look into its sub-folders, too.
        entered: The folder of the data, and those that links have led to, to which this one adds its own.
    """
    for child in sorted(folder.iterdir()):
        if is_hidden(child):
            listing.leave_out(HIDDEN_FOLDERS if child.is_dir() else HIDDEN, child)
        elif child.is_dir():
            if child.is_symlink() and leads_back(child, entered):
                listing.leave_out(LOOPS, child)
            elif deep:
                if child.is_symlink():
                    entered.append(child.resolve())
                list_into(listing, child, deep, entered)
        elif child.is_file():
            if child.suffix.lower() in ENDINGS or has_sound(child):
                listing.files.append(child)
            else:
                listing.leave_out(OTHER, child)
        else:
            listing.leave_out(DANGLING if child.is_symlink() else OTHER, child)


def leads_back(link: Path, entered: list[Path]) -> bool:
    """Return whether a link leads into one of some folders, or to one around it."""
    target = link.resolve()
    return any(target.is_relative_to(folder) or folder.is_relative_to(target) for folder in entered)


def is_hidden(path: Path) -> bool:
    """Return whether a file or folder is one of those that operating systems leave behind."""
    return path.name.startswith((".", "__MACOSX"))


def has_sound(path: Path) -> bool:
    """Return whether a file starts like a recording."""
    try:
        with open(path, "rb") as file:
            return is_recording(file)
    except OSError:
        return False


def sub_folders(folder: Path, root: Path | None = None) -> list[Path]:
    """Return the folders in a folder that [`list_recordings`] looks into, in alphabetical order."""
    folders = [child for child in sorted(folder.iterdir()) if child.is_dir() and not is_hidden(child)]
    entered = [(root or folder).resolve()]
    return [child for child in folders if not (child.is_symlink() and leads_back(child, entered))]
