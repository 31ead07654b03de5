"""Training: a run and its options, the loop, the players and their checkpoints, the patches they see, the losses."""

from medsr_core.training.loop import train, validate
from medsr_core.training.players import TrainingError
from medsr_core.training.run import Run, cosine

__all__ = ["Run", "TrainingError", "cosine", "train", "validate"]
