"""Modules between a student's and a teacher's feature, built from the two shapes without the batch dimension.

Shapes: (C,) a vector, (N, C) tokens, (C, H, W) a map.
"""

from kd_lightning.models.projectors.bridge import Bridge
from kd_lightning.models.projectors.channels import ChannelConnector, SimKDProjector, SRRLConnector, VIDRegressor
from kd_lightning.models.projectors.regressor import Connector, Regressor

__all__ = ["Bridge", "ChannelConnector", "Connector", "Regressor", "SRRLConnector", "SimKDProjector", "VIDRegressor"]
