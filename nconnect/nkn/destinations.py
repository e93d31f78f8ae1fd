"""From what a user calls a peer to the peer's address: by resolvers, then by names on the block chain."""

from __future__ import annotations

import asyncio

from nconnect.errors import AddressError, NetworkError
from nconnect.nkn.addresses import PUBLIC_KEY_SIZE, Address
from nconnect.nkn.chain import Chain
from nconnect.nkn.config import ClientConfig
from nconnect.nkn.resolver import resolve

# Names that are remembered; about 200 bytes each.
MAX_NAMES = 4096


class Destinations:
    """Resolves destinations, and remembers for a while which key has which name."""

    def __init__(self, chain: Chain, config: ClientConfig) -> None:
        self._chain = chain
        self._config = config
        self._names: dict[str, tuple[float, bytes]] = {}

    async def resolve(self, dest: str) -> str:
        """The address that ``dest`` stands for; AddressError if it stands for none.

        ``dest`` is an address, anything that a resolver knows, or a registered name in the place of a public
        key: ``alice.somename``, ``somename``.
        """
        if self._config.resolvers:
            try:
                async with asyncio.timeout(self._config.resolver_timeout):
                    dest = await resolve(dest, self._config.resolvers)
            except TimeoutError:
                raise NetworkError(
                    f"{dest!r} was not resolved within {self._config.resolver_timeout:g} s"
                ) from None
        identifier, dot, name = dest.rpartition(".")
        if name and len(name) < 2 * PUBLIC_KEY_SIZE:
            dest = identifier + dot + (await self._registrant(name, dest)).hex()
        return str(Address.parse(dest))

    async def _registrant(self, name: str, dest: str) -> bytes:
        now = asyncio.get_running_loop().time()
        expires, key = self._names.get(name, (now, b""))
        if expires > now:
            return key
        registrant = await self._chain.registrant(name)
        if registrant is None:
            raise AddressError(f"{dest!r} is neither an NKN address nor a registered name")
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        self._names[name] = now + self._config.name_cache, registrant.public_key
        return registrant.public_key
