"""Every file of a run, and of a sweep, by its name."""

from pathlib import Path

# What came out of it, and on what it ran.
SUMMARY, ENVIRONMENT = "summary.json", "environment.json"
EVALUATION, FIGURES, PAGE = "evaluation.npz", "figures.json", "report.html"
CURRICULUM = "curriculum.json"  # what the curriculum told of each epoch
PROBES = "probes.json"  # what its networks are worth on other data, as far as that was asked
METRICS, CHECKSUMS = "metrics.csv", "checksums.json"  # the second of each of the first, of a finished run
# What it was given.
HYDRA = ".hydra"
AS_COMPOSED, RESOLVED, OVERRIDES, OF_HYDRA = (
    f"{HYDRA}/{name}.yaml" for name in ("config", "resolved", "overrides", "hydra")
)
# What it goes on from.
CHECKPOINTS = "checkpoints"
LAST, BEFORE, BEST = "last.ckpt", "last.before.ckpt", "best.ckpt"
INITIALIZATION = "initialization"  # the folder of the training before the training
RUNNING = ".running"  # a lock; while it is there no other process removes the folder
# What loggers keep in folders of their own.
WANDB, TENSORBOARD = "wandb", "tensorboard"
RUN_OF_WANDB = f"{WANDB}/run.json"  # what its run is called there
# Of a job, what became of it and what it said; beside a sweep's jobs Hydra's config, what was planned, what came out.
STATUS, LOG = "status.json", "log.txt"
MULTIRUN, PLANNED, SELECTION = "multirun.yaml", "planned.json", "sweep.json"
LOCK = ".lock"  # of a sweep's folder, and of a job's
EXPORTS, CARD = "export", "README.md"  # the folder of its exports, and their card


def checkpoint(name: str) -> str:
    """The checkpoint `best` or `last`, below the run's folder."""
    return f"{CHECKPOINTS}/{name}{Path(LAST).suffix}"


def weights_of(network: str) -> str:
    """The file with a network's weights."""
    return f"{network}.safetensors"
