"""Source against target (§8): every pattern of equality between source, target, base and what was last in sync."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.reconciliation import DiffStatus, diff_status

hashes = st.none() | st.sampled_from("abcd")


def row_of_the_table(source: str | None, target: str | None, base: str | None, seen: str | None) -> DiffStatus | None:
    """The table of §8, row by row as it is written, each row by itself; exactly one may hold."""
    both = source is not None and target is not None
    differ = both and source != target
    rows = [
        (source is None and target is None, None),
        (source is not None and target is None, DiffStatus.ADDED),
        (source is None and target is not None, DiffStatus.TARGET_ONLY),
        (both and source == target, DiffStatus.UNCHANGED),
        (differ and target == base and source != base, DiffStatus.MODIFIED),
        (differ and source == base and target != base and target != seen, DiffStatus.TARGET_HOTFIX),
        (differ and source == base and target != base and target == seen, DiffStatus.MODIFIED),
        (differ and (base is None or base not in {source, target}), DiffStatus.CONFLICT),
    ]
    (status,) = [status for holds, status in rows if holds]
    return status


def equality_patterns() -> list[tuple[str | None, ...]]:
    """All ways in which four contents can be absent or equal to each other: letters appear in order of first use."""
    return [pattern for pattern in product([None, *"abcd"], repeat=4)
            if (used := list(dict.fromkeys(h for h in pattern if h))) == list("abcd")[:len(used)]]


def test_there_are_52_patterns() -> None:
    assert len(equality_patterns()) == 52  # the number of partitions of five things, one of them "absent"


@pytest.mark.parametrize(("source", "target", "base", "seen"), equality_patterns())
def test_every_pattern_of_four_contents_has_the_status_of_its_row(source: str | None, target: str | None,
                                                                  base: str | None, seen: str | None) -> None:
    assert diff_status(source=source, target=target, base=base,
                       last_in_sync=seen) is row_of_the_table(source, target, base, seen)


@pytest.mark.parametrize(("source", "target", "base", "seen", "status"), [
    ("s", None, None, None, DiffStatus.ADDED),
    ("s", None, "s", "s", DiffStatus.ADDED),  # it is in the target's Git, and still not there
    (None, "t", None, None, DiffStatus.TARGET_ONLY),
    (None, None, "b", "b", None),
    ("s", "s", None, None, DiffStatus.UNCHANGED),
    ("s", "s", "b", "b", DiffStatus.UNCHANGED),  # equal, whatever Git says
    ("s", "b", "b", "b", DiffStatus.MODIFIED),  # the source went on
    ("b", "t", "b", "b", DiffStatus.TARGET_HOTFIX),  # somebody edited the target
    ("b", "t", "b", None, DiffStatus.TARGET_HOTFIX),  # never seen in sync: nothing excuses the target's content
    ("b", "t", "b", "t", DiffStatus.MODIFIED),  # Git moved on and the target did not follow yet
    ("s", "t", "b", "b", DiffStatus.CONFLICT),  # both went on
    ("s", "t", "b", "t", DiffStatus.CONFLICT),  # and that the target was in sync once changes nothing
    ("s", "t", None, None, DiffStatus.CONFLICT),  # nobody knows from where
])
def test_the_cases_of_the_contract(source: str | None, target: str | None, base: str | None, seen: str | None,
                                   status: DiffStatus | None) -> None:
    assert diff_status(source=source, target=target, base=base, last_in_sync=seen) is status


@given(hashes, hashes, hashes, hashes, st.permutations("abcd"))
def test_only_equality_matters_and_never_what_a_hash_is(source: str | None, target: str | None, base: str | None,
                                                        seen: str | None, other: list[str]) -> None:
    renamed = dict(zip("abcd", other, strict=True))
    before = diff_status(source=source, target=target, base=base, last_in_sync=seen)
    source, target, base, seen = (None if h is None else renamed[h] for h in (source, target, base, seen))
    assert diff_status(source=source, target=target, base=base, last_in_sync=seen) is before
