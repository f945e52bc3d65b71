"""A learning path: concepts in a knowledge graph, taught one after the other as assessments open their gates."""

from kd_lightning.curricula.path.gates import AfterEpochs, Assessed, Gate, Mastery
from kd_lightning.curricula.path.graphs import FileGraph, Graph, Hierarchy, RandomGraph, TeacherGraph
from kd_lightning.curricula.path.kinds import ByClass, ByFile, ByFolder, ByGroup, BySuperclass, ConceptKind
from kd_lightning.curricula.path.knowledge import Known
from kd_lightning.curricula.path.learning_path import LearningPath
from kd_lightning.curricula.path.planning import Step, plan

__all__ = [
    "AfterEpochs",
    "Assessed",
    "ByClass",
    "ByFile",
    "ByFolder",
    "ByGroup",
    "BySuperclass",
    "ConceptKind",
    "FileGraph",
    "Gate",
    "Graph",
    "Hierarchy",
    "Known",
    "LearningPath",
    "Mastery",
    "RandomGraph",
    "Step",
    "TeacherGraph",
    "plan",
]
