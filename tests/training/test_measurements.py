"""Under which key the measurements of a network are kept."""

from kd_lightning.models import create_model
from kd_lightning.models.resolution import resize_inputs
from kd_lightning.networks import Student
from kd_lightning.training.measurements import of_network


def test_the_size_that_a_file_says_a_network_sees_is_another_measurement() -> None:
    described, network = Student("resnet8"), create_model("resnet8", num_classes=10)
    as_given = of_network(described, network)
    seen_at = [of_network(described, resize_inputs(network, size)) for size in (16, 64)]
    assert as_given["weights"] == seen_at[0]["weights"] == seen_at[1]["weights"]
    assert len({repr(sorted(one.items(), key=str)) for one in (as_given, *seen_at)}) == 3
    assert of_network(Student("resnet8", image_size=64), network)["image_size"] == 64  # as it was named before
