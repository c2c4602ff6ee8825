"""The licence of each file of a Debian package, from its copyright file."""

import fnmatch
import re
from collections.abc import Iterator

from debian.copyright import Copyright, NotMachineReadableError


# Licences that allow what is done here: to learn from the audio, and to publish the weights with credits.
ALLOWED = re.compile(
    r"(A?L?GPL|GNU|GFDL|CC-?(SA-?)?BY|CC-?0|CC-?ZERO|MIT|Expat|BSD|ISC|ZLIB|PD$|PD-|public.?domain|Apache|Artistic|WTFPL|OFL|"
    r"SIL|Free.?Art|LAL|MPL|Beerware|permissive|Unlicense|X11|EPL|CeCILL|Sampling-?Plus|Creative.?Commons.?(Zero|BY))",
    re.IGNORECASE,
)
FORBIDDEN = re.compile(r"(^|[-_ ]|BY)(NC|ND|NCSA|non-?commercial|no-?deriv\w*)([-_ \d.]|$)", re.IGNORECASE)


def is_allowed(licence: str) -> bool:
    """Whether a licence, such as `"GPL-2+ or CC-BY-SA-3.0 and MIT"`, allows what is done with the audio.

    `and` binds before `or`, unless a comma stands before it, as Debian's format says.
    """
    return all(
        any(
            all(
                ALLOWED.match(name.strip(" ,()")) and not FORBIDDEN.search(name)
                for name in re.split(r"\s+and\s+", choice)
            )
            for choice in re.split(r"\s+or\s+|\|", part)
        )
        for part in re.split(r",\s*and\s+", licence)
    )


class Licences:
    """Looks up the licences of a package's files.

    Copyright files name the paths of the source; a package has them elsewhere. The pattern with the longest fixed text
    that fits the end of a path decides, and among equally long ones the last, as Debian's format says.

    Args:
        text: The copyright file.
        default: Licence of the package, for copyright files that only people can read.

    Raises:
        ValueError: If the file cannot be read and there is no default.
    """

    def __init__(self, text: str, default: str = ""):
        self.patterns, self.default = [], default
        if default:
            return
        try:
            paragraphs = list(Copyright(text.splitlines(keepends=True), strict=False).all_files_paragraphs())
        except (NotMachineReadableError, ValueError) as error:
            raise ValueError(f"its copyright file is not machine-readable ({error}); state `licence`") from error
        for paragraph in paragraphs:
            licence = paragraph.license.synopsis if paragraph.license else ""
            for pattern in paragraph.files:
                self.patterns += [(tail, licence) for tail in tails_of(pattern)]

    def __getitem__(self, path: str) -> str:
        """Return the short name of the licence of an installed file; empty if the copyright file does not tell."""
        parts = path.strip("/").split("/")
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        best, licence = -1, self.default
        for pattern, name in self.patterns:
            fixed = len(pattern.replace("*", "").replace("?", ""))
            if fixed >= best and any(fnmatch.fnmatchcase(end, pattern) for end in ends):
                best, licence = fixed, name
        return licence


def tails_of(pattern: str) -> Iterator[str]:
    """Yield a pattern, and its ends that still name a folder or a file: an extension alone does not."""
    parts = pattern.removeprefix("./").split("/")
    yield "/".join(parts)
    for start in range(1, len(parts)):
        stems = [*parts[start:-1], re.sub(r"\.\w+$", "", parts[-1])]
        if re.search(r"\w{3}", stems[0].replace("*", "")):
            yield "/".join(parts[start:])
