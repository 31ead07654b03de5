"""Training: the loop (`loop.train`), the players and their checkpoints, the patches they see and the losses."""

from medsr_core.training.loop import TrainingError, cosine, train, validate

__all__ = ["TrainingError", "cosine", "train", "validate"]
