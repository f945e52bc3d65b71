"""Class weights of the cross-entropy, against scikit-learn and plain numpy."""

import lightning
import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from kd_lightning import DistillationModule, Term
from kd_lightning.errors import UserError
from kd_lightning.losses import CrossEntropy, functional
from kd_lightning.losses.class_weights import balanced_weights
from kd_lightning.tasks import Classification
from tests.conftest import Command

LABELS = torch.tensor([0] * 7 + [1] * 2 + [2] * 3)


def oracle(logits: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """-Σ_c w_c·p_c·log softmax(z)_c of each sample, of probabilities p (B, C)."""
    powers = np.exp(logits)
    return -(weights * target * np.log(powers / powers.sum(axis=1, keepdims=True))).sum(axis=1)


def test_balanced_is_what_scikit_learn_has() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    assert balanced_weights(LABELS, 3).tolist() == pytest.approx(expected.tolist())
    without_label = torch.cat([LABELS, torch.tensor([-1, -100])])
    assert balanced_weights(without_label, 3).tolist() == pytest.approx(expected.tolist())
    assert balanced_weights(LABELS, 4)[3] == 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mixed", [False, True], ids=["labels", "mixed labels"])
def test_a_class_counts_its_weight(smoothing: float, mixed: bool) -> None:
    torch.manual_seed(0)
    logits, target, weights = torch.randn(6, 3).double(), torch.tensor([0, 1, 2, 2, 0, 1]), [0.5, 3.0, 0.0]
    onehot = nn.functional.one_hot(target, 3).double()
    mix = 0.7 * onehot + 0.3 * onehot.flip(0) if mixed else onehot
    expected = oracle(logits.numpy(), (mix * (1 - smoothing) + smoothing / 3).numpy(), np.array(weights))
    loss, given = CrossEntropy(smoothing, class_weights=weights), mix if mixed else target
    torch.testing.assert_close(loss(logits, given, reduction="none"), torch.from_numpy(expected))
    assert loss(logits, given).item() == pytest.approx(expected.mean())  # over samples, as sample weights have it


def test_samples_without_a_label_leave_the_mean() -> None:
    logits = torch.randn(3, 2)
    loss = CrossEntropy(class_weights=[2.0, 1.0])
    assert loss(logits, torch.tensor([0, -1, 1])) == loss(logits[[0, 2]], torch.tensor([0, 1]))


def test_a_module_finds_them_in_its_training_labels() -> None:
    """One step of plain gradient descent goes where the formula says."""
    torch.manual_seed(0)
    inputs, network = torch.randn(len(LABELS), 4), nn.Linear(4, 3)
    weight = network.weight.detach().clone().requires_grad_()
    logits = inputs @ weight.T + network.bias.detach()
    rarity = torch.tensor([len(LABELS) / (3 * count) for count in (7, 2, 3)])
    loss = (rarity[LABELS] * (torch.logsumexp(logits, 1) - logits[range(len(LABELS)), LABELS])).mean()
    loss.backward()
    terms = {"ce": Term(CrossEntropy(class_weights="balanced"), ["student.logits", "target"])}
    module = DistillationModule(
        network,
        terms=terms,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
        num_classes=3,
        training_set={"index": torch.arange(len(LABELS)), "target": LABELS},
    )
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    trainer = lightning.Trainer(max_epochs=1, enable_checkpointing=False, **quiet)
    trainer.fit(module, DataLoader(TensorDataset(inputs, LABELS), batch_size=len(LABELS)))
    torch.testing.assert_close(network.weight.detach(), weight.detach() - 0.5 * weight.grad)
    assert not [name for name in module.state_dict() if name.startswith("objective")]  # found anew by each training
    assert terms["ce"].loss.weights is None  # which another training may take for other data


@pytest.mark.parametrize("given", ["often", [], [1.0, -1.0], [0.0, 0.0], [1.0, float("nan")], ["1", 2], 3.0, [True, 1]])
def test_what_weighs_no_class_is_refused(given: object) -> None:
    with pytest.raises(UserError, match=r"^class_weights=.*: must be balanced, a list"):
        CrossEntropy(class_weights=given)


def test_as_many_as_there_are_classes() -> None:
    with pytest.raises(UserError, match=r"^class_weights=\[1\.0, 2\.0\]: are 2 weights for 3 logits"):
        CrossEntropy(class_weights=[1.0, 2.0])(torch.zeros(1, 3), torch.tensor([0]))
    with pytest.raises(UserError, match=r"training labels are not known"):
        CrossEntropy(class_weights="balanced")(torch.zeros(1, 3), torch.tensor([0]))
    terms = {"ce": Term(CrossEntropy(class_weights="balanced"), ["student.logits", "target"])}
    with pytest.raises(UserError, match=r"^terms\.ce\.loss\.class_weights=balanced: the data do not tell"):
        DistillationModule(nn.Linear(4, 3), terms=terms, task=Classification(3))


def test_the_plain_loss_is_what_it_was() -> None:
    logits, target = torch.randn(5, 3), torch.tensor([0, 1, 2, -1, 1])
    assert functional.cross_entropy(logits, target) == functional.cross_entropy(logits, target, 0.0, torch.ones(3))


SMALL = ("teacher=none", "scratch=false", "trainer.max_epochs=1", "callbacks.progress_bar=null")


def test_a_wrong_number_of_them_is_told_before_anything_is_read(command: Command) -> None:
    outcome = command("kd-train", *SMALL, "loss.ce.loss.class_weights=[1, 2]", "hydra.run.dir=run")
    assert outcome.code == 2
    [line] = outcome.error_lines
    assert line.startswith("error: loss.ce.loss.class_weights=[1, 2]: are 2 weights, and there are 10 classes")
    assert not (outcome.folder / "run" / "checkpoints").exists()
