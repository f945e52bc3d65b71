"""Concepts and their graphs: from files, from hierarchies, and from what a teacher answers."""

import importlib.util
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.cluster.hierarchy import cophenet, linkage
from torch import Tensor

from kd_lightning.curricula import Concepts, Samples
from kd_lightning.curricula.loaders import samples_of
from kd_lightning.curricula.path import (
    ByClass,
    ByFile,
    ByFolder,
    ByGroup,
    BySuperclass,
    FileGraph,
    Hierarchy,
    Known,
    RandomGraph,
    TeacherGraph,
)
from kd_lightning.curricula.path.graphs import checked
from kd_lightning.curricula.path.knowledge import known_of
from kd_lightning.data import CIFAR100DataModule, ImageFolderDataModule
from kd_lightning.errors import UserError

NAMES = ["circles", "spheres", "cubes"]
EDGES = [("circles", "spheres", 0.5), ("cubes", "spheres", 2.0)]


def node_link(directed: bool, edges: str = "links", **more: Any) -> str:
    links = [{"source": one, "target": other, "cost": cost} for one, other, cost in EDGES]
    nodes = [{"id": name} for name in NAMES]
    return json.dumps({"directed": directed, "graph": {}, "nodes": nodes, edges: links, **more})


def graphml(directed: bool) -> str:
    graph = nx.DiGraph() if directed else nx.Graph()
    for number, name in enumerate(NAMES):
        graph.add_node(f"n{number}", label=name)
    for one, other, cost in EDGES:
        graph.add_edge(f"n{NAMES.index(one)}", f"n{NAMES.index(other)}", weight=cost)
    return "\n".join(nx.generate_graphml(graph))


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("links.json", node_link),
        ("edges.json", lambda directed: node_link(directed, "edges", multigraph=False)),
        ("graph.graphml", graphml),
    ],
)
def test_files_of_networkx_are_read(tmp_path: Path, name: str, content: Callable[[bool], str], directed: bool) -> None:
    (tmp_path / name).write_text(content(directed))
    kind = FileGraph(str(tmp_path / name))
    graph = kind.make(NAMES, Samples(torch.arange(1)), None)
    assert [*graph] == NAMES
    found = [*graph.edges(data="cost")]
    if directed:
        assert found == EDGES
    else:
        assert {(frozenset(ends), cost) for *ends, cost in found} == {(frozenset(ends), cost) for *ends, cost in EDGES}
    assert kind.prerequisites is directed
    assert FileGraph(str(tmp_path / name), prerequisites=False).prerequisites is False


def test_what_networkx_writes_is_read(tmp_path: Path) -> None:
    graph = nx.MultiDiGraph()
    graph.add_edge("circles", "spheres", cost=3)
    graph.add_edge("circles", "spheres", cost=1)
    (tmp_path / "graph.json").write_text(json.dumps(nx.node_link_data(graph)))
    found = FileGraph(str(tmp_path / "graph.json")).make(NAMES, Samples(torch.arange(1)), None)
    assert [*found.edges(data="cost")] == [("circles", "spheres", 1)]  # the cheapest


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "is no graph"),
        ("[]", "has no list of nodes"),
        ('{"nodes": [{"id": "a"}]}', "has no list of links"),
        ('{"nodes": [], "links": []}', "has no nodes"),
        ('{"nodes": [{"id": "a"}], "links": [{"source": "a", "target": "b"}]}', "has a target that is no node"),
        ('{"nodes": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "links": []}', "has the node a twice"),
        (node_link(True).replace('"target": "spheres"', '"target": "circles"'), "in a circle, circles → circles"),
        (node_link(False).replace("0.5", '"far"'), "edge circles - spheres has cost far"),
        (node_link(False).replace("0.5", "-1"), "has cost -1"),
    ],
)
def test_a_file_that_is_no_graph_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "graph.json").write_text(content)
    with pytest.raises(UserError, match=told):
        FileGraph(str(tmp_path / "graph.json"))


def test_a_broken_graphml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "graph.graphml").write_text(graphml(directed=True)[:200])
    with pytest.raises(UserError, match=r"path=.*graph.graphml: is no graph"):
        FileGraph(str(tmp_path / "graph.graphml"))


def test_a_node_that_is_no_concept_is_named(tmp_path: Path) -> None:
    (tmp_path / "graph.json").write_text(node_link(False))
    with pytest.raises(UserError, match="node cubes is no concept of the data; there are circles, spheres"):
        FileGraph(str(tmp_path / "graph.json")).make(NAMES[:2], Samples(torch.arange(1)), None)
    with pytest.raises(UserError, match="have no direction"):
        FileGraph(str(tmp_path / "graph.json"), prerequisites=True)


def of_classes(classes: Sequence[str], groups: Any = None) -> Samples:
    target = torch.arange(len(classes)).repeat(2)
    validation = Samples(target, target, target)
    return Samples(target, target, target, classes=classes, groups=groups, validation=validation)


def test_cifar100s_superclasses_are_concepts_and_a_tree() -> None:
    data = CIFAR100DataModule(root="nowhere")
    members = [name for group in data.groups.values() for name in group]
    assert len(data.groups) == 20
    assert sorted(members) == sorted(data.class_names)
    assert data.groups["small_mammals"] == ["hamster", "mouse", "rabbit", "shrew", "squirrel"]
    samples = of_classes(data.class_names, data.groups)
    found = BySuperclass().of(samples)
    assert len(found.names) == 20
    mouse = data.class_names.index("mouse")
    assert found.names[found.of_samples[mouse]] == "small_mammals"
    graph = Hierarchy(within=1, between=3).make(data.class_names, samples, None)
    lengths = dict(nx.all_pairs_dijkstra_path_length(graph, weight="cost"))
    for one, other in [("mouse", "shrew"), ("mouse", "tank"), ("oak_tree", "pine_tree")]:
        same = any({one, other} <= {*group} for group in data.groups.values())
        assert lengths[one][other] == (1 if same else 3)


def test_the_superclasses_are_those_of_the_data_set(shared: Path) -> None:
    spec = importlib.util.spec_from_file_location("unpack", shared / "data" / "unpack.py")
    assert spec is not None
    assert spec.loader is not None
    unpack = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(unpack)
    assert CIFAR100DataModule(root="nowhere").groups == {name: fine.split() for name, fine in unpack.COARSE.items()}


def test_groups_are_the_users_own() -> None:
    samples = of_classes(["cat", "dog", "car"])
    found = ByGroup({"animals": ["dog", "cat"]}).of(samples)
    assert found.names == ["animals", "car"]
    assert found.of(torch.tensor([0, 1, 2, -1]), None).tolist() == [0, 0, 1, -1]
    for groups, told in [
        ({"animals": ["cow"]}, "no class cow; there are cat, dog, car"),
        ({"animals": ["cat"], "pets": ["cat"]}, "class cat is in animals already"),
        ({"car": ["cat"]}, "has the name of a class"),
    ]:
        with pytest.raises(UserError, match=told):
            ByGroup(groups).of(samples)


def test_the_data_sets_own_concepts_are_those_of_its_samples() -> None:
    index, target = torch.arange(4), torch.tensor([0, 1, 0, 1])
    validation = Samples(index, target, torch.tensor([2, 0, 1, 2]))
    found = ByClass().of(Samples(index, target, torch.tensor([2, 2, 0, 1]), validation=validation))
    assert found.names == ["0", "1", "2"]
    assert found.of(target[:2], torch.tensor([3, 0])).tolist() == [2, 2]
    with pytest.raises(UserError, match="batches have no index"):
        found.of(target, None)


def folder_of(root: Path) -> ImageFolderDataModule:
    for split, name in itertools.product(("train", "val"), ("animals/cat", "animals/dog", "vehicles/car")):
        for number in range(2):
            path = root / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 40)).save(path)
    return ImageFolderDataModule(root=root, image_size=32, resize_size=36, batch_size=2, val_fraction=0.34)


def loaded(data: Any) -> Samples:
    data.setup("fit")
    loaders = data.train_dataloader(), data.val_dataloader()
    return samples_of(loaders[0], True, torch.device("cpu"), data, loaders[1])


def test_folders_in_folders_are_concepts_with_a_hierarchy(tmp_path: Path) -> None:
    data = folder_of(tmp_path)
    samples = loaded(data)
    assert samples.classes == ["animals", "vehicles"]
    assert samples.is_of_training
    assert samples.folders is not None
    whole = ["animals/cat"] * 2 + ["animals/dog"] * 2 + ["vehicles/car"] * 2
    assert samples.folders() == [whole[row] for row in samples.index.tolist()]
    apart = samples._replace(validation=samples)  # one that has all folders
    found = ByFolder().of(apart)
    assert found.names == ["animals/cat", "animals/dog", "vehicles/car"]
    assert [found.names[k] for k in found.of_samples] == samples.folders()
    graph = Hierarchy(within=1, between=4).make(found.names, samples, None)
    lengths = dict(nx.all_pairs_dijkstra_path_length(graph, weight="cost"))
    assert (lengths["animals/cat"]["animals/dog"], lengths["animals/cat"]["vehicles/car"]) == (1, 4)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", "dark\nlight\nlight\ndark\n"),
        ("labels.csv", "label\ndark\nlight\nlight\ndark\n"),
        ("labels.csv", "index,label\n3,dark\n0,dark\n1,light\n2,light\n"),
        ("labels.npy", None),
    ],
)
def test_a_file_gives_each_sample_a_label(tmp_path: Path, name: str, content: str | None) -> None:
    if content is None:
        np.save(tmp_path / name, np.array(["dark", "light", "light", "dark"]))
    else:
        (tmp_path / name).write_text(content)
    samples = Samples(torch.tensor([0, 1]), validation=Samples(torch.tensor([3, 2])), is_of_training=True)
    found = ByFile(str(tmp_path / name)).of(samples)
    assert found.names == ["dark", "light"]
    assert found.of_samples.tolist() == [0, 1]
    assert found.of(torch.tensor([7, 7]), torch.tensor([2, 3])).tolist() == [1, 0]
    with pytest.raises(UserError, match=r"validation_path=null: the validation data are not split off"):
        ByFile(str(tmp_path / name)).of(samples._replace(is_of_training=False))
    with pytest.raises(UserError, match="holds 4 labels, and the whole set has a sample 4"):
        ByFile(str(tmp_path / name)).of(samples._replace(index=torch.tensor([4])))
    with pytest.raises(UserError, match="holds 4 labels, and the whole set has 3 samples"):
        ByFile(str(tmp_path / name)).of(samples._replace(total=3))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("a\n\nb,c\n", "line 2 has 2 columns"),
        ("0,a\n2,b\n", "no label for index 1"),
        ("0,a\nx,b\n", "has the index x"),
        ("a\n \nb\n", "label 1 is empty"),
    ],
)
def test_a_file_without_a_label_for_each_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(UserError, match=told):
        ByFile(str(tmp_path / "labels.csv"))


def jensen_shannon(p: np.ndarray, q: np.ndarray) -> float:
    """The distance in bits, by the formula."""
    m = (p + q) / 2
    both = [(a[a > 0] * np.log2(a[a > 0] / m[a > 0])).sum() for a in (p, q)]
    return float(np.sqrt(max(0.0, sum(both) / 2)))


def test_concepts_that_a_teacher_confuses_are_near() -> None:
    chance = np.random.default_rng(0)
    answers = chance.dirichlet(np.full(8, 0.3), size=8)
    names = [f"c{k}" for k in range(8)]
    graph = TeacherGraph(neighbours=2).make(names, Samples(torch.arange(1)), Known({}, torch.tensor(answers)))
    apart = np.array([[jensen_shannon(one, other) for other in answers] for one in answers])
    for one, other, cost in graph.edges(data="cost"):
        assert cost == pytest.approx(apart[names.index(one), names.index(other)], abs=1e-6)
    for k in range(8):  # each is joined with its two nearest ones
        for near in np.argsort(apart[k])[1:3]:
            assert graph.has_edge(names[k], names[near])
    tree = TeacherGraph(neighbours=0).make(names, Samples(torch.arange(1)), Known({}, torch.tensor(answers)))
    assert nx.is_tree(tree)
    pairs = [*itertools.combinations(range(8), 2)]
    merged = cophenet(linkage([apart[pair] for pair in pairs], "average"))
    for height in sorted({*merged}):  # below each height, the clusters are the tree's parts
        clusters = nx.Graph()
        clusters.add_nodes_from(range(8))
        clusters.add_edges_from(pair for pair, merge in zip(pairs, merged, strict=True) if merge <= height + 1e-9)
        for cluster in nx.connected_components(clusters):
            assert nx.is_connected(tree.subgraph(names[k] for k in cluster))


def test_labels_and_names_of_classes_are_of_one_another() -> None:
    samples = of_classes(["cat", "dog", "car"])
    validation = Samples(torch.arange(4), torch.arange(4), torch.arange(4))
    found = ByClass().of(samples._replace(classes=None, validation=validation))
    assert found.names == ["0", "1", "2", "3"]
    assert found.in_validation(torch.tensor([3, -1]), torch.arange(2)).tolist() == [3, -1]
    for told, more in [
        (r"have a label 2, and names of 2 classes \(cat, dog\)", {"classes": ["cat", "dog"]}),
        (r"have a label 3, and names of 3 classes", {"validation": validation}),
        (r"classes 0 and 2 are both called cat; rename", {"classes": ["cat", "dog", "cat"]}),
    ]:
        for kind in (ByClass(), ByGroup({"animals": ["cat", "dog"]})):
            with pytest.raises(UserError, match=told):
                kind.of(samples._replace(**more))
    own = Concepts(["even", "odd"], torch.arange(3) % 2, torch.arange(3) % 2)
    with pytest.raises(UserError, match=r"validation data have a class 3, and concepts are known of classes 0 to 2"):
        own.in_validation(validation.target, validation.index)


def answered(logits: Tensor, target: Tensor) -> Any:
    return lambda question: question.value({"teacher.logits": logits, "target": target})


def test_what_a_teacher_knows_is_measured_by_concept() -> None:
    logits, target = torch.randn(60, 3), torch.arange(60) % 3
    target[:3] = -1
    of_classes = torch.tensor([0, 0, 1])
    concepts = Concepts(["few", "one"], torch.empty(0), of_classes)
    known = known_of(
        Samples(torch.arange(60), target, answers=answered(logits, target)), concepts, "teacher.logits", 2.0
    )
    right, soft = (logits.argmax(1) == target).double().numpy(), torch.softmax(logits / 2, 1).numpy()
    assert known.answers is not None
    for k, mask in enumerate([(target == 0) | (target == 1), target == 2]):
        assert known.accuracy[concepts.names[k]] == pytest.approx(right[mask.numpy()].mean())
        assert known.answers[k].numpy() == pytest.approx(soft[mask.numpy()].mean(axis=0), abs=1e-6)


def test_the_control_is_a_line_of_its_seed_alone() -> None:
    names = [f"c{k}" for k in range(8)]
    lines = [[*nx.dfs_preorder_nodes(RandomGraph(seed).make(given, Samples(torch.arange(1)), None))] for seed, given in
             ((0, names), (0, [*names]), (1, names))]  # fmt: skip
    assert lines[0] == lines[1] != lines[2]
    graph = RandomGraph(1).make(names, Samples(torch.arange(1)), None)
    assert sorted(dict(graph.degree).values()) == [1, 1, *[2] * 6]
    assert {*graph} == {*names}
    with pytest.raises(UserError, match=r"^seed=x: must be a whole number"):
        RandomGraph("x")  # type: ignore[arg-type]


def test_of_several_edges_the_cheapest_counts() -> None:
    graph = nx.MultiGraph()
    graph.add_weighted_edges_from([("a", "b", 5.0), ("a", "b", 2.0), ("b", "c", 1.0)], weight="cost")
    found = checked(graph)
    assert not found.is_multigraph()
    assert [*found.edges(data="cost")] == [("a", "b", 2.0), ("b", "c", 1.0)]
    graph.add_edge("a", "b", cost="far")
    with pytest.raises(UserError, match=r"curriculum.graph: edge a - b has cost far"):
        checked(graph)
