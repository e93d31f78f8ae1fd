"""resolv.conf with our resolver in it, and without it again: to the letter, whatever others do meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nconnect.errors import HostError, PrivilegeError
from nconnect.host import resolvconf
from nconnect.host.resolvconf import Contents, check, insert, parse, remove

BEFORE = "# by hand\nnameserver 192.0.2.53\nsearch example.org\noptions edns0"
OURS = "127.78.67.9"


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resolv.conf of another machine."""
    path = tmp_path / "etc" / "resolv.conf"
    path.parent.mkdir()
    path.write_text(BEFORE)
    monkeypatch.setattr(resolvconf, "PATH", path)
    return path


def nameservers(conf: Path) -> list[str]:
    return [line.split()[1] for line in conf.read_text().splitlines() if line.startswith("nameserver")]


def test_our_resolver_is_asked_first(conf: Path) -> None:
    conf.chmod(0o640)
    assert insert("office", OURS)
    assert nameservers(conf) == [OURS, "192.0.2.53"]
    assert conf.read_text().endswith(BEFORE)
    assert not insert("office", OURS), "it is there already"
    assert remove("office")
    assert conf.read_text() == BEFORE
    assert conf.stat().st_mode & 0o777 == 0o640
    assert list(conf.parent.iterdir()) == [conf]
    assert not remove("office")


def test_what_others_change_meanwhile_stays(conf: Path) -> None:
    insert("office", OURS)
    conf.write_text(conf.read_text().replace("192.0.2.53", "192.0.2.54"))
    assert remove("office")
    assert conf.read_text() == BEFORE.replace("53", "54")


def test_who_writes_the_file_anew_has_the_last_word_at_the_end(conf: Path) -> None:
    insert("office", OURS)
    conf.write_text("nameserver 192.0.2.99\n")
    assert not remove("office")
    assert conf.read_text() == "nameserver 192.0.2.99\n"


def test_and_our_resolver_comes_before_theirs_while_we_run(conf: Path) -> None:
    insert("office", OURS)
    conf.write_text("nameserver 192.0.2.99\n")
    assert insert("office", OURS)
    assert nameservers(conf) == [OURS, "192.0.2.99"]
    assert remove("office")
    assert conf.read_text() == "nameserver 192.0.2.99\n"


@pytest.mark.parametrize("first", ["office", "home"])
@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
def test_two_instances(conf: Path, first: str, link: bool) -> None:
    if link:
        conf.rename(conf.with_name("target"))
        conf.symlink_to("target")
    insert("office", OURS)
    insert("home", "127.78.67.10")
    assert nameservers(conf) == ["127.78.67.10", OURS, "192.0.2.53"]
    assert remove(first)
    assert len(nameservers(conf)) == 2
    assert remove("home" if first == "office" else "office")
    assert conf.is_symlink() is link
    assert conf.read_text() == BEFORE


def test_another_address(conf: Path) -> None:
    insert("office", OURS)
    assert insert("office", "127.78.67.10")
    assert nameservers(conf) == ["127.78.67.10", "192.0.2.53"]


def test_a_link_comes_back(conf: Path) -> None:
    target = conf.with_name("manager.conf")
    conf.rename(target)
    conf.symlink_to("manager.conf")
    assert insert("office", OURS)
    assert nameservers(conf) == [OURS, "192.0.2.53"]
    assert target.read_text() == BEFORE, "the file of another program"
    assert remove("office")
    assert str(conf.readlink()) == "manager.conf"


def test_a_link_is_followed(conf: Path) -> None:
    """The laptop has gone to another network, whose name servers are others."""
    target = conf.with_name("manager.conf")
    conf.rename(target)
    conf.symlink_to(target)
    insert("office", OURS)
    target.write_text("nameserver 192.0.2.77\n")
    assert not insert("office", OURS), "nobody has touched what is ours"
    assert nameservers(conf) == [OURS, "192.0.2.77"]
    target.unlink()
    assert not insert("office", OURS)
    assert nameservers(conf) == [OURS]


def test_a_program_that_puts_its_link_back(conf: Path) -> None:
    conf.rename(conf.with_name("manager.conf"))
    conf.symlink_to("manager.conf")
    insert("office", OURS)
    conf.unlink()
    conf.symlink_to("manager.conf")
    assert insert("office", OURS)
    conf.unlink()
    conf.symlink_to("manager.conf")
    assert not remove("office")
    assert conf.is_symlink()


def test_where_there_was_no_file(conf: Path) -> None:
    conf.unlink()
    assert insert("office", OURS)
    assert nameservers(conf) == [OURS]
    assert remove("office")
    assert not conf.exists()


def test_what_others_added_where_there_was_no_file(conf: Path) -> None:
    conf.unlink()
    insert("office", OURS)
    with conf.open("a") as file:
        file.write("nameserver 192.0.2.5\n")
    assert remove("office")
    assert conf.read_text() == "nameserver 192.0.2.5\n"


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EROFS])
def test_a_file_that_is_a_mount_of_its_own(conf: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As in containers, where it can be written and not be replaced."""

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", refuse)
    inode = conf.stat().st_ino
    assert insert("office", OURS)
    assert nameservers(conf) == [OURS, "192.0.2.53"]
    assert remove("office")
    assert (conf.read_text(), conf.stat().st_ino) == (BEFORE, inode)
    assert list(conf.parent.iterdir()) == [conf]


def test_a_full_disk_changes_nothing(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(HostError, match="No space left"):
        insert("office", OURS)
    assert conf.read_text() == BEFORE
    assert list(conf.parent.iterdir()) == [conf]


def test_what_is_no_resolv_conf(conf: Path) -> None:
    conf.write_bytes(b"x" * (resolvconf.MAX_BYTES + 1))
    with pytest.raises(HostError, match=r"is it a resolv\.conf"):
        insert("office", OURS)


@pytest.mark.parametrize(
    ("refusal", "error", "says"),
    [
        (PermissionError(errno.EACCES, "x"), PrivilegeError, "cannot write .*: Permission denied"),
        (OSError(errno.EROFS, "x"), HostError, "it is on a read-only file system"),
    ],
)
def test_why_it_cannot_be_written(
    conf: Path, monkeypatch: pytest.MonkeyPatch, refusal: OSError, error: type[Exception], says: str
) -> None:
    def refuse(*_: object) -> None:
        raise refusal

    monkeypatch.setattr(resolvconf, "_write", refuse)
    with pytest.raises(error, match=says):
        insert("office", OURS)


def test_a_check_in_advance(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check()) == []
    conf.write_text("options edns0 rotate\n")
    assert "has `options rotate`" in "".join(check())
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PrivilegeError, match=r"cannot write .*resolv\.conf"):
        list(check())


LINES = st.lists(
    st.sampled_from([BEFORE, "# nconnect", "# nconnect a: b", "nameserver 1.2.3.4", "", "\udcff"])
)


@given(LINES.map("\n".join), st.sampled_from(["", "a", resolvconf.NO_FILE]))
def test_whatever_is_there_comes_back(rest: str, place: str) -> None:
    before = parse(rest)
    written = Contents(before.blocks, place, before.rest).with_block("office", OURS)
    again = parse(str(written))
    assert again == written
    assert again.without_block("office") == Contents(before.blocks, place, before.rest)


def test_no_block_appears_where_another_was_taken_out() -> None:
    text = "# nconnect a: b\n# nconnect a: b\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n"
    assert parse(text) == Contents((("a", "192.0.2.1"), ("a", "192.0.2.2")))


def test_hostile_contents_are_not_run_away_with() -> None:
    """Lines that only look like ours, many times: in a time that grows with their number."""
    text = "# nconnect a: b\n" * 4000
    assert parse(text).rest == text
