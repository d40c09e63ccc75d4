"""`firsthand model`: a model folder out of a GGUF file."""

import argparse


def model_command(args: argparse.Namespace) -> int:
    """A known model, or a file."""
    from firsthand.policy.gguf import check_ready, located, write_model

    check_ready(args.out)  # before anything is fetched
    with located(args.model) as source:
        parameters = write_model(source, args.out)
    print(f"model: {args.out} ({parameters:,} parameters in float32)\nwhere it comes from: {args.out / 'README.md'}")
    return 0
