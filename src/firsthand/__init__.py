"""firsthand: vision-language models that reason first-hand, instead of imitating.

    sources -> forge -> dataset -> rollout -> reward -> objective -> trainer -> evaluation -> study -> report

Importing the package imports nothing else: each room is imported by its own name, so that looking at records, rewards
and reports never waits for torch.
"""


def __getattr__(name: str) -> str:
    """`firsthand.__version__`, read from the installed package's metadata when it is asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("firsthand")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
