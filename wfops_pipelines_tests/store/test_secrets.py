"""Secrets at rest (§2.5) and references to secrets (§2.6)."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfops_pipelines.domain.errors import InvalidSetting, SecretUnreadable, UsageError
from wfops_pipelines.store.secrets import (
    SecretBox,
    generate_key,
    key_id,
    load_or_create_key_file,
    parse_keys,
    resolve_reference,
)

OLD, NEW, OTHER = generate_key(), generate_key(), generate_key()


@given(st.text())
def test_what_is_encrypted_comes_back(secret: str) -> None:
    box = SecretBox([OLD])
    assert box.decrypt(box.encrypt(secret)) == secret


def test_two_encryptions_of_a_secret_differ() -> None:
    box = SecretBox([OLD])
    assert box.encrypt("same") != box.encrypt("same")


def test_after_a_rotation_the_new_key_alone_reads_it() -> None:
    stored = SecretBox([OLD]).encrypt("s3cret")
    both = SecretBox([NEW, OLD])
    assert both.needs_rotation(stored)
    rotated = both.rotate(stored)
    assert not both.needs_rotation(rotated)
    assert both.rotate(rotated) == rotated
    assert both.decrypt(stored) == SecretBox([NEW]).decrypt(rotated) == "s3cret"


def test_a_missing_key_is_named_by_its_id() -> None:
    stored = SecretBox([OLD]).encrypt("s3cret")
    with pytest.raises(SecretUnreadable, match=key_id(OLD)) as caught:
        SecretBox([NEW, OTHER]).decrypt(stored)
    assert key_id(NEW) in str(caught.value)


@pytest.mark.parametrize("damage", [
    lambda stored: stored[:-5],
    lambda stored: stored[:40] + ("A" if stored[40] != "A" else "B") + stored[41:],
    lambda stored: stored.partition(".")[2],
    lambda stored: "",
    lambda stored: "s3cret",
    lambda stored: stored[:11] + "é",
])
def test_a_damaged_secret_is_unreadable_and_not_shown(damage: object) -> None:
    assert callable(damage)
    stored = damage(SecretBox([OLD]).encrypt("s3cret"))
    with pytest.raises(SecretUnreadable) as caught:
        SecretBox([OLD]).decrypt(stored)
    assert not stored or stored not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_nothing_shows_a_key() -> None:
    box = SecretBox([NEW, OLD])
    assert repr(box) == f"SecretBox(key ids: {key_id(NEW)}, {key_id(OLD)})"
    with pytest.raises(TypeError):
        pickle.dumps(box)


def test_keys_are_given_newest_first_with_blanks_and_repetitions_forgiven() -> None:
    assert parse_keys(f" {NEW} ,{OLD}\n, {NEW},") == [NEW, OLD]


@pytest.mark.parametrize("text", ["", " , ", "hunter2", NEW[:-4], f"{NEW},pässword", "QUJD", NEW + NEW],
                         ids=["empty", "blank", "word", "short", "not ascii", "three bytes", "two in one"])
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(InvalidSetting, match="WFOPS_SECRET_KEY") as caught:
        parse_keys(text)
    assert all(part not in str(caught.value) for part in text.split(",") if part.strip())


# -- derived keys


def test_a_new_key_in_front_changes_no_derived_key() -> None:
    before, after = SecretBox([OLD]), SecretBox([NEW, OLD])
    assert before.derive("audit-chain") == after.derive("audit-chain")
    assert len(before.derive("audit-chain")) == 32


def test_purposes_and_keys_derive_different_keys() -> None:
    derived = [SecretBox([key]).derive(purpose) for key in (OLD, NEW) for purpose in ("audit-chain", "role:wfops_app", "")]
    assert len(set(derived)) == 6


def test_derivation_is_stable_across_releases() -> None:
    """Changing it would break every role password there is."""
    box = SecretBox(["dGVzdHMgdXNlIHRoaXMga2V5LCBub2JvZHkgZWxzZSE="])
    assert box.derive("audit-chain").hex() == "df93ac8d017c8a068c95b4c6bb9f0aeeb545bb24c85a6a164702be7ba8f837b3"
    assert box.key_id == "c272b9b40b"


# -- the key file


def test_a_key_file_is_made_once_for_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret.key"
    first = load_or_create_key_file(path)
    assert load_or_create_key_file(path) == first
    assert parse_keys(first) == [first]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["secret.key"]


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    # An executor's processes are told to end: a pool's are sent SIGTERM, which is ignored where the whole run ignores it.
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as pool:
        keys = list(pool.map(load_or_create_key_file, [tmp_path / "secret.key"] * 12))
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "secret.key"
    load_or_create_key_file(path)
    path.chmod(mode)
    with pytest.raises(InvalidSetting, match="can be read by others"):
        load_or_create_key_file(path)


def test_a_key_file_without_a_key_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    path.touch(0o600)
    with pytest.raises(InvalidSetting, match=r"secret\.key holds no key"):
        load_or_create_key_file(path)
    assert path.read_bytes() == b""


def test_a_directory_in_place_of_the_key_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.key").mkdir(0o700)
    with pytest.raises(InvalidSetting, match=r"secret\.key"):
        load_or_create_key_file(tmp_path / "secret.key")


# -- references


def test_a_reference_names_a_variable_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    assert resolve_reference("env:TOKEN", {"TOKEN": "from a variable"}, tmp_path) == "from a variable"
    assert resolve_reference("file:token", {}, tmp_path) == "from a file"
    assert resolve_reference(f"file:{tmp_path / 'token'}", {}, Path("/")) == "from a file"


@pytest.mark.parametrize(("reference", "named"), [
    ("env:TOKEN", "TOKEN"), ("env:EMPTY", "EMPTY"), ("file:absent", "absent"), ("file:.", r"file:\."), ("file:empty", "empty"),
    ("file:binary", "binary"), ("file:large", "large"), ("file:a\0b", "there is no file"),
])
def test_a_reference_to_nothing_is_named(tmp_path: Path, reference: str, named: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 100_000)
    with pytest.raises(InvalidSetting, match=named):
        resolve_reference(reference, {"EMPTY": ""}, tmp_path)


@pytest.mark.parametrize("text", ["n8n_api_abc", "", "env:", "file:", "vault:path", "ENV:TOKEN", "://"])
def test_a_secret_in_place_of_a_reference_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_reference(text, {}, tmp_path)
    assert not text or text in {"env:", "file:"} or text not in str(caught.value)
