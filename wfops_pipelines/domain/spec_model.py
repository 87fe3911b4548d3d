"""What all parts of a declared document have in common: they are strict, frozen, and never repeat what was given."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEK: tuple[Weekday, ...] = get_args(Weekday)
"""The days of the week; the position is that of ``date.weekday()``."""


class Spec(BaseModel):
    """Base of all parts: unknown fields are errors, values cannot change, and errors do not show what was given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)
