"""Ids as people write them."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import UsageError
from wfops_pipelines.services.id_prefixes import SHORTEST, ids_that_begin


@given(st.uuids(), st.integers(SHORTEST, 32))
def test_every_beginning_of_an_id_stands_for_it(wanted: UUID, length: int) -> None:
    first, last = ids_that_begin(wanted.hex[:length], what="snapshot", ways="its id")
    assert first <= wanted <= last
    assert (first == last) is (length == 32)


@given(st.uuids())
def test_a_whole_id_may_have_hyphens_braces_and_capitals(wanted: UUID) -> None:
    for written in (str(wanted), f"{{{wanted}}}", f" {str(wanted).upper()} ", wanted.hex):
        assert ids_that_begin(written, what="snapshot", ways="its id") == (wanted, wanted)


@pytest.mark.parametrize("name", ["", "abc", "0123456", "0" * 33, "acme/p1", "1234567g", "--------"])
def test_what_can_be_no_beginning_says_how_to_write_one(name: str) -> None:
    with pytest.raises(UsageError, match="names no snapshot") as refused:
        ids_that_begin(name, what="snapshot", ways="its id, or `latest`")
    assert refused.value.fix == "write its id, or `latest`"
