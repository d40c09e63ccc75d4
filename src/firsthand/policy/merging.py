"""An adapter that peft has written -> a plain model folder, which anything reads."""

import warnings
from pathlib import Path
from typing import Any

from firsthand.errors import DataError, RecipeError
from firsthand.files import replacing
from firsthand.policy.lora import CONFIG, WEIGHTS
from firsthand.policy.model import Policy
from firsthand.policy.weights import refuse
from firsthand.processor.folder import reading, settings_in


def write_merged(adapter: Path, folder: Path) -> None:
    """Write the adapter, added to its base model, as a folder in the precision of that model's files.

    Raises DataError when the base that the adapter names is no local folder, or when a weight of one of the two is
    missing, too many or not finite; RecipeError without peft.
    """
    settings = settings_in(adapter / CONFIG)
    if settings.get("megatron_config"):  # with it, peft imports whatever module the file names
        raise DataError(f"{adapter / CONFIG}: expected no megatron_config, which is for Megatron's layers; take it out")
    base = Path(str(settings.get("base_model_name_or_path") or ""))
    if not (base / "config.json").is_file():
        raise DataError(
            f"{adapter / CONFIG}: expected base_model_name_or_path to be a local model folder, got {str(base)!r}; "
            "download the base model and name its folder there"
        )
    if not (adapter / WEIGHTS).is_file():
        raise DataError(f"{adapter}: expected {WEIGHTS}, got none; save the adapter again with safe_serialization=True")
    try:
        from peft import PeftModel
    except ImportError as error:
        raise RecipeError("an adapter needs peft, which is not installed: pip install 'firsthand[peft]'") from error
    policy = Policy.load(base, dtype=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that is on its way out
        warnings.filterwarnings("ignore", "Found missing adapter keys")  # our error says so
        with reading(adapter, "an adapter of peft"):
            adapted: Any = PeftModel.from_pretrained(policy.model, str(adapter), local_files_only=True)
            # Again, for it tells what it misses.
            found = adapted.load_adapter(str(adapter), "default", local_files_only=True)
    refuse(adapter, adapted, found.missing_keys, found.unexpected_keys)
    policy.model = adapted.merge_and_unload(safe_merge=True)
    with replacing(folder) as draft:
        policy.save(draft)
