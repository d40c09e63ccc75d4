"""An adapter that peft has written -> a plain model folder, which anything reads."""

import json
import warnings
from pathlib import Path
from typing import Any

from firsthand.errors import DataError, RecipeError
from firsthand.files import replacing
from firsthand.identity import folder_id
from firsthand.policy.lora import CONFIG
from firsthand.policy.model import Policy
from firsthand.records import content_id


def merged_folder(adapter: Path, root: Path) -> Path:
    """The adapter added to its base model, as a folder below `root`; made once for that adapter and base.

    Raises DataError when the base that the adapter names is no local folder, RecipeError without peft.
    """
    base = Path(json.loads((adapter / CONFIG).read_text())["base_model_name_or_path"] or "")
    if not (base / "config.json").is_file():
        raise DataError(
            f"{adapter / CONFIG}: expected base_model_name_or_path to be a local model folder, got {str(base)!r}; "
            "download the base model and name its folder there"
        )
    folder = root / f"merged-{adapter.resolve().name}-{content_id(folder_id(adapter), folder_id(base))[:8]}"
    if folder.exists():
        return folder
    try:
        from peft import PeftModel
    except ImportError as error:
        raise RecipeError("an adapter needs peft, which is not installed: pip install 'firsthand[peft]'") from error
    policy = Policy.load(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers for a name that is on its way out
        adapted: Any = PeftModel.from_pretrained(policy.model, str(adapter), local_files_only=True)
    policy.model = adapted.merge_and_unload(safe_merge=True)
    with replacing(folder) as draft:
        policy.save(draft)
    return folder
