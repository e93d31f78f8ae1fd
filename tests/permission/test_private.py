"""Who else may read a file that is for its owner."""

from __future__ import annotations

import pytest

from nconnect.errors import ConfigError
from nconnect.permission.private import check_private


@pytest.mark.parametrize("mode", [0o100600, 0o100400, 0o100700])
def test_its_owner_alone(mode: int) -> None:
    check_private(mode, "/x", "holds a secret")


@pytest.mark.parametrize("mode", [0o100640, 0o100604, 0o100620, 0o100601, 0o100777])
def test_anybody_else(mode: int) -> None:
    with pytest.raises(ConfigError, match="/x holds a secret and others may read it; run: chmod 600 /x"):
        check_private(mode, "/x", "holds a secret")
