import pytest
from transformers import AutoConfig

from modeling_asm.general import find_encoder


def test_the_encoder_that_comes_with_the_package():
    config = AutoConfig.from_pretrained(find_encoder())
    assert config.num_labels == 527  # AudioSet's
    assert config.id2label[0] == "Speech"
    assert config.problem_type == "multi_label_classification"


def test_an_encoder_that_is_not_there():
    with pytest.raises(
        FileNotFoundError, match=r"There is no general encoder 'huge' in .*, only \['asm-small-general'"
    ):
        find_encoder("huge")
