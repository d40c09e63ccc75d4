"""`firsthand model`: a model folder out of a GGUF file, or of that and parts that ship here."""

import argparse


def model_command(args: argparse.Namespace) -> int:
    """A known model, or a file. Raises RecipeError for a text model beside what has none of its own."""
    from firsthand.errors import RecipeError
    from firsthand.policy.gguf import check_ready, located, write_model
    from firsthand.policy.sight import SHIPPED, write_shipped

    if args.model in SHIPPED:
        parameters = write_shipped(args.model, args.out, args.text)
    elif args.text is not None:
        raise RecipeError(f"--text: only {', '.join(SHIPPED)} has a text model inside; leave it out")
    else:
        check_ready(args.out)  # before anything is fetched
        with located(args.model) as source:
            parameters = write_model(source, args.out)
    print(f"model: {args.out} ({parameters:,} parameters in float32)\nwhere it comes from: {args.out / 'README.md'}")
    return 0
