"""What clients of any SDK do on the block chain, as the tests see it: the same with each SDK."""

from __future__ import annotations

from typing import Any, Protocol

from nconnect.errors import NconnectError
from nconnect.nkn.multiclient import MultiClient
from nconnect.nkn.transactions import parse_amount

from .driver import OfficialPeer
from .ours import OurPeer
from .peers import Peer, PeerError


class PeerChain(Protocol):
    """A client's wallet, names and subscriptions. What changes something returns the transaction's hash."""

    async def balance(self, wallet: str) -> int:
        """Units of 10⁻⁸ NKN."""

    async def nonce(self, wallet: str) -> int: ...

    async def transfer(self, wallet: str, amount: str, fee: str = "0") -> str: ...

    async def register_name(self, name: str) -> str: ...

    async def transfer_name(self, name: str, recipient: str) -> str: ...

    async def delete_name(self, name: str) -> str: ...

    async def registrant(self, name: str) -> tuple[str, int]:
        """Public key in hex and height of the end; ``("", 0)`` if there is none."""

    async def subscribe(self, topic: str, duration: int, meta: str) -> str: ...

    async def unsubscribe(self, topic: str) -> str: ...

    async def subscribers(self, topic: str) -> dict[str, str]:
        """Addresses, with their notes."""

    async def subscribers_count(self, topic: str) -> int: ...

    async def subscription(self, topic: str, subscriber: str) -> tuple[str, int]:
        """Note and height of the end."""

    async def publish(self, topic: str, content: str | bytes) -> None: ...


def chain_of(peer: Peer) -> PeerChain:
    """The chain as a peer's SDK sees it."""
    if isinstance(peer, OurPeer):
        return OurChain(peer.client)
    assert isinstance(peer, OfficialPeer)
    return OfficialChain(peer)


class OfficialChain:
    """Through a driver."""

    def __init__(self, peer: OfficialPeer) -> None:
        self._peer = peer

    async def balance(self, wallet: str) -> int:
        return parse_amount(await self._call("balance", wallet=wallet))

    async def nonce(self, wallet: str) -> int:
        nonce: int = await self._call("nonce", wallet=wallet)
        return nonce

    async def transfer(self, wallet: str, amount: str, fee: str = "0") -> str:
        return await self._hash("transfer", wallet=wallet, amount=amount, fee=fee)

    async def register_name(self, name: str) -> str:
        return await self._hash("registerName", name=name)

    async def transfer_name(self, name: str, recipient: str) -> str:
        return await self._hash("transferName", name=name, recipient=recipient)

    async def delete_name(self, name: str) -> str:
        return await self._hash("deleteName", name=name)

    async def registrant(self, name: str) -> tuple[str, int]:
        key, expires_at = await self._call("registrant", name=name)
        return key, expires_at

    async def subscribe(self, topic: str, duration: int, meta: str) -> str:
        return await self._hash("subscribe", topic=topic, duration=duration, meta=meta)

    async def unsubscribe(self, topic: str) -> str:
        return await self._hash("unsubscribe", topic=topic)

    async def subscribers(self, topic: str) -> dict[str, str]:
        found: dict[str, str] = await self._call("subscribers", topic=topic)
        return found

    async def subscribers_count(self, topic: str) -> int:
        count: int = await self._call("subscribersCount", topic=topic)
        return count

    async def subscription(self, topic: str, subscriber: str) -> tuple[str, int]:
        meta, expires_at = await self._call("subscription", topic=topic, subscriber=subscriber)
        return meta, expires_at

    async def publish(self, topic: str, content: str | bytes) -> None:
        await self._peer.publish(topic, content)

    async def _hash(self, op: str, **arguments: Any) -> str:
        digest: str = await self._call(op, **arguments)
        return digest

    async def _call(self, op: str, **arguments: Any) -> Any:
        return await self._peer.call(op, **arguments)


class OurChain:
    """Through our SDK."""

    def __init__(self, client: MultiClient) -> None:
        self._client = client
        self._account = client.account
        self._chain = client.chain

    async def balance(self, wallet: str) -> int:
        return parse_amount(str(await self._chain.balance(wallet)))

    async def nonce(self, wallet: str) -> int:
        return await self._chain.nonce(wallet)

    async def transfer(self, wallet: str, amount: str, fee: str = "0") -> str:
        try:
            return await self._account.transfer(wallet, amount, fee=fee)
        except NconnectError as error:
            raise PeerError(str(error)) from error

    async def register_name(self, name: str) -> str:
        try:
            return await self._account.register_name(name)
        except NconnectError as error:
            raise PeerError(str(error)) from error

    async def transfer_name(self, name: str, recipient: str) -> str:
        return await self._account.transfer_name(name, recipient)

    async def delete_name(self, name: str) -> str:
        return await self._account.delete_name(name)

    async def registrant(self, name: str) -> tuple[str, int]:
        found = await self._chain.registrant(name)
        return (found.public_key.hex(), found.expires_at) if found else ("", 0)

    async def subscribe(self, topic: str, duration: int, meta: str) -> str:
        return await self._client.subscribe(topic, duration, meta)

    async def unsubscribe(self, topic: str) -> str:
        return await self._client.unsubscribe(topic)

    async def subscribers(self, topic: str) -> dict[str, str]:
        return await self._client.subscribers(topic, meta=True)

    async def subscribers_count(self, topic: str) -> int:
        return await self._chain.subscribers_count(topic)

    async def subscription(self, topic: str, subscriber: str) -> tuple[str, int]:
        found = await self._chain.subscription(topic, subscriber)
        return (found.meta, found.expires_at) if found else ("", 0)

    async def publish(self, topic: str, content: str | bytes) -> None:
        await self._client.publish(topic, content)
