"""The mathematics of the losses: pure functions of tensors, by family, all reachable as `functional.NAME`.

They compute in the precision that they are given; a term gives float32 whatever the networks compute in.

A loss that is a mean over samples takes `reduction`: `mean` gives the mean, a scalar; `none` gives each sample's value,
(B,), whose mean that is. Where samples may have no label the mean is over those that have one: the sum of all values, 0
for the others, divided by how many have one. A loss that compares the samples of a batch has no values of samples, and
takes no `reduction`.

Shapes: B batch, C classes or channels, H and W height and width, N tokens.
"""

from kd_lightning.losses.functional.features.boundaries import activation_boundary, margin_relu_margin, ofd_partial_l2
from kd_lightning.losses.functional.features.classifiers import cat_kd, class_activation_maps, simkd, srrl
from kd_lightning.losses.functional.features.factors import factor_transfer
from kd_lightning.losses.functional.features.maps import attention_transfer, fitnet, fsp, nst
from kd_lightning.losses.functional.features.review import hcl
from kd_lightning.losses.functional.features.variational import variational_information
from kd_lightning.losses.functional.logits.decoupled import dkd
from kd_lightning.losses.functional.logits.multi_label import bce, bernoulli_kd
from kd_lightning.losses.functional.logits.multi_level import batch_correlation, class_correlation, mlkd
from kd_lightning.losses.functional.logits.one_for_all import ofa
from kd_lightning.losses.functional.logits.pearson import dist
from kd_lightning.losses.functional.logits.regression import mae, mse
from kd_lightning.losses.functional.logits.standardization import logit_standardization_kd, standardize
from kd_lightning.losses.functional.logits.targets import cross_entropy, hard_label, kd, mean_squared_logits, wsld
from kd_lightning.losses.functional.logits.temperature import reverse_gradient
from kd_lightning.losses.functional.peers.collaborative import collaborative_target, generalization_weights, kdcl
from kd_lightning.losses.functional.peers.contrast import mcl, supervised_contrast
from kd_lightning.losses.functional.relations.contrastive import contrastive_nce
from kd_lightning.losses.functional.relations.similarities import (
    correlation_congruence_adjacent,
    correlation_congruence_kernel,
    pkt,
    rkd,
    similarity_preserving,
)
from kd_lightning.losses.functional.self_distillation.class_wise import cs_kd
from kd_lightning.losses.functional.self_distillation.early_heads import byot
from kd_lightning.losses.functional.self_distillation.soft_labels import ps_kd, uskd, virtual_teacher
from kd_lightning.losses.functional.self_distillation.two_views import ddgsd, mean_discrepancy
from kd_lightning.losses.functional.teachers.confidence import ca_mkd
from kd_lightning.losses.functional.teachers.perturbed import perturbed
from kd_lightning.losses.functional.teachers.weights import (
    confidence_weights,
    entropy_weights,
    mean_probabilities,
    min_norm_weights,
)

__all__ = [
    "activation_boundary",
    "attention_transfer",
    "batch_correlation",
    "bce",
    "bernoulli_kd",
    "byot",
    "ca_mkd",
    "cat_kd",
    "class_activation_maps",
    "class_correlation",
    "collaborative_target",
    "confidence_weights",
    "contrastive_nce",
    "correlation_congruence_adjacent",
    "correlation_congruence_kernel",
    "cross_entropy",
    "cs_kd",
    "ddgsd",
    "dist",
    "dkd",
    "entropy_weights",
    "factor_transfer",
    "fitnet",
    "fsp",
    "generalization_weights",
    "hard_label",
    "hcl",
    "kd",
    "kdcl",
    "logit_standardization_kd",
    "mae",
    "margin_relu_margin",
    "mcl",
    "mean_discrepancy",
    "mean_probabilities",
    "mean_squared_logits",
    "min_norm_weights",
    "mlkd",
    "mse",
    "nst",
    "ofa",
    "ofd_partial_l2",
    "perturbed",
    "pkt",
    "ps_kd",
    "reverse_gradient",
    "rkd",
    "similarity_preserving",
    "simkd",
    "srrl",
    "standardize",
    "supervised_contrast",
    "uskd",
    "variational_information",
    "virtual_teacher",
    "wsld",
]
