"""Trained networks that a model learns from: soft labels of the same task, and embeddings of another one's."""
