"""Which canonical workflow a file is (§5.6, §7): the rules one by one, and what holds for any folder."""

from __future__ import annotations

import itertools
import uuid

from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.identity import Assignment, FileClaim, assign

A, B, C, D, NEW = (uuid.UUID(int=n) for n in range(1, 6))


def claim(path: str, key: uuid.UUID | None = None, *, workflow_id: str | None = None, content: str = "h") -> FileClaim:
    return FileClaim(path, key, workflow_id, content)


def assigned(*claims: FileClaim, **known: object) -> dict[str, tuple[uuid.UUID, str]]:
    return {a.path: (a.canonical_id, a.by) for a in decided(*claims, **known)}


def decided(*claims: FileClaim, **known: object) -> list[Assignment]:
    fresh = itertools.count(NEW.int)
    empty: dict[str, object] = {"held": {}, "known": {}, "formerly": {}, "vanished": {}, "mapped": {}, "registry": {}, "deleted": ()}
    return assign(claims, new_id=lambda: uuid.UUID(int=next(fresh)), **(empty | known))  # type: ignore[arg-type]


def test_the_key_decides_before_everything_else() -> None:
    assert assigned(claim("a", A, workflow_id="w"), known={"a": B}, mapped={"w": C}, registry={"h": {D}}) == {"a": (A, "key")}


def test_then_the_path() -> None:
    assert assigned(claim("a", workflow_id="w"), known={"a": B}, mapped={"w": C}, registry={"h": {D}}) == {"a": (B, "path")}


def test_then_the_mapping_of_the_n8n_id_it_names() -> None:
    assert assigned(claim("a", workflow_id="w"), mapped={"w": C}, registry={"h": {D}}) == {"a": (C, "mapping")}


def test_then_a_file_that_vanished_with_the_same_content() -> None:
    assert assigned(claim("a"), vanished={"old": (B, "h")}, registry={"h": {B, D}}) == {"a": (B, "rename")}
    assert assigned(claim("a"), vanished={"old": (B, "other")}) == {"a": (NEW, "new")}


def test_two_files_that_vanished_alike_tell_nothing() -> None:
    assert assigned(claim("a"), vanished={"x": (A, "h"), "y": (B, "h")}) == {"a": (NEW, "new")}


def test_then_the_workflow_that_stood_at_the_path_before_it_was_removed() -> None:
    assert assigned(claim("a"), formerly={"a": A}, registry={"h": {B}}) == {"a": (A, "path")}
    assert assigned(claim("a"), formerly={"a": A}, held={"moved": A}) == {"a": (NEW, "new")}


def test_then_the_one_that_the_registry_names() -> None:
    assert assigned(claim("a"), registry={"h": {B}}) == {"a": (B, "hash")}
    assert assigned(claim("a"), registry={"h": {B, C}}) == {"a": (NEW, "new")}
    assert assigned(claim("a"), registry={"h": {B, C}}, deleted={C}) == {"a": (B, "hash")}
    assert assigned(claim("a"), registry={"h": {B}}, held={"other": B}) == {"a": (NEW, "new")}


def test_a_path_beats_the_hash_of_another_file() -> None:
    assert assigned(claim("a"), claim("b", content="x"), known={"b": B}, registry={"h": {B}}) == {"a": (NEW, "new"), "b": (B, "path")}


def test_of_two_files_with_one_key_the_one_that_had_it_keeps_it() -> None:
    first, second = decided(claim("a", A), claim("b", A), known={"b": A})
    assert (first.path, first.canonical_id, first.duplicate_of) == ("a", NEW, "b")
    assert (second.path, second.canonical_id, second.duplicate_of) == ("b", A, None)


def test_of_two_new_files_with_one_key_the_first_by_path_has_it() -> None:
    first, second = decided(claim("b", A), claim("a", A))
    assert (first.path, first.canonical_id) == ("a", A)
    assert (second.path, second.canonical_id, second.duplicate_of) == ("b", NEW, "a")


def test_a_copy_of_a_file_that_stayed_as_it_was_is_the_copy() -> None:
    (copy,) = decided(claim("a", A), held={"z": A})
    assert (copy.canonical_id, copy.duplicate_of) == (NEW, "z")


def test_a_copy_is_no_other_workflow_by_its_hash() -> None:
    (copy,) = decided(claim("b", A), held={"a": A}, registry={"h": {B}}, vanished={"gone": (C, "h")})
    assert copy.canonical_id == NEW


def test_a_key_taken_over_by_another_file_leaves_the_path_without() -> None:
    assert assigned(claim("p"), claim("q", A), known={"p": A}) == {"p": (NEW, "new"), "q": (A, "key")}


ids = st.sampled_from([A, B, C, D])
paths = st.sampled_from(["a", "b", "c", "d", "e"])
hashes = st.sampled_from(["h1", "h2"])


@st.composite
def folders(draw: st.DrawFn) -> tuple[list[FileClaim], dict[str, object]]:
    """A folder with any history: what stood where is one workflow a path, as the store has it."""
    before = draw(st.dictionaries(paths, ids, max_size=4))
    before = {path: i for path, i in before.items() if list(before.values()).count(i) == 1}
    fate = {path: draw(st.sampled_from(["held", "claimed", "vanished"])) for path in before}
    fresh = draw(st.sets(paths)) - set(before)
    claims = [FileClaim(path, draw(st.none() | ids), draw(st.none() | st.sampled_from(["w1", "w2"])), draw(hashes))
              for path in sorted(fresh | {p for p, f in fate.items() if f == "claimed"})]
    return claims, {
        "held": {p: before[p] for p, f in fate.items() if f == "held"}, "known": before,
        "formerly": {p: i for p, i in draw(st.dictionaries(paths, ids)).items() if p not in before},
        "vanished": {p: (before[p], draw(hashes)) for p, f in fate.items() if f == "vanished"},
        "mapped": draw(st.dictionaries(st.sampled_from(["w1", "w2"]), ids)),
        "registry": draw(st.dictionaries(hashes, st.sets(ids))), "deleted": draw(st.sets(ids, max_size=1))}


@given(folders())
def test_every_file_is_one_workflow_and_no_workflow_two_files(folder: tuple[list[FileClaim], dict[str, object]]) -> None:
    claims, known = folder
    answer = decided(*claims, **known)
    assert [a.path for a in answer] == sorted(c.path for c in claims)
    standing = [a.canonical_id for a in answer] + list(known["held"].values())  # type: ignore[attr-defined]
    assert len(standing) == len(set(standing))


@given(folders(), st.randoms())
def test_the_order_of_the_files_means_nothing(folder: tuple[list[FileClaim], dict[str, object]], random: object) -> None:
    claims, known = folder
    shuffled = list(claims)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert decided(*claims, **known) == decided(*shuffled, **known)


@given(folders())
def test_a_key_that_is_claimed_is_some_files_and_every_other_claim_names_that_file(
        folder: tuple[list[FileClaim], dict[str, object]]) -> None:
    claims, known = folder
    place = {a.canonical_id: a.path for a in decided(*claims, **known)} | {
        i: path for path, i in known["held"].items()}  # type: ignore[attr-defined]
    keys = {c.path: c.key for c in claims}
    for answer in decided(*claims, **known):
        key = keys[answer.path]
        if key is not None:
            assert place[key] == (answer.duplicate_of or answer.path)
