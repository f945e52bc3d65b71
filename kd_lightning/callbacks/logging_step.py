"""Which steps of a training are logged."""

from lightning import Trainer


def is_logged(trainer: Trainer) -> bool:
    """Whether what is logged in this step goes to a logger: each `trainer.log_every_n_steps`."""
    return bool(trainer.loggers) and trainer._logger_connector.should_update_logs
