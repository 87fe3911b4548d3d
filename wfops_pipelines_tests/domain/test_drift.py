"""Drift of one environment (§9): matching, kinds and status."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.drift import (
    DriftKind,
    EnvironmentDriftStatus,
    GitWorkflow,
    RuntimeWorkflow,
    WorkflowDrift,
    compare_environment,
    count,
    environment_status,
    has_drift,
    judge,
    match_workflows,
)

A, B = UUID(int=1), UUID(int=2)


def runs(workflow_id: str = "w1", name: str = "Report", canonical_id: UUID | None = A, *, live: str = "x",
         draft: str | None = None, active: bool = False, archived: bool = False,
         ignored: bool = False) -> RuntimeWorkflow:
    return RuntimeWorkflow(workflow_id, name, canonical_id, live, draft or live, active, archived, ignored)


def file(path: str = "prod/report.json", name: str = "Report", canonical_id: UUID | None = A, *, content: str = "x",
         wants_active: bool | None = None, workflow_id: str | None = None) -> GitWorkflow:
    return GitWorkflow(path, name, canonical_id, content, wants_active, workflow_id)


def the_only(drifts: tuple[WorkflowDrift, ...]) -> WorkflowDrift:
    (drift,) = drifts
    return drift


def kinds(drifts: tuple[WorkflowDrift, ...]) -> list[tuple[str | None, str | None, str]]:
    return [(drift.workflow_id, drift.path, str(drift.kind)) for drift in drifts]


# -- kinds ---------------------------------------------------------------------------------------------------------------

def test_equal_content_is_no_drift() -> None:
    assert compare_environment([runs()], [file()]) == ()


def test_other_live_content_is_modified() -> None:
    assert the_only(compare_environment([runs(live="y", active=True)], [file(wants_active=True)])) == WorkflowDrift(
        name="Report", canonical_id=A, workflow_id="w1", path="prod/report.json", kind=DriftKind.MODIFIED,
        kinds=(DriftKind.MODIFIED,), runtime_hash="y", git_hash="x", active=True, wants_active=True,
    )


def test_what_git_does_not_know_is_added_in_runtime() -> None:
    drift = the_only(compare_environment([runs(active=True)], []))
    assert (drift.kind, drift.path, drift.git_hash, drift.workflow_id) == ("added_in_runtime", None, None, "w1")


def test_what_n8n_does_not_have_is_missing_in_runtime() -> None:
    drift = the_only(compare_environment([], [file(workflow_id="w1")]))
    assert (drift.kind, drift.workflow_id, drift.runtime_hash, drift.path) == (
        "missing_in_runtime", None, None, "prod/report.json")


@pytest.mark.parametrize(("active", "wants"), list(product([True, False], [True, False, None])))
def test_activation_drifts_only_where_the_file_says_otherwise(active: bool, wants: bool | None) -> None:
    found = [drift.kind for drift in compare_environment([runs(active=active)], [file(wants_active=wants)])]
    assert found == ([] if wants in {None, active} else [DriftKind.ACTIVATION])


def test_unpublished_changes_are_listed_and_are_no_drift() -> None:
    found = compare_environment([runs(active=True, draft="y")], [file()])
    assert the_only(found).kinds == (DriftKind.UNPUBLISHED_CHANGES,)
    assert not has_drift(found)


def test_an_inactive_workflow_has_no_unpublished_changes() -> None:
    assert compare_environment([runs(active=False, draft="y")], [file()]) == ()


def test_the_kind_is_the_first_and_kinds_are_all() -> None:
    drift = the_only(compare_environment([runs(live="y", draft="z", active=True)], [file(wants_active=False)]))
    assert drift.kind is DriftKind.MODIFIED
    assert drift.kinds == (DriftKind.MODIFIED, DriftKind.ACTIVATION, DriftKind.UNPUBLISHED_CHANGES)


def test_activation_comes_before_unpublished_changes_and_is_drift() -> None:
    found = compare_environment([runs(draft="z", active=True)], [file(wants_active=False)])
    assert the_only(found).kind is DriftKind.ACTIVATION
    assert has_drift(found)


# -- archived and ignored ------------------------------------------------------------------------------------------------

def test_an_archived_workflow_with_a_file_is_missing_in_runtime_and_named() -> None:
    drift = the_only(compare_environment([runs(archived=True)], [file()]))
    assert (drift.kind, drift.workflow_id, drift.canonical_id) == ("missing_in_runtime", "w1", A)


def test_an_archived_workflow_that_git_does_not_know_is_nothing() -> None:
    assert compare_environment([runs(archived=True)], []) == ()


def test_an_archived_namesake_neither_takes_a_name_nor_makes_it_ambiguous() -> None:
    old = runs("w0", canonical_id=None, archived=True)
    assert compare_environment([old, runs("w1", canonical_id=None)], [file(canonical_id=B)]) == ()


def test_an_ignored_workflow_is_left_out_with_its_file() -> None:
    assert compare_environment([runs(live="y", ignored=True)], [file()]) == ()
    assert compare_environment([runs(ignored=True, canonical_id=None)], []) == ()


def test_an_ignored_workflow_that_is_gone_still_takes_its_file_out() -> None:
    assert compare_environment([runs(ignored=True, archived=True)], [file()]) == ()


def test_ignoring_a_copy_does_not_hide_the_drift_of_the_workflow() -> None:
    found = compare_environment([runs("w0", ignored=True), runs("w1", live="y")], [file(workflow_id="w0")])
    assert kinds(found) == [("w1", "prod/report.json", "modified")]


# -- matching ------------------------------------------------------------------------------------------------------------

def test_a_renamed_linked_workflow_is_modified_not_added_and_missing() -> None:
    found = compare_environment([runs(name="New name", live="y")], [file()])
    assert kinds(found) == [("w1", "prod/report.json", "modified")]


def test_the_second_claim_to_a_canonical_workflow_is_added_in_runtime() -> None:
    found = compare_environment([runs("w1"), runs("w2")], [file()])
    assert kinds(found) == [("w2", None, "added_in_runtime")]


def test_of_two_claims_the_one_that_the_file_names_is_the_first() -> None:
    found = compare_environment([runs("w1"), runs("w2")], [file(workflow_id="w2")])
    assert kinds(found) == [("w1", None, "added_in_runtime")]


def test_of_two_claims_the_live_one_is_the_first() -> None:
    assert compare_environment([runs("w1", archived=True), runs("w2")], [file(workflow_id="w1")]) == ()


def test_an_unlinked_workflow_is_still_compared_with_the_file_that_has_its_id() -> None:
    found = compare_environment([runs(canonical_id=None, name="Other", live="y")], [file(workflow_id="w1")])
    assert kinds(found) == [("w1", "prod/report.json", "modified")]
    assert the_only(found).canonical_id == A


def test_a_linked_workflow_and_the_file_with_its_id_are_two_when_they_name_two() -> None:
    found = compare_environment([runs(canonical_id=B)], [file(canonical_id=A, workflow_id="w1")])
    assert sorted(kinds(found), key=str) == [
        ("w1", None, "added_in_runtime"), (None, "prod/report.json", "missing_in_runtime")]


def test_a_file_without_a_canonical_workflow_matches_by_its_id() -> None:
    assert compare_environment([runs(canonical_id=B)], [file(canonical_id=None, workflow_id="w1")]) == ()


def test_a_unique_name_matches_an_unlinked_workflow() -> None:
    found = compare_environment([runs(canonical_id=None, live="y")], [file(workflow_id="another environment's")])
    assert kinds(found) == [("w1", "prod/report.json", "modified")]


def test_a_name_never_matches_a_linked_workflow() -> None:
    assert [d.kind for d in compare_environment([runs(canonical_id=B)], [file(canonical_id=A)])] == [
        "missing_in_runtime", "added_in_runtime"]


@pytest.mark.parametrize("namesake_linked", [True, False])
def test_a_name_that_two_live_workflows_share_matches_neither(namesake_linked: bool) -> None:
    namesake = runs("w2", canonical_id=B if namesake_linked else None)
    found = compare_environment([runs("w1", canonical_id=None), namesake], [file()])
    assert sorted(d.kind for d in found) == ["added_in_runtime", "added_in_runtime", "missing_in_runtime"]


def test_a_name_that_two_files_share_matches_neither() -> None:
    found = compare_environment([runs(canonical_id=None)], [file("a.json"), file("b.json", canonical_id=B)])
    assert sorted(d.kind for d in found) == ["added_in_runtime", "missing_in_runtime", "missing_in_runtime"]


# -- laws ----------------------------------------------------------------------------------------------------------------

@st.composite
def environments_in_sync(draw: st.DrawFn) -> tuple[list[RuntimeWorkflow], list[GitWorkflow]]:
    """An environment and its folder that agree; matched by mapping, by file or by name."""
    runtime, files = [], []
    for n in range(draw(st.integers(1, 6))):
        by = draw(st.sampled_from(["mapping", "file", "name"]))
        active = draw(st.booleans())
        canonical_id, content = UUID(int=100 + n), draw(st.sampled_from("xyz"))
        name = f"Workflow {n}" if by == "name" else draw(st.sampled_from(["Workflow", "Arbeitsablauf ✨"]))
        runtime.append(runs(f"w{n}", name, canonical_id if by == "mapping" else None, live=content, active=active))
        files.append(file(f"{draw(st.integers(0, 99))}-{n}.json", name, canonical_id, content=content,
                          wants_active=draw(st.sampled_from([active, None])),
                          workflow_id=f"w{n}" if by == "file" else None))
    return draw(st.permutations(runtime)), draw(st.permutations(files))


def of_file(runtime: list[RuntimeWorkflow], wanted: GitWorkflow) -> int:
    """Position of the workflow that ``wanted`` is the file of: their canonical id, path and n8n id share a number."""
    assert wanted.canonical_id is not None
    workflow_id = f"w{wanted.canonical_id.int - 100}"
    return next(i for i, w in enumerate(runtime) if w.workflow_id == workflow_id)


@given(environments_in_sync())
def test_the_same_on_both_sides_is_no_drift(sides: tuple[list[RuntimeWorkflow], list[GitWorkflow]]) -> None:
    assert compare_environment(*sides) == ()


@given(environments_in_sync(), st.data())
def test_one_edit_is_found_as_exactly_what_it_is(sides: tuple[list[RuntimeWorkflow], list[GitWorkflow]],
                                                 data: st.DataObject) -> None:
    runtime, files = list(sides[0]), list(sides[1])
    index = data.draw(st.integers(0, len(files) - 1))
    at = of_file(runtime, files[index])
    kind = data.draw(st.sampled_from(DriftKind))
    match kind:
        case DriftKind.MODIFIED:
            runtime[at] = replace(runtime[at], live_hash="edited", draft_hash="edited")
        case DriftKind.ADDED_IN_RUNTIME:
            runtime.append(runs("new", "Brand new", None))
        case DriftKind.MISSING_IN_RUNTIME:
            if data.draw(st.booleans()):
                runtime[at] = replace(runtime[at], archived=True)
            else:
                del runtime[at]
        case DriftKind.ACTIVATION:
            files[index] = replace(files[index], wants_active=not runtime[at].active)
        case DriftKind.UNPUBLISHED_CHANGES:
            runtime[at] = replace(runtime[at], active=True, draft_hash="draft")
            files[index] = replace(files[index], wants_active=None)
    found = compare_environment(runtime, files)
    drift = the_only(found)
    assert drift.kinds == (kind,)
    assert drift.is_drift == has_drift(found) == (kind is not DriftKind.UNPUBLISHED_CHANGES)
    assert drift.path == (None if kind is DriftKind.ADDED_IN_RUNTIME else files[index].path)


hashes = st.sampled_from("xy")
canonical_ids = st.none() | st.sampled_from([A, B, UUID(int=3)])
names = st.sampled_from(["one", "two", "three"])
workflow_ids = ["a", "b", "c", "d", "e"]
any_runtime = st.lists(
    st.builds(RuntimeWorkflow, st.sampled_from(workflow_ids), names, canonical_ids, hashes, hashes, st.booleans(),
              st.booleans(), st.booleans()), max_size=5, unique_by=lambda w: w.workflow_id)
any_files = st.lists(
    st.builds(GitWorkflow, st.sampled_from(["1", "2", "3", "4"]), names, canonical_ids, hashes,
              st.none() | st.booleans(), st.none() | st.sampled_from(workflow_ids)),
    max_size=4, unique_by=lambda f: f.path)


@given(any_runtime, any_files, st.randoms(use_true_random=False))
def test_the_order_of_the_input_makes_no_difference(runtime: list[RuntimeWorkflow], files: list[GitWorkflow],
                                                    random: object) -> None:
    expected = compare_environment(runtime, files)
    random.shuffle(runtime)  # type: ignore[attr-defined]
    random.shuffle(files)  # type: ignore[attr-defined]
    assert compare_environment(runtime, files) == expected


@given(any_runtime, any_files)
def test_every_workflow_is_accounted_for_exactly_once(runtime: list[RuntimeWorkflow],
                                                      files: list[GitWorkflow]) -> None:
    matching = match_workflows(runtime, files)
    placed_runtime = [w for w, _ in matching.pairs] + list(matching.only_runtime)
    placed_files = [f for _, f in matching.pairs] + list(matching.only_git)
    assert sorted(w.workflow_id for w in placed_runtime) == sorted(w.workflow_id for w in runtime)
    assert sorted(f.path for f in placed_files) == sorted(f.path for f in files)

    drifts = judge(matching)
    ignored = {w.workflow_id for w in runtime if w.ignored}
    assert not ignored & {d.workflow_id for d in drifts}
    subjects = [d.workflow_id or d.path for d in drifts]
    assert len(subjects) == len(set(subjects))
    assert {w.workflow_id for w in matching.only_runtime if not (w.ignored or w.archived)} == {
        d.workflow_id for d in drifts if d.kind is DriftKind.ADDED_IN_RUNTIME}
    assert all(d.kind is d.kinds[0] and list(d.kinds) == sorted(d.kinds, key=list(DriftKind).index) for d in drifts)


@given(any_runtime, any_files)
def test_the_counts_add_up(runtime: list[RuntimeWorkflow], files: list[GitWorkflow]) -> None:
    matching = match_workflows(runtime, files)
    drifts = judge(matching)
    counts = count(matching, drifts)
    assert counts.files == len(files)
    assert counts.workflows == sum(not w.archived for w in runtime)
    assert counts.ignored == sum(w.ignored for w in runtime)
    assert counts.drifted == sum(d.is_drift for d in drifts)
    equal_pairs = sum(not w.ignored and not w.archived and not any(
        d.workflow_id == w.workflow_id and d.is_drift for d in drifts) for w, _ in matching.pairs)
    assert counts.in_sync == equal_pairs
    assert sum(counts.kinds.values()) == sum(len(d.kinds) for d in drifts)


@given(st.lists(st.tuples(hashes, hashes, st.booleans(), st.booleans(), st.booleans()), max_size=5))
def test_unlinking_never_hides_drift(rows: list[tuple[str, str, bool, bool, bool]]) -> None:
    linked = [runs(f"w{n}", "Same name", UUID(int=n + 1), live=live, active=active)
              for n, (live, _, active, _, _) in enumerate(rows)]
    files = [file(f"{n}.json", "Same name", UUID(int=n + 1), content=content, wants_active=wants, workflow_id=f"w{n}")
             for n, (_, content, _, wants, _) in enumerate(rows)]
    some_unlinked = [replace(w, canonical_id=None) if row[4] else w for w, row in zip(linked, rows, strict=True)]
    assert compare_environment(some_unlinked, files) == compare_environment(linked, files)


# -- status --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("configured", "error", "incident", "mapped", "files", "drift"),
    list(product([True, False], [None, "refused"], [None, "active", "acknowledged"], [True, False], [True, False],
                 [True, False])))
def test_the_first_row_that_holds_decides(configured: bool, error: str | None, incident: str | None, mapped: bool,
                                          files: bool, drift: bool) -> None:
    rows: list[tuple[bool, str, str | None]] = [
        (not configured, "UNKNOWN", "not_configured"),
        (error is not None, "ERROR", error),
        (incident == "active", "DRIFT_INCIDENT_ACTIVE", None),
        (incident == "acknowledged", "DRIFT_INCIDENT_ACKNOWLEDGED", None),
        (not mapped and not files, "UNTRACKED", None),
        (drift, "DRIFT_DETECTED", None),
        (True, "IN_SYNC", None),
    ]
    expected = next((status, reason) for holds, status, reason in rows if holds)
    assert environment_status(repository_configured=configured, error_kind=error,
                              open_incident=incident,  # type: ignore[arg-type]
                              ever_mapped=mapped, has_files=files, has_drift=drift) == expected


def test_an_environment_whose_workflows_were_unlinked_is_not_untracked() -> None:
    status, _ = environment_status(repository_configured=True, error_kind=None, open_incident=None, ever_mapped=True,
                                   has_files=False, has_drift=True)
    assert status is EnvironmentDriftStatus.DRIFT_DETECTED
