"""The folder in which a user spends the day."""

from tests.documents.conftest import readers_folder

__all__ = ["readers_folder"]
