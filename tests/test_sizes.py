import pytest
import torch

from modeling_asm import ASM_SIZES, ASMConfig, ASMModel


@pytest.mark.parametrize("name", ASM_SIZES)
def test_the_table_has_the_counted_parameters(name):
    size = ASM_SIZES[name]
    with torch.device("meta"):
        assert ASMModel(ASMConfig(**size.config)).num_parameters() == size.parameters


def test_base_is_the_papers_model():
    assert ASMConfig(**ASM_SIZES["base"].config).to_dict() == ASMConfig().to_dict()
