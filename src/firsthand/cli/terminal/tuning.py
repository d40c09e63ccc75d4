"""What a terminal shows of tuning: each try, what each arm has chosen, and the YAML to keep it."""

from collections.abc import Sequence

import yaml

from firsthand.cli.terminal.screen import Screen, percents
from firsthand.findings import Tuned
from firsthand.study.plan import STOP
from firsthand.study.tuning import Try, words


def tried(found: Try) -> str:
    """A combination at a rung, in a line."""
    said = f"tune {found.arm}: {words(found.settings)}"
    if found.failed:
        return f"{said}: failed: {found.failed}"
    measured = [("greedy", found.greedy), ("sampled", found.sampled)]
    accuracies = ", ".join(f"{name} {percents(value)}" for name, value in measured if value is not None)
    return f"{said}, after {found.step} steps: {accuracies or 'unmeasured'}{_error(found.standard_error)}"


def show_choices(chosen: Sequence[Tuned]) -> None:
    """What each arm has chosen; and whether that is at an end of its grid."""
    screen = Screen()
    if not chosen:
        screen.say("nothing to choose: the settings of all arms are in the file")
        return
    rows = [
        [one.arm, words(one.settings), f"{percents(one.accuracy)}{_error(one.standard_error)}", str(one.tries)]
        for one in chosen
    ]
    screen.table(["arm", "settings", "validation accuracy", "tries"], rows)
    screen.say("in percent, of the best of several tries: a little too high; only the test says what an arm reaches")
    for one in chosen:
        for key in one.edges:
            screen.say(
                f"NOTE: {one.arm}: {words({key: one.settings[key]})} is at an end of "
                f"{', '.join(words({key: value}).removeprefix(f'{key}=') for value in one.grid[key])}: a better one "
                f"may lie beyond; {_remedy(key, one)}"
            )


def pasted(chosen: Sequence[Tuned], command: str) -> str:
    """The choices as a study file has them, below the command that made them."""
    content = {one.arm: one.model_dump(mode="json", exclude={"arm"}, exclude_none=True) for one in chosen}
    body = yaml.safe_dump({"tuned": content}, sort_keys=False, default_flow_style=None, width=118)
    return f"# {command}\n{body}"


def _remedy(key: str, chosen: Tuned) -> str:
    if key != STOP:
        return "extend the grid"
    if chosen.settings[STOP] != chosen.grid[STOP][-1]:
        return "compare earlier, too (tune.rungs)"
    return "train longer (steps)" if chosen.settings[STOP] is not None else "give all arms more (budget)"


def _error(error: float | None) -> str:
    return "" if error is None else f" \N{PLUS-MINUS SIGN} {100 * error:.1f}"
