"""A DNS server on this machine for the names of tunnels: answers those that a zone knows, asks the provider's
resolver for the others, and refuses what is not ours, so that the system's resolver asks elsewhere.

Where programs read resolv.conf, the first server that knows of a domain decides that a name is none. Two
providers may have one domain, as `lan`: a name that the first does not know the other tunnels' servers are
asked for, as systemd-resolved does by itself.

The provider's resolver is asked for addresses and for names of addresses, and of what it answers only those
are passed on that the zone lets it say. Anything else there may be of a name is nothing.
dnspython reads and writes messages (RFC 1035) and asks the provider's resolvers.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Callable, Sequence
from ipaddress import ip_address

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from nconnect.names.listening import Sockets
from nconnect.names.zone import Ask, AskName, IPAddress, Known, Meaning, Named, Zone

logger = logging.getLogger(__name__)

TTL = 30
"""Seconds for which our answers may be kept: a tunnel may be down, and its names with it, any time."""
ASK_TIMEOUT = 3.0
"""Seconds for one resolver behind the provider: several round trips through far relays."""
ANSWER_TIMEOUT = 3.5
"""Seconds for all of the provider's. Programs wait 5, and then ask the next server, which is a stranger's."""
OTHERS_TIMEOUT = 1.0
"""Seconds after that for the servers of other tunnels, all at once."""
MAX_QUESTIONS = 256
"""Questions under way; more are dropped, and asked again by whoever wants to know."""
MAX_CONNECTIONS = 32
"""TCP connections, which are for answers that do not fit a datagram."""
TCP_IDLE = 10.0
"""Seconds without a question after which a TCP connection is closed (RFC 7766, 6.2.3: a few seconds)."""
MAX_ANSWERS = 256
"""Of one question; more than any LAN has machines of one name."""
MAX_UDP = 1232
"""Bytes of a datagram (the DNS flag day's figure: no fragment on any path)."""

_ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
"""All else says something of the resolver, not of the name."""
_LENGTH = struct.Struct("!H")
_TYPES = {4: dns.rdatatype.A, 6: dns.rdatatype.AAAA}


class Names:
    """What a server answers from; `zone` is None while there is no tunnel."""

    def __init__(self) -> None:
        self.zone: Zone | None = None
        self.resolvers: tuple[IPAddress, ...] = ()
        """The provider's, as the user reaches them."""
        self.port = 53
        """The resolvers' port."""
        self.final = False
        """Whether who asks goes on to resolvers of strangers where we have no answer (resolv.conf), and is to
        hear that there is no such name instead."""
        self.others: Callable[[], Sequence[str]] = tuple
        """Addresses of other tunnels' servers, which may know what the provider does not. They are asked
        without recursion desired, and ask no further then."""
        self.to_user: Callable[[IPAddress], IPAddress] = lambda address: address
        """From an address as the provider sees it to the user's view of it."""
        self.to_provider: Callable[[IPAddress], IPAddress] = lambda address: address

    async def answer(self, wire: bytes) -> bytes | None:
        """The answer to a question of RFC 1035's format; None for what is not one, and gets no answer."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                rcode = await self._fill(query, reply)
        except TimeoutError:
            rcode = self._no_answer
        if rcode == dns.rcode.NXDOMAIN and query.flags & dns.flags.RD:
            rcode = await self._ask_others(query.question[0], reply)
        reply.set_rcode(rcode)
        return reply.to_wire()

    @property
    def _no_answer(self) -> dns.rcode.Rcode:
        """For a name that is ours, and of which nobody can say now what it means."""
        return dns.rcode.NXDOMAIN if self.final else dns.rcode.SERVFAIL

    async def _fill(self, query: dns.message.Message, reply: dns.message.Message) -> dns.rcode.Rcode:
        if query.opcode() != dns.opcode.QUERY or len(query.question) != 1:
            return dns.rcode.NOTIMP
        question = query.question[0]
        if question.rdclass != dns.rdataclass.IN:
            return dns.rcode.REFUSED
        zone = self.zone
        meaning: Meaning = zone.meaning(question.name.to_text()) if zone else None
        match meaning:
            case Known(addresses):
                self._put(reply, question, _texts(addresses, question.rdtype))
                return dns.rcode.NOERROR
            case Named(names):
                if question.rdtype == dns.rdatatype.PTR:
                    self._put(reply, question, [f"{name}." for name in names])
                return dns.rcode.NOERROR
            case Ask(names) if zone is not None:
                return await self._ask(zone, names, question, reply)
            case AskName(address) if zone is not None:
                return await self._ask_name(zone, address, question, reply)
            case _:
                return dns.rcode.REFUSED

    async def _ask(
        self, zone: Zone, names: Sequence[str], question: dns.rrset.RRset, reply: dns.message.Message
    ) -> dns.rcode.Rcode:
        if question.rdtype not in (dns.rdatatype.A, dns.rdatatype.AAAA):
            return dns.rcode.NOERROR
        for name in names:
            answer = await self._ask_resolvers(name, question.rdtype)
            if answer is None:
                return self._no_answer  # nobody is there, for the other names neither
            if answer.rcode() == dns.rcode.NOERROR:
                found = (self.to_user(address) for address in _addresses(answer))
                led = [address for address in found if zone.leads_to(address)]
                self._put(reply, question, _texts(led, question.rdtype))
                return dns.rcode.NOERROR
        return dns.rcode.NXDOMAIN

    async def _ask_name(
        self, zone: Zone, address: IPAddress, question: dns.rrset.RRset, reply: dns.message.Message
    ) -> dns.rcode.Rcode:
        if question.rdtype != dns.rdatatype.PTR:
            return dns.rcode.NOERROR
        answer = await self._ask_resolvers(self.to_provider(address).reverse_pointer, question.rdtype)
        if answer is None:
            return self._no_answer
        if answer.rcode() == dns.rcode.NOERROR:
            self._put(
                reply, question, [name for name in _names(answer) if zone.has(name.lower().rstrip("."))]
            )
        return answer.rcode()

    async def _ask_others(self, question: dns.rrset.RRset, reply: dns.message.Message) -> dns.rcode.Rcode:
        """What other tunnels' servers say of a name that the provider does not know."""
        asked = dns.message.make_query(question.name, question.rdtype, flags=0)
        answers = await asyncio.gather(
            *(self._ask_one(asked, server, OTHERS_TIMEOUT) for server in self.others())
        )
        for answer in answers:
            if answer is not None and answer.rcode() == dns.rcode.NOERROR:
                reply.answer.extend(answer.answer)
                return dns.rcode.NOERROR
        return dns.rcode.NXDOMAIN

    async def _ask_resolvers(self, name: str, kind: dns.rdatatype.RdataType) -> dns.message.Message | None:
        query = dns.message.make_query(name, kind)
        for resolver in self.resolvers:
            answer = await self._ask_one(query, str(resolver))
            if answer is not None:
                return answer
        return None

    async def _ask_one(
        self, query: dns.message.Message, server: str, seconds: float = ASK_TIMEOUT
    ) -> dns.message.Message | None:
        try:
            answer, _ = await dns.asyncquery.udp_with_fallback(query, server, seconds, port=self.port)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            logger.debug("resolver %s: %s", server, error)
            return None
        if answer.rcode() in _ANSWERS:
            return answer
        logger.debug("resolver %s: %s", server, dns.rcode.to_text(answer.rcode()))
        return None

    def _put(self, reply: dns.message.Message, question: dns.rrset.RRset, texts: Sequence[str]) -> None:
        if texts:
            kept = texts[:MAX_ANSWERS]
            reply.answer.append(dns.rrset.from_text_list(question.name, TTL, "IN", question.rdtype, kept))


def _texts(addresses: Sequence[IPAddress], kind: dns.rdatatype.RdataType) -> list[str]:
    """Those that a question of this kind asks for."""
    return [str(address) for address in addresses if _TYPES[address.version] == kind]


def _addresses(answer: dns.message.Message) -> list[IPAddress]:
    """All addresses of an answer, whatever aliases lead to them."""
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return [ip_address(one.address) for rrset in answer.answer if rrset.rdtype in kinds for one in rrset]


def _names(answer: dns.message.Message) -> list[str]:
    """All names that an answer gives to an address."""
    kind = dns.rdatatype.PTR
    return [one.target.to_text() for rrset in answer.answer if rrset.rdtype == kind for one in rrset]


class NameServer:
    """Serves `names` by UDP and TCP."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._questions: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._connections = 0

    async def start(self, sockets: Sockets) -> None:
        """Answer what comes to these sockets, which are closed in the end."""
        loop = asyncio.get_running_loop()
        self._server = await asyncio.start_server(self._serve, sock=sockets.tcp)
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._on_datagram), sock=sockets.udp
        )

    def close(self) -> None:
        """Answer no more."""
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in self._questions:
            task.cancel()

    def _on_datagram(self, data: bytes, sender: tuple[str, int]) -> None:
        if len(self._questions) >= MAX_QUESTIONS:
            return
        task = asyncio.ensure_future(self._reply(data, sender))
        self._questions.add(task)
        task.add_done_callback(self._questions.discard)

    async def _reply(self, data: bytes, sender: tuple[str, int]) -> None:
        answer = await self._names.answer(data)
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer if len(answer) <= MAX_UDP else _truncated(answer), sender)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.close()
            return
        self._connections += 1
        try:
            while True:
                async with asyncio.timeout(TCP_IDLE):
                    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                    question = await reader.readexactly(length)
                answer = await self._names.answer(question)
                if answer is None:
                    return
                writer.write(_LENGTH.pack(len(answer)) + answer)
                await writer.drain()
        except (TimeoutError, EOFError, OSError):
            pass  # whoever asked has gone
        finally:
            self._connections -= 1
            writer.close()


def _truncated(answer: bytes) -> bytes:
    """The answer without what does not fit: ask again by TCP."""
    message = dns.message.from_wire(answer)
    message.answer.clear()
    message.flags |= dns.flags.TC
    return message.to_wire()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, on_datagram: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._on_datagram = on_datagram

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._on_datagram(data, addr)
