"""Commands about data: forge and reward."""

import argparse
import sys
from pathlib import Path

from firsthand.errors import FirsthandError


def forge_command(args: argparse.Namespace) -> int:
    """Questions into training data."""
    from firsthand.cli.terminal.forge import show_funnel, step_bars
    from firsthand.config import build, override, read_yaml
    from firsthand.forge import ForgeConfig, NothingKept, StepProgress, Waiting, read_answers, run_forge
    from firsthand.report.forged import write_forge_report

    content = override(read_yaml(args.forge), args.set)
    if args.max_picture_pixels and isinstance(content.get("sources"), list):
        files = [source for source in content["sources"] if isinstance(source, dict) and "path" in source]
        for source in files:
            source["max_picture_pixels"] = args.max_picture_pixels
    config = build(ForgeConfig, content, str(args.forge))
    out = args.out or Path("forge") / (f"{config.name}-dry-run" if args.dry_run else config.name)
    if args.batch_in:
        print(f"answers that were new: {read_answers(config, out, args.batch_in):,}")
    steps: set[str] = set()

    def on_step(now: StepProgress) -> None:
        steps.add(now.step)
        on_progress(now)

    try:
        with step_bars() as on_progress:
            funnel, costs = run_forge(
                config,
                out,
                dry_run=args.dry_run,
                batch_out=args.batch_out,
                engine=args.engine,
                give_up=args.give_up,
                on_progress=on_step,
            )
    except Waiting as waiting:
        print(waiting)
        return 0
    except NothingKept as nothing:
        print(f"firsthand: {nothing}", file=sys.stderr)
        return 1
    if not steps:
        print(f"already done: {out}; change the file to forge again what it decides, or delete the folder")
    show_funnel(funnel, costs)
    print(f"data set: {out}\nreport: {write_forge_report(out, costs)}")
    return 0


def reward_command(args: argparse.Namespace) -> int:
    """Replies of a file."""
    from firsthand.cli.terminal.rewards import judging_progress, show_calibration, show_refusals, show_tallies
    from firsthand.config import build, override
    from firsthand.data import PictureLimits
    from firsthand.data.load import as_source
    from firsthand.evaluation.grading import calibration, grade
    from firsthand.reward import Reward

    if args.workers < 1 or args.deadline <= 0:
        raise FirsthandError(f"expected --workers >= 1 and --deadline > 0, got {args.workers} and {args.deadline}")
    reward = build(Reward, override({"open": {"scorer": "overlap"}}, args.set), "reward --set")
    limits = PictureLimits.of(args.max_picture_pixels)
    columns = {"kind": args.kind, "fields": args.fields, "preset": args.preset}
    problems = as_source(str(args.problems), format="jsonl", **columns)
    if args.calibrate:
        found, refusals = calibration(problems, args.out, reward, limits)
        show_calibration(found)
        show_refusals(refusals)
        return 0
    if args.replies is None:
        raise FirsthandError("expected --replies R.jsonl, got none; or --calibrate, which needs none")
    with judging_progress() as bar:
        tallies, refusals = grade(
            problems,
            args.replies,
            args.out,
            reward,
            workers=args.workers,
            deadline_s=args.deadline,
            limits=limits,
            on_progress=bar,
        )
    show_tallies(tallies)
    print(f"verdicts: {args.out}")
    show_refusals(refusals)
    return 0
