r"""Words around an answer, in English and in Chinese, Simplified and Traditional: what announces it, or takes it back.

One vocabulary for every reader: what is known to announce an answer is read in front of the answer in an answer block
(markup.py) as well as anywhere in a reply that is evaluated strictly (stated.py). Texts may be long and hostile: no
pattern repeats what may repeat itself.
"""

import re

_RIGHT = r"(?:final|correct|right|best)"
_MARK = r"(?:[:=\uff1a\u2192\u21d2\u27a1]|->)"
_IS = r"(?:is|are|(?:would|must|should|will)\sbe)\b"
_PICKS = r"\bi(?:'d|'ll|\swould|\swill)?\s(?:choose|select|pick|go\swith)\s"
_IS_RIGHT = r"(?=(?:option\s|choice\s)?\(?(?-i:[A-Z])\)?\sis\s(?:the\s)?(?:correct|right|best)\b)"
_SEEN = r"(?:(?:based\son|from|in|looking\sat|according\sto|given)\s(?:the|this)\s[a-z]{1,12},\s)?"
_ASKED = (
    r"(?:\s(?:to|for)\s(?:the|this)\s(?:(?:above|arithmetic|following|given|math|mathematical|original)\s)?"
    r"(?:question|problem|equation|expression|calculation))?"
)

_SO = (
    "综上(?:所述)?|綜上(?:所述)?|总之|總之|因此|所以|故|于是|於是|因而|那[么麼]|最[终終后後]|由此可[知见見]"
    "|(?:根据|根據|由|从|從)[\u4e00-\u9fff]{1,8}(?=[,\uff0c])"
)
_TASK = "[本此该該]小?[题題]|[这這]一?道?[题題]"
_WHO = "我[们們]?(?:认为|認為|觉得|覺得|判断|判斷|的)?"
_SHOULD = "应该?|應該?|就"
_PICK = "[选選][择擇]?(?![项項题題])"
_ADJECTIVE = "(?:(?:正确|正確|最终|最終|最后|最後|最佳|标准|標準|参考|參考)的?)?"
_NOUN = f"(?:{_ADJECTIVE}(?:答案|[选選][项項])|正[确確]的)"
_NAMES = (
    rf"(?:{_NOUN}[\s*]{{0,3}}(?:{_SHOULD}){{0,2}}[\s*]{{0,3}}(?:[是为為]|{_PICK}|[:\uff1a])"
    rf"|[\[\u3010]{_ADJECTIVE}答案[\]\u3011])"
)
_COMMA = r"\s{0,3}[,\uff0c:\uff1a]?\s{0,3}"

STATES = re.compile(
    rf"answers?{_ASKED}\s+{_IS}|answers?\W{{0,3}}{_MARK}|^\W{{0,8}}ans\.?\s?:"
    r"|^[\s*_#]{0,8}(?:the\s)?(?:final\s|correct\s)?answer[\s*_]{0,4}$"
    rf"|^[\s*_#]{{0,8}}{_ADJECTIVE}答案[\s*_]{{0,4}}$"
    rf"|{_RIGHT}\s(?:options?|choices?)(?:\s{_IS}|\W{{0,3}}{_MARK})|{_PICKS}(?=(?:option\s)?\(?(?-i:[A-Z])\b)"
    r"|\b(?:so|thus|hence|therefore),?\s(?:the\s)?(?:correct\s)?(?:option|choice)\s"
    r"(?=\(?(?-i:[A-Z])\b(?!\)?\s(?:is|are)\s(?:not|wrong|incorrect|false)))"
    rf"|\b(?:so|thus|hence|therefore),?\s{_IS_RIGHT}|^\W{{0,8}}{_IS_RIGHT}(?=.{{1,12}}\sis\sthe\s\w{{4,7}}\s(?:answer|option|choice))"
    r"|^\#{4}\s(?=[-+$]?[0-9][0-9.,]*\s*$)"
    rf"|{_NAMES}|^[\s*_#]{{0,8}}答\s?[:\uff1a]|^\s{{0,3}}{_PICK}(?=[\s:\uff1a(\uff08\u3010\u300c\u300e]{{0,3}}(?-i:[A-Z])\b)"
    rf"|(?<![不非])(?:{_SO}|{_TASK}|{_WHO}|{_SHOULD}){_COMMA}(?:{_SHOULD})?{_PICK}"
    rf"|(?:{_SO}){_COMMA}(?=(?:[选選][项項])?\s?(?-i:[A-Z])\s?(?:[选選]?[项項])?[是为為]?(?:正确|正確))",
    re.IGNORECASE | re.MULTILINE,
)
"""What announces, anywhere in a text, the answer that stands behind it."""

LEADS_IN = re.compile(
    rf"[\s*_#]{{0,8}}{_SEEN}(?:output\s{{0,9}}[0-9]{{0,3}}\s{{0,9}}:"
    r"|(?:(?:so|thus|hence|therefore|and|finally|in\s+conclusion),?\s+)?(?:i\s+(?:think|believe)\s+(?:that\s+)?)?"
    rf"(?:(?:the|my|our)\s+)?(?:{_RIGHT}\s+){{0,2}}(?:answers?{_ASKED}|options?|choices?)"
    rf"(?:\s+{_IS}\s*:?|\W{{0,3}}{_MARK}|\s+[\u2013\u2014]\s|[*_]{{0,4}}\s*\n)"
    rf"|ans\.?\s?:|{_PICKS}|(?:(?:so|thus|hence|therefore),?\s+)?(?:it(?:\s+is|'s)\s|there\s+(?:are|is)\s)"
    rf"|(?:(?:{_SO}){_COMMA})?(?:(?:{_WHO}){_COMMA})?(?:(?:{_TASK})的?{_COMMA})?{_NAMES}\s*:?"
    # `选` alone also begins other words: it is for the reader of letters
    rf"|(?![选選])(?:(?:{_SO}){_COMMA})?(?:(?:{_WHO}){_COMMA})?(?:(?:{_TASK}){_COMMA})?(?:{_SHOULD})?{_PICK}\s*:?"
    rf"|(?:(?:{_SO}){_COMMA})?我[们們]?(?:认为|認為|觉得|覺得)是|(?:{_SO})\s{{0,3}}[,:]"
    rf"|答\s?:|{_ADJECTIVE}答案[*_]{{0,4}}\s*\n|\#{{4}}|=)\s*",
    re.IGNORECASE,
)
"""What may stand in front of an answer that has nothing else around it, Chinese signs written as ASCII (markup.py).

`Output 4:` is VLAA-Thinking's own data, `####` GSM8K's.
"""

TAKEN_BACK = re.compile(
    r"\b[Ww]ait\b(?=\s?[,.!?\u2026\u2014:;-])|\bBut wait\b|(?i:\bhold on\b|\bhmm+\b|\bon second thought|\bscratch that"
    r"|\bcorrection:|\b(?:my|a) mistake\b|\blet me re(?:check|consider|think|calculate|compute|evaluate|examine|read)"
    r"|[.!?\n]\s{0,3}(?:actually\b|oops|sorry\b|no,))|等等|等一下|不对|不對|重新|更正|算错|算錯"
)
"""After an answer: it no longer holds. `Actually` counts at the start of a sentence."""

DENIES = re.compile(
    r"(?i)^\W*(?:is|are|was|isn't|aren't|not|no|nope|never|or|and|but|maybe|perhaps|possibly|unless|except|instead|rather|neither"
    r"|either|both)\b|^\s*\?|^[\s.,;:!/=-]*$"
    r"|\b(?:wrong|incorrect|unsure|unclear|maybe|perhaps|never mind"
    r"|(?:not|n't|never) (?:sure|certain|correct|right|true)|can(?:not|'t) be (?:right|correct|true))\b"
    r"|^(?:不|错|錯|非|排除)|不对|不對|不正[确確]|错误|錯誤|不确定|不確定"
)
"""Beside a letter whose option nobody knows: it may not be the answer."""

REMARKS = re.compile(
    r"(?i)(?:note\b|here(?:'s| is) (?:why|how|the)\b|(?:this is )?because\b|since\b|the reason\b|reason(?:ing)?\s?:"
    r"|explanation\b|as (?:shown|seen|we)\b|looking at\b|according to\b|based on\b|(?:in|from) (?:the|this)\b"
    r"|the (?:picture|image|figure|diagram|photo|chart|graph|question)\b|this (?:follows|matches|corresponds|means)\b"
    r"|(?:all |the )?other (?:options|choices|answers)\b|options? \(?(?-i:[A-Z])\)?\b"
    r"|(?-i:[A-Z])(?:(?:,| and|, and|/) (?-i:[A-Z]))* (?:is|are) (?:a |an |the |both |all )?"
    r"(?:distractors?|wrong|incorrect|not)\b|因为|因為|由于|由於|理由|解析|注意|说明|說明)"
)
"""The beginning of a sentence behind an answer that speaks about it."""
