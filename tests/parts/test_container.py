"""The contract of a container, held by real storage and by the fake that stands in for it in other tests."""

import contextlib
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from shared.blob_store import BlobStore
from shared.errors import ConflictError, StorageError
from shared.model import Container
from shared.settings import Storage
from tests.parts.memory_container import MemoryContainer


def _no_identity(_settings: object) -> Any:
    raise AssertionError("a connection string needs no identity")


@pytest.fixture(params=["azurite", "memory"])
def container(request: pytest.FixtureRequest) -> Container:
    """Return a container that nobody has written to, so that it does not exist yet."""
    if request.param == "memory":
        return MemoryContainer()
    azurite = request.getfixturevalue("azurite")
    storage = Storage("EXPORT_STORAGE", connection_string=azurite.connection_string)
    return BlobStore(storage, _no_identity).container(f"test-{uuid.uuid4().hex}")


def commit(
    container: Container, blocks: list[str], *, name: str = "blob", etag: str | None = None, **metadata: str
) -> str:
    """Commit blocks of a blob; return its ETag."""
    return container.commit(name, blocks, metadata, etag=etag, content_type="application/gzip")


def etag_of(container: Container, name: str = "blob") -> str:
    """Return the ETag of a blob that exists."""
    blob = container.head(name)
    assert blob is not None
    return blob.etag


def content(container: Container, name: str = "blob") -> bytes | None:
    """Return a blob's bytes, or None."""
    document = container.read(name)
    return document.data if document else None


def test_nothing_is_there_at_first(container: Container) -> None:
    """Reading and deleting in a container that does not exist is the same as missing blobs."""
    assert container.head("blob") is None
    assert container.read("blob") is None
    assert list(container.list("")) == []
    assert list(container.names("")) == []
    container.delete("blob")


def test_missing_blobs_of_a_container_that_exists(container: Container) -> None:
    """A missing blob is None, an empty listing, and no error to delete, as often as one likes."""
    container.write("other", b"x", etag=None)
    assert container.head("blob") is None
    assert container.read("blob") is None
    assert list(container.list("blob")) == []
    container.delete("blob")
    container.delete("other")
    container.delete("other")
    assert list(container.list("")) == []


def test_write_creates_once(container: Container) -> None:
    """Without an ETag a write creates, and is refused where there is a blob already."""
    container.write("blob", b"first", etag=None, metadata={"times": "1"})
    with pytest.raises(ConflictError):
        container.write("blob", b"second", etag=None)
    document = container.read("blob")
    assert document is not None
    assert document.data == b"first"


def test_write_replaces_what_it_read(container: Container) -> None:
    """With an ETag a write replaces just that version, and the metadata with it."""
    container.write("blob", b"first", etag=None, metadata={"times": "1"})
    stale = etag_of(container)
    container.write("blob", b"second", etag=stale, metadata={"next_try": "later"})
    with pytest.raises(ConflictError):
        container.write("blob", b"third", etag=stale)
    blob = container.head("blob")
    assert blob is not None
    assert blob.metadata == {"next_try": "later"}
    assert content(container) == b"second"


@pytest.mark.parametrize("write", ["write", "commit"])
def test_replacing_what_is_gone_is_a_conflict(container: Container, write: str) -> None:
    """A blob that was deleted since it was read is not brought back."""
    again: dict[str, Callable[[str], object]] = {
        "write": lambda etag: container.write("blob", b"second", etag=etag),
        "commit": lambda etag: commit(container, ["a"], etag=etag),
    }
    container.write("blob", b"first", etag=None)
    stale = etag_of(container)
    container.delete("blob")
    container.stage("blob", "a", b"second")
    with pytest.raises(ConflictError):
        again[write](stale)
    assert container.head("blob") is None


def test_a_conditional_delete_spares_what_was_replaced(container: Container) -> None:
    """With an ETag only that version is deleted; one that is gone already is no error."""
    container.write("blob", b"first", etag=None)
    stale = etag_of(container)
    container.write("blob", b"second", etag=stale)
    with pytest.raises(ConflictError):
        container.delete("blob", etag=stale)
    assert content(container) == b"second"
    present = etag_of(container)
    container.delete("blob", etag=present)
    container.delete("blob", etag=present)
    assert container.head("blob") is None


def test_etags_have_one_form(container: Container) -> None:
    """Head, list and read give the same ETag, and it serves as a condition."""
    container.write("blob", b"first", etag=None)
    head, document, (listed,) = container.head("blob"), container.read("blob"), container.list("blob")
    assert head is not None
    assert document is not None
    assert head.etag == listed.etag == document.etag
    container.write("blob", b"second", etag=listed.etag)
    assert etag_of(container) != head.etag


def test_staged_blocks_become_a_blob_at_once(container: Container) -> None:
    """Nothing shows before the commit; then all of it does, in the order of the commit, with its metadata."""
    container.stage("blob", "b", b" world")
    container.stage("blob", "a", b"hello")
    assert container.head("blob") is None
    assert container.read("blob") is None
    assert list(container.list("")) == []
    etag = commit(container, ["a", "b"], rows="2", window_start="2026-11-21T10:00:00Z", first_time="")
    assert content(container) == b"hello world"
    blob = container.head("blob")
    assert blob is not None
    assert (blob.name, blob.size, blob.etag) == ("blob", 11, etag)
    assert blob.metadata == {"rows": "2", "window_start": "2026-11-21T10:00:00Z", "first_time": ""}


def test_an_empty_commit_is_an_empty_blob(container: Container) -> None:
    """A window without a byte needs no block."""
    commit(container, [], rows="0")
    blob = container.head("blob")
    assert blob is not None
    assert blob.size == 0
    assert content(container) == b""


def test_staging_beside_a_blob_leaves_it_alone(container: Container) -> None:
    """Blocks that are never committed change nothing, not even the ETag."""
    container.stage("blob", "a", b"first")
    commit(container, ["a"])
    before = container.head("blob")
    container.stage("blob", "b", b"second")
    assert container.head("blob") == before
    assert content(container) == b"first"


def test_a_commit_creates_once(container: Container) -> None:
    """Without an ETag a commit is refused where there is a blob already, its own too."""
    container.stage("blob", "a", b"first")
    commit(container, ["a"])
    with pytest.raises(ConflictError):
        commit(container, ["a"])
    container.stage("blob", "b", b"second")
    with pytest.raises(ConflictError):
        commit(container, ["b"])
    assert content(container) == b"first"


def test_a_commit_replaces_what_it_read(container: Container) -> None:
    """With an ETag a commit replaces just that version, rows and metadata together."""
    container.stage("blob", "a", b"first")
    commit(container, ["a"], revision="1")
    stale = etag_of(container)
    container.stage("blob", "b", b"second")
    commit(container, ["b"], etag=stale, revision="2")
    container.stage("blob", "c", b"third")
    with pytest.raises(ConflictError):
        commit(container, ["c"], etag=stale, revision="3")
    blob = container.head("blob")
    assert blob is not None
    assert blob.metadata == {"revision": "2"}
    assert content(container) == b"second"


def test_a_commit_may_keep_blocks_that_are_committed(container: Container) -> None:
    """A block of the blob as it is can be part of the blob as it will be."""
    container.stage("blob", "a", b"first ")
    commit(container, ["a"])
    container.stage("blob", "b", b"second")
    commit(container, ["a", "b"], etag=etag_of(container))
    assert content(container) == b"first second"


def test_a_block_that_nobody_staged_is_a_conflict(container: Container) -> None:
    """InvalidBlockList means that another writer's commit threw the blocks away."""
    container.stage("blob", "a", b"first")
    with pytest.raises(ConflictError):
        commit(container, ["a", "b"])
    assert container.head("blob") is None


def test_a_commit_throws_away_the_other_writers_blocks(container: Container) -> None:
    """What another writer had staged for the blob is gone, also for a commit that replaces."""
    container.stage("blob", "a", b"mine")
    container.stage("blob", "b", b"theirs")
    commit(container, ["a"])
    with pytest.raises(ConflictError):
        commit(container, ["b"], etag=etag_of(container))
    assert content(container) == b"mine"


def test_block_ids_of_another_length_are_refused(container: Container) -> None:
    """All block ids of one blob have one length; this is a fault of the writer, not a race."""
    container.stage("blob", "a", b"first")
    with pytest.raises(StorageError) as caught:
        container.stage("blob", "bcdefgh", b"second")
    assert not caught.value.retryable


def test_a_block_can_be_staged_again(container: Container) -> None:
    """A repeated upload of a block replaces it."""
    container.stage("blob", "a", b"first")
    container.stage("blob", "a", b"again")
    commit(container, ["a"])
    assert content(container) == b"again"


def test_a_listing_is_of_a_prefix_and_in_order(container: Container) -> None:
    """Names come sorted; metadata comes only when it is asked for."""
    for name in ("b/2", "a/1", "b/10", "b/1", "b", "bc"):
        container.write(name, name.encode(), etag=None, metadata={"is": name.replace("/", "_")})
    assert [blob.name for blob in container.list("b/")] == ["b/1", "b/10", "b/2"]
    assert [blob.name for blob in container.list("")] == ["a/1", "b", "b/1", "b/10", "b/2", "bc"]
    assert [blob.size for blob in container.list("b/1")] == [3, 4]
    for prefix in ("b/", "", "c"):
        assert list(container.names(prefix)) == [blob.name for blob in container.list(prefix)]
    assert {len(blob.metadata) for blob in container.list("")} == {0}
    assert [blob.metadata for blob in container.list("b/1", metadata=True)] == [{"is": "b_1"}, {"is": "b_10"}]


def _stage(container: Container, writer: str) -> None:
    container.stage("blob", writer, writer.encode())


def _commit(container: Container, writer: str) -> None:
    with contextlib.suppress(ConflictError):
        commit(container, [writer], attempt=writer)


@pytest.mark.parametrize("steps", ["aAbB", "abAB", "abBA", "baAB", "baBA", "bBaA"])
def test_two_writers_in_every_order(container: Container, steps: str) -> None:
    """Whoever commits first has the blob; the other one is refused and its bytes are nowhere."""
    act: dict[bool, Callable[[Container, str], None]] = {True: _commit, False: _stage}
    for step in steps:
        act[step.isupper()](container, step.lower())
    winner = next(step for step in steps if step.isupper()).lower()
    (blob,) = container.list("", metadata=True)
    assert blob.metadata == {"attempt": winner}
    assert content(container) == winner.encode()
