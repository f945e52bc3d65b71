"""A table of image files and their labels: CSV, TSV or Parquet."""

import csv
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kd_lightning.data.folders.files import FileImages
from kd_lightning.data.layouts.parted import SHOWN, PartedDataModule
from kd_lightning.data.values import as_folder, check_text
from kd_lightning.errors import UserError
from kd_lightning.terminal import warn

IMAGE_COLUMNS = ("file_name", "filename", "file", "image", "image_path", "path", "image_file", "img", "img_path")
LABEL_COLUMNS = ("label", "class", "category", "target", "labels", "class_name", "label_name")
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val"}
SPLITS |= {"test": "test", "testing": "test"}
PARQUET = (".parquet", ".pq")
DELIMITERS = ",;\t|"
Table = Mapping[str, Sequence[Any]]


class ImageTableDataModule(PartedDataModule):
    """A table with a row for each image: its file and its label, and perhaps the split that it belongs to.

    Args:
        file: the table; CSV with a line of names, whatever separates its columns, or Parquet.
        root: the folder that names of image files are relative to; the table's own where None.
        val_file, test_file: tables of these splits, where they have their own.
        image_column, label_column: the names of the columns; found by usual names where None, such as `file_name` and
            `label`.
        split_column: train, val or test of each row; the column `split` where None and there is one.

    A row without a label trains without one. Raises UserError for a table or a column that is not there.

    Examples:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from kd_lightning.data import ImageTableDataModule
        >>> with tempfile.TemporaryDirectory() as root:
        ...     rows = ["file_name,label,split"]
        ...     for i in range(4):
        ...         Image.new("RGB", (40, 40)).save(Path(root) / f"{i}.png")
        ...         rows.append(f"{i}.png,{('cat', 'dog')[i % 2]},{('train', 'test')[i // 2]}")
        ...     _ = (Path(root) / "labels.csv").write_text("\\n".join(rows))
        ...     data = ImageTableDataModule(file=f"{root}/labels.csv", image_size=32, resize_size=36, val_fraction=0)
        ...     data.setup("fit")
        ...     data.class_names, len(data.train_set), len(data.test_set)
        (['cat', 'dog'], 2, 2)
    """

    def __init__(
        self,
        *,
        name: str = "table",
        file: str | Path | None = None,
        val_file: str | Path | None = None,
        test_file: str | Path | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        **common: Any,
    ) -> None:
        super().__init__(name=name, **common)
        self.files = {
            split: (key, as_folder(f"data.{key}", given))
            for split, (key, given) in {
                "train": ("file", file),
                "val": ("val_file", val_file),
                "test": ("test_file", test_file),
            }.items()
        }
        self.columns = {"image": image_column, "label": label_column, "split": split_column}

    @property
    def place(self) -> str:
        return f"data.file={self.files['train'][1]}"

    @property
    def folder(self) -> Path:
        """That names are relative to."""
        table = self.files["train"][1]
        assert table is not None
        return self.root or table.parent

    def check_place(self) -> None:
        for kind, given in self.columns.items():
            check_text(f"data.{kind}_column", given, "the name of a column")
        if self.files["train"][1] is None:
            raise UserError("data.file=null: give the table of image files and labels, data.file=/path/labels.csv")
        for key, path in self.files.values():
            if path is not None and not os.path.isfile(path):
                raise UserError(f"data.{key}={path}: no such file; give the table of image files and labels")
        if self.root is not None and not os.path.isdir(self.root):
            raise UserError(f"data.root={self.root}: no such folder; give the one that image names are relative to")
        if "train" not in self.rows:
            raise UserError(f"{self.place}: no row is of train; name it so in the column of splits")

    @cached_property
    def rows(self) -> dict[str, list[tuple[str, Any]]]:
        """File and label of each row, by split. Raises UserError for a row that names no file."""
        found: dict[str, list[tuple[str, Any]]] = {}
        for split, (key, path) in self.files.items():
            if path is None:
                continue
            table = read_table(path, f"data.{key}={path}")
            names, labels = (table[self.column(kind, table, path)] for kind in ("image", "label"))
            splits = self.splits_of(table, split, path)
            for name, label, own in zip(names, labels, splits, strict=True):
                if name is None or not str(name).strip():
                    raise UserError(f"data.{key}={path}: a row names no image file; complete or remove it")
                found.setdefault(own, []).append((str(name), label))
        return found

    def column(self, kind: str, table: Table, path: Path) -> str:
        """The name of a column. Raises UserError where there is none."""
        given, usual = self.columns[kind], IMAGE_COLUMNS if kind == "image" else LABEL_COLUMNS
        if given is not None:
            if given in table:
                return given
            raise UserError(f"data.{kind}_column={given}: no column of {path}, which has {', '.join(table)}")
        by_name = {name.strip().lower(): name for name in table}
        found = [by_name[name] for name in usual if name in by_name]
        if not found:
            raise UserError(
                f"data.{kind}_column=null: {path} has no column {', '.join(usual[:SHOWN])} or the like, but "
                f"{', '.join(table)}; name the one"
            )
        return found[0]

    def splits_of(self, table: Table, split: str, path: Path) -> Sequence[str]:
        """The split of each row. Raises UserError for a value that names none."""
        name = self.columns["split"]
        if name is not None and name not in table:
            raise UserError(f"data.split_column={name}: no column of {path}, which has {', '.join(table)}")
        name = "split" if name is None and "split" in table else name
        rows = len(next(iter(table.values())))
        if name is None or split != "train":
            return [split] * rows
        given = [str(value).strip().lower() for value in table[name]]
        unknown = sorted({value for value in given if value not in SPLITS})
        if unknown:
            raise UserError(f"data.split_column={name}: {path} has {unknown[0]} in it; give train, val or test")
        return [SPLITS[value] for value in given]

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.rows)

    def found_classes(self) -> list[str]:
        self.check_place()
        return self.classes_of([label for _, label in self.rows["train"]])

    def listed(self, split: str) -> FileImages:
        names, labels = zip(*self.rows[split], strict=True)
        there = np.array([os.path.isfile(self.folder / name) for name in names])
        if not there.all():
            self.tell_missing([name for name, is_there in zip(names, there, strict=True) if not is_there], len(names))
        files = np.array([os.fsencode(name) for name in names])
        images = FileImages(
            self.folder, files, self.of_labels(labels).long(), self.image_size, self.resize_size, self.crops
        )
        return images if there.all() else images.only(torch.from_numpy(there.nonzero()[0]))

    def tell_missing(self, missing: Sequence[str], rows: int) -> None:
        """Raise UserError for files that are not there, or say which ones are left out."""
        more = f", … and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        what = f"{len(missing)} of {rows} files are not in {self.folder}: {', '.join(missing[:SHOWN])}{more}"
        if self.unreadable != "skip":
            raise UserError(f"{self.place}: {what}; give data.root, or leave them out with data.unreadable=skip")
        if len(missing) == rows:
            raise UserError(f"{self.place}: {what}; give the folder that they are in, data.root=/path")
        warn(f"{self.place}: {what}; they are left out")


def read_table(path: Path, key: str) -> Table:
    """The columns of a table by name. Raises UserError where it is none."""
    try:
        table = of_parquet(path) if path.suffix.lower() in PARQUET else of_csv(path)
    except ImportError:
        raise UserError(f'{key}: Parquet needs pyarrow; pip install "kd-lightning[data]"') from None
    except Exception as error:  # a damaged file can raise anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(
            f"{key}: cannot be read as a table ({reason}); give CSV with a line of names, or Parquet"
        ) from None
    if not table or not len(next(iter(table.values()))):
        raise UserError(f"{key}: has no row; give a line of names, and one for each image")
    return table


def of_parquet(path: Path) -> Table:
    import pyarrow.parquet  # an extra of this package

    return {str(name): column.to_pylist() for name, column in _columns(pyarrow.parquet.read_table(path))}


def _columns(table: Any) -> list[tuple[str, Any]]:
    return list(zip(table.column_names, table.columns, strict=True))


def of_csv(path: Path) -> Table:
    """Raises ValueError where a row has more or fewer columns than the first line."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
        file.seek(0)
        delimiter = max(DELIMITERS, key=head.count)
        rows = [row for row in csv.reader(file, delimiter=delimiter) if any(cell.strip() for cell in row)]
    if not rows:
        return {}
    names, *body = rows
    for number, row in enumerate(body, start=2):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} columns, the first line {len(names)}")
    return {name.strip(): [row[place].strip() for row in body] for place, name in enumerate(names)}
