"""A key struck out of what servers say: what they answer is shown in errors and kept in logs, runs and reports."""

import base64
import json
from typing import Any, final
from urllib.parse import quote

SHORTEST = 8
"""Bytes of a fragment that is struck out (ours): with fewer, ordinary words would be."""
STRUCK = b"[key]"


@final
class Scrubber:
    """Strikes out one key: as it is, as JSON and URLs escape it, as base64 and hex, and every fragment of these."""

    def __init__(self, key: str | None) -> None:
        """None strikes nothing."""
        self._forms = sorted(_forms(key), key=len, reverse=True) if key else []
        self._fragments = frozenset(
            form[i : i + SHORTEST] for form in self._forms for i in range(len(form) - SHORTEST + 1)
        )

    def __call__(self, raw: bytes) -> bytes:
        """The text without the key, also where only a reader of its JSON would find it."""
        if not self._forms:
            return raw
        found = self._struck(raw)
        if b"\\u00" not in found and b"\\/" not in found:
            return found
        try:
            read = _dumped(json.loads(found))
        except (ValueError, RecursionError):
            return found
        struck = self._struck(read)
        return found if struck == read else struck

    def _struck(self, raw: bytes) -> bytes:
        for form in self._forms:
            raw = raw.replace(form, STRUCK)
        return self._without_fragments(raw) if any(fragment in raw for fragment in self._fragments) else raw

    def _without_fragments(self, raw: bytes) -> bytes:
        kept, at = bytearray(), 0
        while at < len(raw):
            if raw[at : at + SHORTEST] not in self._fragments:
                kept.append(raw[at])
                at += 1
                continue
            at += SHORTEST
            while raw[at - SHORTEST + 1 : at + 1] in self._fragments:
                at += 1
            kept += STRUCK
        return bytes(kept)


def _dumped(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")


def _forms(key: str) -> set[bytes]:
    """The key in the spellings that a server may give it."""
    raw, escaped = key.encode(), json.dumps(key)[1:-1]
    texts = (key, escaped, escaped.replace("/", "\\/"), json.dumps(key, ensure_ascii=False)[1:-1])
    coded = {quote(key, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode()}
    for before in range(3):  # base64 depends on where in three bytes the key begins; what its neighbours decide is cut
        encoded = base64.b64encode(bytes(before) + raw)
        whole = encoded[-(-before * 4 // 3) if before else 0 : (before + len(raw)) * 8 // 6]
        coded |= {whole, whole.replace(b"+", b"-").replace(b"/", b"_")}
    return {text.encode() for text in texts} | {form for form in coded if len(form) >= SHORTEST}
