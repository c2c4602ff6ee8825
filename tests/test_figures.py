import warnings

import pytest

from modeling_asm import figures
from modeling_asm.figures import check_picture, figure, fonts, legible, save


def test_a_picture_that_cannot_be_written(tmp_path):
    check_picture(str(tmp_path / "out.PNG"))
    with pytest.raises(ValueError, match=r"must end in an image format: .*png"):
        check_picture(str(tmp_path / "out.wav"))
    with pytest.raises(ValueError, match=r"there is no folder .*nowhere"):
        check_picture(str(tmp_path / "nowhere" / "out.png"))


@pytest.mark.parametrize("text", ["dog", "Müller", "$x$ & ^", "naïve café", "α β"])
def test_names_with_letters_of_the_font(text):
    assert legible(text) == text


def test_letters_that_no_font_has(monkeypatch):
    monkeypatch.setattr(figures, "FAMILIES", ())
    assert legible("天気 ok") == r"\u5929\u6c17 ok"


def test_a_name_stays_on_one_line():
    assert legible("a\nb\tc") == r"a\nb\tc"


def test_fonts_with_other_letters_are_used(monkeypatch):
    """Where the system has one: here, one of matplotlib's own that is not its default."""
    monkeypatch.setattr(figures, "FAMILIES", ("DejaVu Sans Display", "No Such Font"))
    assert [family for _, family in fonts()] == ["DejaVu Sans", "DejaVu Sans Display"]


@pytest.mark.parametrize("label", ["天気", "a\nb", "$", "кошка"])
def test_no_warning_while_drawing(tmp_path, label):
    picture = figure(figsize=(2, 2))
    axes = picture.add_subplot()
    axes.set_yticks([0, 1], [legible(label), "x"])
    axes.set_title(legible(label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(picture, tmp_path / "out.png", dpi=50)
    assert (tmp_path / "out.png").stat().st_size > 1000
