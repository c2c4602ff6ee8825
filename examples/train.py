"""Fine-tune or train an audio classifier on a folder of recordings with transformers' Trainer: the script to copy.

    python examples/train.py recordings my-model
    python examples/train.py recordings my-model checkpoints/asm-small-keywords

`recordings` has one sub-folder per class. `asm-train` also measures the statistics of the features and resumes runs,
and has options for other data, held-out speakers, intervals and teachers.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from datasets import ClassLabel
from transformers import Trainer, TrainingArguments, set_seed

from modeling_asm import ASM_SIZES, ASMConfig, ASMFeatureExtractor, ASMForAudioClassification
from modeling_asm.audio import load_audio
from modeling_asm.training.augmentation import Augmentation
from modeling_asm.training.data.loading import DataArguments, load_audio_dataset
from modeling_asm.training.metrics import Accuracy, MacroF1


def main(data_dir: str, output_dir: str, checkpoint: str | None = None, epochs: int = 40):
    set_seed(42)
    clips = load_audio_dataset(DataArguments(data_dir=data_dir))["train"]
    splits = clips.train_test_split(test_size=0.2, seed=42, stratify_by_column="label")
    labels: ClassLabel = clips.features["label"]
    names = {
        "id2label": dict(enumerate(labels.names)),
        "label2id": {name: index for index, name in enumerate(labels.names)},
    }
    if checkpoint:
        feature_extractor = ASMFeatureExtractor.from_pretrained(checkpoint)
        model = ASMForAudioClassification.from_pretrained(checkpoint, **names, ignore_mismatched_sizes=True)
    else:
        config = ASMConfig(**ASM_SIZES["tiny"].config, drop_path_rate=0.1, **names)
        feature_extractor = ASMFeatureExtractor(num_mel_bins=config.num_mel_bins, max_length=config.max_length)
        model = ASMForAudioClassification(config)
    rate, augmentation, rng = feature_extractor.sampling_rate, Augmentation(), np.random.default_rng(42)

    def transform(batch: dict, augment: bool) -> dict:
        waveforms = [torch.from_numpy(load_audio(audio["path"], rate)) for audio in batch["audio"]]
        if augment:
            waveforms = augmentation.augment_waveforms(waveforms, rate, rng)
        inputs = feature_extractor(waveforms, sampling_rate=rate, return_tensors="pt", truncation=True)
        if augment:
            decibel = feature_extractor.units_per_decibel
            inputs["input_values"] = augmentation.augment_features(inputs["input_values"], decibel, rng)
        return {"input_values": inputs["input_values"], "labels": batch["label"]}

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir,
            num_train_epochs=epochs,
            learning_rate=1e-3,
            warmup_steps=0.1,
            weight_decay=0.05,
            per_device_train_batch_size=32,
            eval_strategy="epoch",
            logging_strategy="epoch",
            save_strategy="no",
            remove_unused_columns=False,  # the transform needs the audio
            report_to="none",
        ),
        train_dataset=splits["train"].with_transform(lambda batch: transform(batch, augment=True)),
        eval_dataset=splits["test"].with_transform(lambda batch: transform(batch, augment=False)),
        processing_class=feature_extractor,
    )
    trainer.train()
    output = trainer.predict(trainer.eval_dataset)
    answers = {"predictions": output.predictions.argmax(1), "references": output.label_ids}
    print(Accuracy().compute(**answers) | MacroF1().compute(**answers))
    trainer.save_model()  # weights, code, config and feature extractor
    trainer.create_model_card(tasks="audio-classification", model_name=Path(output_dir).name)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("Usage: python examples/train.py RECORDINGS OUTPUT [CHECKPOINT]")
    main(*sys.argv[1:])
