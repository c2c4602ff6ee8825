"""ASM from MLP-Mixers that were trained on images."""
