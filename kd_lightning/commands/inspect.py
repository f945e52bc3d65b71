"""kd-inspect."""

from omegaconf import DictConfig

from kd_lightning.command import command


@command("inspect")
def main(config: DictConfig) -> None:
    """Show the taps of a student and a teacher, side by side."""
    from kd_lightning.config import plain
    from kd_lightning.inspection import Inspection, given_taps, input_size, inspect_model
    from kd_lightning.models import check_model_name
    from kd_lightning.reporting.taps import further, stages, taps_table, unpaired
    from kd_lightning.taps import pair_taps
    from kd_lightning.terminal import console

    def look(role: str) -> Inspection:
        model = plain(config[role].model)
        taps = given_taps(role, config[role].taps)
        return inspect_model(role, model, input_size(role, config[role]), config.num_classes, taps, taken=None)

    roles = ["student"] if config.teacher.model is None else ["student", "teacher"]
    for role in roles:
        check_model_name(plain(config[role].model), f"{role}.model")
    inspected = [look(role) for role in roles]
    student, *teachers = (stages(model, given_taps(model.role, config[model.role].taps)) for model in inspected)
    teacher = teachers[0] if teachers else None
    pairs = [] if teacher is None else pair_taps(student.shapes, teacher.shapes)
    if not console.is_terminal:
        console.width = 160
    console.print(taps_table(student, teacher, pairs))
    for line in [] if teacher is None else unpaired(student, teacher, pairs):
        console.print(line)
    for model in inspected:
        console.print(further(model, student if model.role == "student" else teacher))


if __name__ == "__main__":
    main()
