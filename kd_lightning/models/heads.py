"""Models with a second head, for distillation."""

from torch import nn


def train_heads_apart(model: nn.Module, apart: bool) -> None:
    """Whether a model of two heads gives them separately while it trains, the labels' first; afterwards their average.

    As DeiT is trained, whose second head learns from the teacher (Touvron et al. 2021, arXiv:2012.12877). Otherwise the
    average is trained too. For timm's models with this switch; all others stay as they are.
    """
    switch = getattr(model, "set_distilled_training", None)
    if callable(switch):
        switch(apart)
