"""The rules: standard library, pydantic and orjson only; no IO, no clock, no randomness."""
