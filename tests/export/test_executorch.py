import re
from importlib.util import find_spec

import pytest

from modeling_asm.export.write import export


@pytest.mark.skipif(find_spec("executorch") is None, reason="needs executorch")
def test_executorch(model, feature_extractor, tmp_path):
    assert export(model, feature_extractor, tmp_path / "model.pte")["largest_difference"] < 1e-4


@pytest.mark.skipif(find_spec("executorch") is not None, reason="executorch is installed")
def test_without_executorch_the_message_says_how_to_install_it(model, feature_extractor, tmp_path):
    with pytest.raises(ImportError, match=re.escape("needs executorch: `pip install 'modeling_asm[executorch]'`")):
        export(model, feature_extractor, tmp_path / "model.pte")
