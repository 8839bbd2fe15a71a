"""Learning rates and drop-path chances over a training."""

import math

from raynas.train.config import TrainConfig

TAIL = 5
"""Epochs in which `linear` goes from a fifth of its slope's end to 0 (yuhuixu1993/PC-DARTS b74702f,
train_imagenet.py, adjust_lr)."""


def learning_rate(config: TrainConfig, epoch: int, share: float = 0.0) -> float:
    """Return the learning rate at ``share`` in [0, 1) of an epoch, counted from 0.

    ``cosine``: lr_min + (lr − lr_min)·(1 + cos πe/E)/2 with e and E counted after the warm-up, in which the
    rate rises from 0 step by step (D-X-Y/AutoDL-Projects f46486e, optimizers.py; without warm-up it is that
    of quark0/darts). ``linear``: lr·(E − 5 − e)/(E − 5), and in the last 5 epochs lr·(E − e)/(5·(E − 5));
    ``exponential``: lr·decay^e. In these two the warm-up replaces the first rates by lr·(e + 1)/warmup, an
    epoch at a time (PC-DARTS, train_imagenet.py).
    """
    top, low, epochs, warmup = config.learning_rate, config.learning_rate_min, config.epochs, config.warmup
    if config.schedule == "cosine":
        if epoch < warmup:
            return top * (epoch + share) / warmup
        return low + (top - low) * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup))) / 2
    if epoch < warmup:
        return top * (epoch + 1) / warmup
    if config.schedule == "exponential":
        return top * config.decay**epoch
    if config.schedule == "linear":
        long = max(epochs - TAIL, 1)
        return (
            top * (long - epoch) / long if epochs - epoch > TAIL else top * (epochs - epoch) / (long * TAIL)
        )
    return top


def drop_path(config: TrainConfig, epoch: int) -> float:
    """Return the chance of an operation's output to be dropped: it rises linearly, from 0 at first.

    It ends an epoch short of `drop_path` (quark0/darts f276dd3, cnn/train.py: p·epoch/epochs).
    """
    return config.drop_path * epoch / config.epochs
