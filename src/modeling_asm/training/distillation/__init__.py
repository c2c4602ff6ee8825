"""From unlabelled recordings to a general encoder: a pool of audio, mixtures labelled by teachers, and a student."""
