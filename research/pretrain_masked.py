"""Pretrain an ASM without a teacher: masked prediction on the mixtures of a bank.

    python research/pretrain_masked.py recipes/encoders/general_small.yaml --bank bank --output_dir masked \
        --max_steps 2000

The result is a start for `asm-distil --start masked`, or an encoder by itself. What the teachers said is not read.
"""

import argparse
from pathlib import Path

import torch
import yaml
from transformers import Trainer, TrainingArguments, set_seed

from modeling_asm import ASMConfig, ASMFeatureExtractor, ASMForPreTraining
from modeling_asm.pretraining import draw_mask
from modeling_asm.training.distillation.bank import FEATURES, SHARDS
from modeling_asm.training.distillation.batches import BankDataset, Collator, StudentAugmentation
from modeling_asm.training.distillation.muon import MuonWithAdamW


class MaskingCollator(Collator):
    """Also draws which patches of each mixture are masked.

    Args:
        config: The configuration of the model.
        **kwargs: Arguments of [`Collator`].
    """

    def __init__(self, config: ASMConfig, **kwargs):
        super().__init__(**kwargs)
        self.config = config

    def __call__(self, rows: list[dict]) -> dict:
        """Return `input_values` and `bool_masked_pos`."""
        values = super().__call__([{name: row[name] for name in (FEATURES, "index")} for row in rows])["input_values"]
        return {"input_values": values, "bool_masked_pos": draw_mask(self.config, len(rows))}


class MaskedTrainer(Trainer):
    """Trainer with the optimizers of a student."""

    def create_optimizer(self, model=None):
        """Build Muon for the matrices of the layers, and AdamW for the rest."""
        args = self.args
        betas = (args.adam_beta1, args.adam_beta2)
        options = {"lr": args.learning_rate, "weight_decay": args.weight_decay, "betas": betas}
        self.optimizer = MuonWithAdamW(model or self.model, lambda name: ".layers." in name, **options)
        return self.optimizer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path, help="Recipe of a student, whose `model` is trained.")
    parser.add_argument("--bank", type=Path, required=True, help="Folder of a bank, as asm-distil fills it.")
    parser.add_argument("--output_dir", type=Path, required=True, help="Folder for the checkpoint.")
    parser.add_argument("--max_steps", type=int, required=True)
    parser.add_argument("--batch_size", type=int, default=96)
    parser.add_argument("--learning_rate", type=float, default=2e-3)
    parser.add_argument("--plain", action="store_true", help="Predict log-mel features that are not standardised.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    model = yaml.safe_load(args.recipe.read_text(encoding="utf-8"))["model"]
    pretrain(
        ASMConfig(**model, norm_patch_loss=not args.plain),
        sorted(args.bank.glob(f"*/train/{SHARDS}")),
        args.output_dir,
        args.max_steps,
        batch_size=args.batch_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
    )


def pretrain(
    config: ASMConfig,
    shards: list[Path],
    output_dir: Path,
    max_steps: int,
    batch_size: int = 96,
    learning_rate: float = 2e-3,
    seed: int = 0,
) -> float:
    """Pretrain a new model on the mixtures of a bank's shards, and save it with its feature extractor.

    Returns:
        The seconds that the training took.
    """
    set_seed(seed)
    bank = BankDataset(shards)
    features = torch.stack([bank[index][FEATURES] for index in range(0, len(bank), max(len(bank) // 4096, 1))]).float()
    mean, std = round(features.mean().item(), 4), round(features.std().item(), 4)
    model = ASMForPreTraining(config)
    trainer = MaskedTrainer(
        model,
        TrainingArguments(
            str(output_dir),
            max_steps=max_steps,
            per_device_train_batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=0.05,
            adam_beta2=0.98,
            warmup_steps=min(200, max_steps // 10),
            lr_scheduler_type="cosine",
            bf16=True,
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="no",
            logging_steps=100,
            report_to="none",
            remove_unused_columns=False,
            seed=seed,
        ),
        MaskingCollator(config, mean=mean, std=std, augmentation=StudentAugmentation()),
        bank,
    )
    seconds = trainer.train().metrics["train_runtime"]
    model.save_pretrained(output_dir)
    extractor = ASMFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length, mean=mean, std=std)
    extractor.save_pretrained(output_dir)
    return seconds


if __name__ == "__main__":
    main()
