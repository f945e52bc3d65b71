"""The version of the package that is installed; of a folder that is not, `unknown`."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("kd-lightning")
except PackageNotFoundError:
    __version__ = "unknown"
