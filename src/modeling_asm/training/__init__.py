"""Training: data, augmentation, tasks, models, Trainer, resumable runs, and reports."""
