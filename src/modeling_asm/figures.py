"""Figures without a screen: what every plot needs, whatever it shows."""

from pathlib import Path


# Families of fonts with the letters that matplotlib's own does not have, of Linux, macOS and Windows.
FAMILIES = ("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC", "Noto Sans KR")
FAMILIES += ("Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAGothic", "NanumGothic", "Hiragino Sans")
FAMILIES += ("Apple SD Gothic Neo", "Yu Gothic", "Meiryo", "Microsoft YaHei", "Malgun Gothic", "Arial Unicode MS")
FAMILIES += ("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai")


def figure(**arguments):
    """Return an empty figure that needs no screen."""
    import matplotlib.figure  # only for a plot, since it takes half a second

    return matplotlib.figure.Figure(layout="constrained", **arguments)


def save(picture, path: str | Path, dpi: int):
    """Write a figure. A dollar sign in the name of a label or file does not start a formula."""
    import matplotlib

    families = [family for _, family in fonts()]
    for text in picture.findobj(matplotlib.text.Text):
        text.set_parse_math(False)
        text.set_fontfamily(families)
    # Tick labels are created while the picture is drawn.
    with matplotlib.rc_context({"text.parse_math": False, "font.family": families}):
        picture.savefig(path, dpi=dpi)


def legible(text: str) -> str:
    """Return a name of a label or file on one line, with the letters that no font has as their numbers."""
    from matplotlib.ft2font import FT2Font

    missing = {letter for letter in text if letter.isprintable() and not letter.isascii()}
    for path, _ in fonts():
        if not missing:
            break
        missing -= set(map(chr, FT2Font(path).get_charmap()))
    return "".join(escape(letter) if letter in missing or not letter.isprintable() else letter for letter in text)


def escape(letter: str) -> str:
    """Return a letter as Python writes its number."""
    return letter.encode("unicode_escape").decode()


def fonts() -> list[tuple[str, str]]:
    """Return path and family of the fonts to draw with: matplotlib's own, and those with other letters."""
    from matplotlib import font_manager

    own = font_manager.FontProperties().get_name()
    found = {font.name: font.fname for font in font_manager.fontManager.ttflist if font.name in FAMILIES}
    return [(font_manager.findfont(own), own), *((found[name], name) for name in FAMILIES if name in found)]


def check_picture(path: str):
    """Check before the work whether an image can be written.

    Raises:
        ValueError: If matplotlib does not know the format, or the folder does not exist.
    """
    formats, ending = figure().canvas.get_supported_filetypes(), Path(path).suffix.lower().lstrip(".")
    if ending not in formats:
        raise ValueError(f"{path!r} must end in an image format: {', '.join(sorted(formats))}.")
    if not Path(path).parent.is_dir():
        raise ValueError(f"{path!r} cannot be written: there is no folder {str(Path(path).parent)!r}.")
