"""What training needs beyond transformers' Trainer: data from folders, augmentation, metrics and model cards."""
