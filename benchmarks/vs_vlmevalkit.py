"""Verdicts of VLMEvalKit's own functions on made-up replies, to compare a scorer with, item by item.

    python benchmarks/vs_vlmevalkit.py items --out tests/fixtures/vlmevalkit
    python benchmarks/vs_vlmevalkit.py oracle --vlmevalkit DIR --items tests/fixtures/vlmevalkit

`items` writes <set>.jsonl anew, without verdicts. `oracle` takes a git checkout of VLMEvalKit and an environment with

    pip install 'pandas<3' openpyxl xlsxwriter tabulate tqdm pillow requests validators timeout-decorator \\
        latex2sympy2-extended antlr4-python3-runtime==4.11.1

Every item goes through VLMEvalKit's functions, with a judge that says what the item scripts, and through the
spreadsheets that they write and read in between. It adds `theirs` to every line and writes <set>.summary.json.
"""

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """Run one of the commands."""
    args = _arguments(argv)
    if args.command == "items":
        write_items(args.out)
    else:
        from vlmevalkit_oracle import record

        record(args.vlmevalkit, args.items, args.only)


def write_items(folder: Path) -> None:
    """Write every set's items."""
    from vlmevalkit_items import as_json
    from vlmevalkit_sets import SETS

    folder.mkdir(parents=True, exist_ok=True)
    for name, make in SETS.items():
        items = make()
        (folder / f"{name}.jsonl").write_text("".join(as_json(item) + "\n" for item in items), encoding="utf-8")
        print(f"{name:10s} {len(items)} items")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Verdicts of VLMEvalKit's own functions on made-up replies.")
    commands = parser.add_subparsers(dest="command", required=True)
    items = commands.add_parser("items", help="write the items")
    items.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    oracle = commands.add_parser("oracle", help="add VLMEvalKit's verdicts to the items")
    oracle.add_argument("--vlmevalkit", type=Path, required=True, metavar="DIR", help="a checkout of VLMEvalKit")
    oracle.add_argument("--items", type=Path, required=True, metavar="FOLDER")
    oracle.add_argument("--only", nargs="*", default=[], metavar="SET", help="these sets (default: all)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
