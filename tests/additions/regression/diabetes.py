"""A regression on a table of numbers: how diabetes progresses, from ten measurements of each of 442 patients."""

import lightning
import torch
from sklearn.datasets import load_diabetes
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset


class Diabetes(lightning.LightningDataModule):
    """The table of Efron et al. 2004, inputs and targets with a standard deviation of 1, split 6 : 2 : 2."""

    def __init__(self, batch_size: int = 32, seed: int = 0) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed

    def setup(self, stage: str | None = None) -> None:
        inputs, target = (torch.tensor(table).float() for table in load_diabetes(return_X_y=True, scaled=False))
        table = TensorDataset(*((part - part.mean(0)) / part.std(0) for part in (inputs, target)))
        order = torch.randperm(len(table), generator=torch.Generator().manual_seed(self.seed)).tolist()
        self.train, self.val, self.test = (Subset(table, order[a:b]) for a, b in ((0, 266), (266, 354), (354, 442)))

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.val, self.batch_size)

    def test_dataloader(self) -> DataLoader:
        return DataLoader(self.test, self.batch_size)


class MLP(nn.Sequential):
    """Ten numbers to one, through two hidden layers."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(10, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
