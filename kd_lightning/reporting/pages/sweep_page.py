"""What is shown of several runs, or of all jobs of a sweep."""

from dataclasses import replace

from kd_lightning.reporting.figures.curves import of_all
from kd_lightning.reporting.figures.heatmap import heat_map
from kd_lightning.reporting.figures.parallel import parallel_coordinates
from kd_lightning.reporting.pages.content import Content, Section, section
from kd_lightning.reporting.pages.incomplete import notice
from kd_lightning.reporting.pages.run_page import details, lineage
from kd_lightning.reporting.pages.sweep_cards import best_mean, cards, summary_card
from kd_lightning.reporting.tables.by_data import by_data
from kd_lightning.reporting.tables.curricula import curricula, sentence
from kd_lightning.reporting.tables.page_tables import comparison, configurations, jobs
from kd_lightning.reporting.tables.teachers import teachers, teachers_text
from kd_lightning.runs.caution import teacher_warnings
from kd_lightning.runs.collections.collection import Collection, Configuration
from kd_lightning.runs.run import Run
from kd_lightning.runs.status import FINISHED


def sweep_page(runs: Collection) -> Content:
    """The page of several runs, divided by their data sets where there are several."""
    divided = by_data(runs)
    if len(divided) == 1:
        return Content(title(runs), subtitle(runs), cards(runs), sections_of(runs), notice(runs))
    sections = [section for number, part in enumerate(divided) for section in sections_of_data(f"data-{number}", part)]
    tasks = {run.compared for run in runs.finished}
    kinds = "data sets" if len(tasks) == 1 else "data sets and tasks"
    text = f"{len(runs.runs)} runs on {len(divided)} {kinds}, whose results are not comparable: each has its part."
    return Content(title(runs), text, [summary_card(part) for part in divided], sections, notice(runs))


def sections_of_data(id: str, runs: Collection) -> list[Section]:
    """The sections of the runs on one data set, as parts of one section."""
    parts = [replace(one, id=f"{id}-{one.id}", listed=False) for one in sections_of(runs)]
    return [Section(id, runs.title, subtitle(runs), []), *parts]


def sections_of(runs: Collection) -> list[Section]:
    """All that is shown of several runs on one data set."""
    sections = [
        *section("heat-map", "Heat map" if len(runs.keys) > 1 else "By value", heat_map_text(runs), [heat_map(runs)]),
        *compared(runs),
        *section("teachers", "Teachers", teachers_text(runs), [teachers(runs)]),
        *section("curricula", "Curricula", curricula_text(runs), [curricula(runs)]),
        *section("configurations", "Configurations", configurations_text(runs), [configurations(runs)]),
        *section("runs", "All runs", all_runs_text(runs), [parallel_coordinates(runs), of_all(runs), jobs(runs)]),
    ]
    if runs.selected is not None and (finished := [run for run in runs.selected.runs if run.status == FINISHED]):
        sections += of_one(finished[0])
    return sections


def all_runs_text(runs: Collection) -> str:
    return (
        "First each run as a line through what it was given to what it reached, from yellow, the worst, to blue, the "
        f"best; then each {runs.result_role} on the validation data after each epoch; then all numbers. The filter "
        "keeps the runs that hold all of its words, in the figures too; a click on a title sorts."
    )


def of_one(run: Run) -> list[Section]:
    """The figures of one run of the selected configuration, as parts of one section."""
    text = (
        f"Run {run.name} of the selected configuration, seed {run.seed}; kd-report on another run's folder shows that."
    )
    parts = [replace(one, listed=False) for one in details(run)]
    return [Section("selected-run", "A selected run", text, []), *parts]


def compared(runs: Collection) -> list[Section]:
    """The networks of the configuration that is shown first."""
    shown = runs.shown
    if shown is None:
        return []
    finished = [run for run in shown.runs if run.status == FINISHED]
    which = "The selected configuration" if runs.selected else f"The configuration with the {best_mean(runs)}"
    which = which if runs.keys else "All runs"
    number = "of one run" if len(finished) == 1 else f"over {len(finished)} runs, with the standard deviation"
    text = f"{which}{f', {shown},' if runs.keys else ''} {number}. {selection(runs)}"
    warnings = [warning for run in finished if run.summary for warning in teacher_warnings(run.summary)]
    text = " ".join([text, *warnings[:1]])
    return section("comparison", "Comparison", text, [comparison(finished)])


def selection(runs: Collection) -> str:
    """What was selected on what."""
    if runs.selected is not None:
        best = f"{best_mean(runs)} {runs.selects_on.label}"
        return f"It has the {best}. {tested(runs, runs.selected)}"
    if not runs.selects_on.validated:
        return "There is no validation split: results are of the test set, so the best one of many is too good."
    if runs.is_sweep and runs.record is None:
        return "The sweep has not come to its end: nothing has been selected on validation data yet."
    return "Nothing was selected; they are compared on validation data."


def tested(runs: Collection, selected: Configuration) -> str:
    """Whose results have been tested: those selected, and where the sweep went on later those selected before."""
    others = [one for one in runs.configurations if one is not selected and one.reached(runs.compared.test.name)]
    if not others:
        return f"Of all {runs.results} only those of this configuration were tested, after it had been selected."
    tested = f"{runs.results[0].upper()}{runs.results[1:]}"
    return f"{tested} of {len(others)} further configurations have been tested too, see below."


def heat_map_text(runs: Collection) -> str:
    outlined = " Orange: the selected configuration." if runs.selected else ""
    return f"Mean {runs.selects_on.title} over the seeds, its standard deviation, and of how many seeds.{outlined}"


def curricula_text(runs: Collection) -> str:
    """Whether orders helped, and how the table tells it."""
    return (
        f"{sentence(runs)} Differences of {runs.selects_on.label}, paired by seed and positive where the curriculum is "
        "better, with their 95 % interval by Student's t and p by a two-sided paired t-test, each beside runs that "
        "were given the same but for the curriculum. What a curriculum brings over none may be its pace alone; of many "
        "curricula some intervals miss 0 by chance."
    )


def configurations_text(runs: Collection) -> str:
    """How to read the table, and what its numbers do not bear."""
    found = [value for one in runs.configurations if (value := one.spread(runs.selects_on.name)) is not None]
    text = "Mean and standard deviation over seeds, with the mean's 95 % interval by Student's t."
    if runs.baseline is not None:
        text += (
            f" The gain is over the {runs.baseline} of the same seed, p by a two-sided paired t-test; with many "
            "configurations some are below 0.05 by chance."
        )
    if found and max(value.n for value in found) == 1:
        text += " There is one seed of each: a spread and a test need more, such as seed=0,1,2."
    is_share = runs.selects_on.column.is_share
    if is_share and any(
        value.low is not None and value.high is not None and (value.low < 0 or value.high > 1) for value in found
    ):
        text += " An interval that goes beyond 0 or 100 % has too few seeds to tell where the mean is."
    return text


def title(runs: Collection) -> str:
    return f"Sweep {runs.title}" if runs.is_sweep else runs.title


def subtitle(runs: Collection) -> str:
    """The data, the networks, how many runs, and what differs between them."""
    summaries = [run.summary for run in runs.finished if run.summary]
    data = dict.fromkeys(summary.data["name"] for summary in summaries)
    drawn = dict.fromkeys(one["name"] for summary in summaries if (one := summary.data.get("curriculum")))
    curriculum = f"Curriculum {' and '.join(drawn)}" if drawn else ""
    varied = f"over {', '.join(runs.keys)}" if runs.keys else "of one configuration"
    seeds = len({run.seed for run in runs.runs})
    number = f"{len(runs.runs)} runs {varied}, {seeds} seed{'s' if seeds > 1 else ''}"
    networks = lineage(summaries) if summaries else ""
    return ". ".join(part for part in (", ".join(data), networks, curriculum, number) if part) + "."
