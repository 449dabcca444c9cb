"""From what a judge says to a rating from 1 to 5.

Source of the rules: MMDuet reads the first character of a local model's reply and the last one of a server's, anything
else being 1, and takes a batch's reply for a whole number, which breaks at "4.". Each is here under a name.
"""

from __future__ import annotations

import re
from typing import Literal

from lavis.scoring.judges.base import Reply

Rule = Literal["first_number", "last_number", "first_character", "last_character", "whole"]

_ALONE = re.compile(r"(?<![\d.])[1-5](?!\d|\.\d)")
_RATINGS = "12345"


def rating(reply: Reply, rule: Rule) -> float | None:
    """The rating in a reply, ``None`` if the rule finds none.

    Args:
        reply: text of a judge, or the number that was recorded of it.
        rule: ``first_number`` and ``last_number`` take the first or last digit from 1 to 5 that is no part of another
            number ("Score: 4." is 4, "3.5" and "10" are nothing); ``first_character`` and ``last_character`` look at
            one character; ``whole`` wants a whole number and nothing else.
    """
    if reply is None:
        return None
    if not isinstance(reply, str):
        return float(reply) if 1 <= reply <= 5 else None
    if rule == "whole":
        found = [reply.strip()] if reply.strip() in tuple(_RATINGS) else []
    elif rule in ("first_character", "last_character"):
        found = [c for c in (reply[:1] if rule == "first_character" else reply[-1:]) if c in _RATINGS]
    else:
        found = _ALONE.findall(reply)
    if not found:
        return None
    return float(found[-1 if rule == "last_number" else 0])
