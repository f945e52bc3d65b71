"""A network of the user's own class, named by `_target_`."""

import pytest
from torch import nn

from kd_lightning.config.parts.own_model import own_model
from kd_lightning.config.refusals.bad_input import one_line
from kd_lightning.errors import UserError
from kd_lightning.networks.own_model import OwnModel, check_model


class Sized(nn.Linear):
    """Needs to know the classes."""

    def __init__(self, num_classes: int, width: int = 3) -> None:
        super().__init__(width, num_classes)


class Usual(nn.Linear):
    """Has a number of classes of its own."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__(3, num_classes)


def built(key: str = "teacher.model", **config: object) -> nn.Module:
    check_model(config, key)
    return OwnModel(own_model(config), key, lambda: 5)()


def test_it_is_made_of_its_own_arguments() -> None:
    model = built(_target_="torch.nn.Linear", in_features=3, out_features=2)
    assert isinstance(model, nn.Linear)
    assert model.out_features == 2


@pytest.mark.parametrize(
    ("name", "given", "classes"), [("Sized", {}, 5), ("Sized", {"num_classes": 2}, 2), ("Usual", {}, 7)]
)
def test_it_gets_the_number_of_classes_where_it_needs_it(name: str, given: dict[str, int], classes: int) -> None:
    assert built(_target_=f"{__name__}.{name}", **given).out_features == classes


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_target_": "torch.nn.NoSuchLayer"}, ["teacher.model._target_=torch.nn.NoSuchLayer"]),
        ({"_target_": "torch.nn.Linear"}, ["teacher.model._target_=torch.nn.Linear", "in_features"]),
        ({"_target_": "builtins.dict"}, ["teacher.model._target_=builtins.dict", "built dict"]),
        ({"in_features": 3}, ["teacher.model", "_target_"]),
    ],
)
def test_a_bad_mapping_is_refused_in_one_line(config: dict[str, object], words: list[str]) -> None:
    with pytest.raises(UserError) as error:
        built(**config)
    assert all(word in one_line(error) for word in words)
