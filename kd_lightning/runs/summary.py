"""summary.json, typed: the data, the plan with its networks, and what came out of each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

from kd_lightning.columns import Compared, compared_by
from kd_lightning.system.records import NONE, NUMBER, Each, Then

Record = dict[str, Any]


class Role(str, Enum):
    """What a network is in a plan: it chooses colours and sentences. There may be several of a role, or none."""

    TEACHER = "teacher"
    MEMBER = "member"  # of several that teach together
    ASSISTANT = "assistant"
    BASELINE = "baseline"
    STUDENT = "student"


@dataclass(frozen=True)
class Part:
    """A network's part in a plan: what tables and figures call it, its role, and by name whom it is compared with.

    The last is told where there are several that the run is about, each with its own.
    """

    title: str
    role: Role
    baseline: str | None = None


@dataclass(frozen=True)
class PlanRecord:
    """What a summary tells of its plan.

    `networks` are by name, in the order of tables; `result` names the one that the run is about, and `baseline` the one
    that it is compared with, None where there is none.
    """

    name: str
    result: str
    baseline: str | None
    networks: Mapping[str, Part]


@dataclass(frozen=True)
class Network:
    """A network of a run: its name, title and role, and its record (model, cost, the task's metrics)."""

    name: str
    title: str
    role: Role
    record: Record


@dataclass(frozen=True)
class Summary:
    """What came out of a run.

    `records` are by the names of networks; one that the plan can have, and that the run had not, may be there as None.
    `route` tells the anchors that the result followed, and the `moves` from one to the next, where there were some.
    """

    data: Record
    seed: int
    plan: PlanRecord
    records: Mapping[str, Record | None]
    objective: Mapping[str, Record]
    time: Mapping[str, float]
    memory: Mapping[str, float | None]
    skipped_steps: int | None = None
    route: Record | None = None

    @property
    def networks(self) -> list[Network]:
        """In the order of tables."""
        return [
            Network(name, part.title, part.role, record)
            for name, part in self.plan.networks.items()
            if (record := self.records[name]) is not None
        ]

    def network(self, name: str) -> Network | None:
        return next((one for one in self.networks if one.name == name), None)

    def of(self, role: Role) -> list[Network]:
        """The networks of a role, in the order of tables."""
        return [one for one in self.networks if one.role is role]

    @property
    def result(self) -> Network:
        """The network that the run is about."""
        found = self.network(self.plan.result)
        assert found is not None  # by the shape of a summary
        return found

    @property
    def baseline(self) -> Network | None:
        """What the result is compared with."""
        return None if self.plan.baseline is None else self.network(self.plan.baseline)

    @property
    def compared(self) -> Compared | None:
        """What its networks are compared by; None where it does not tell."""
        return compared_by({"data": self.data})

    def gains(self) -> list[tuple[Network, Network]]:
        """Each network that the run is about with the one that it is compared with, as far as there are both."""
        own = [(name, part.baseline) for name, part in self.plan.networks.items() if part.baseline is not None]
        if not own and self.plan.baseline is not None:
            own = [(self.plan.result, self.plan.baseline)]
        found = [(self.network(name), self.network(other)) for name, other in own]
        return [(one, other) for one, other in found if one is not None and other is not None]

    def called(self, network: Network) -> str:
        """A network's role where it is the only one of it, else its title."""
        return network.role.value if len(self.of(network.role)) == 1 else network.title

    def with_records(self, records: Mapping[str, Record]) -> "Summary":
        """The same with other records of some networks."""
        return replace(self, records={**self.records, **records})

    def as_values(self) -> dict[str, Any]:
        """Plain values, for JSON: a key for each network."""
        named = {name: {"title": part.title, "role": part.role.value} for name, part in self.plan.networks.items()}
        for name, part in self.plan.networks.items():
            named[name] |= {} if part.baseline is None else {"baseline": part.baseline}
        told = {"skipped_steps": self.skipped_steps, "route": self.route}
        further = {name: value for name, value in told.items() if value is not None}
        return {
            "data": self.data,
            "seed": self.seed,
            "plan": {**asdict(self.plan), "networks": named},
            **self.records,
            **{name: getattr(self, name) for name in ("objective", "time", "memory")},
            **further,
        }


KEYS = tuple(name for name in Summary.__dataclass_fields__ if name != "records")  # which no network can be named
NETWORK = Each((*NUMBER, NONE), {"model": str})


def of_its_networks(values: Mapping[str, Any]) -> Any:
    """The shape of a summary whose plan is sound: a record for each of its networks, the result among them."""
    plan = values["plan"]
    known = {name: object for name in (plan["result"], plan["baseline"]) if name is not None}
    return {"plan": {"networks": Each(object, known)}, **dict.fromkeys(plan["networks"], NETWORK)}


SHAPE = Then(
    {
        "data": {
            "name": str,
            "images": Each((int, NONE)),
            "validates_on": str,
            "selected_checkpoint": str,
            "tested": bool,
        },
        "seed": int,
        "plan": {
            "name": str,
            "result": str,
            "baseline": (str, NONE),
            "networks": Each({"title": str, "role": frozenset(role.value for role in Role)}),
        },
        "objective": Each({"loss": str, "weight": NUMBER}),
        "time": Each(NUMBER, {"fit_s": NUMBER, "images_per_s": NUMBER}),
        "memory": Each((*NUMBER, NONE)),
    },
    of_its_networks,
)


def summary_from(values: Mapping[str, Any]) -> Summary:
    """A summary of its plain values, which are of `SHAPE`."""
    plan = values["plan"]
    parts = plan["networks"].items()
    networks = {name: Part(part["title"], Role(part["role"]), part.get("baseline")) for name, part in parts}
    kept: dict[str, Any] = {name: values.get(name) for name in KEYS if name != "plan"}
    records = {name: record for name, record in values.items() if name not in KEYS}
    return Summary(plan=PlanRecord(**{**plan, "networks": networks}), records=records, **kept)
