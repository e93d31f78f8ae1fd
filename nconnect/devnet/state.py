"""What a chain of blocks adds up to: accounts, names, subscriptions, payment channels.

Source: nknd ``chain/blockvalidator.go`` (what is checked), ``chain/store/stateGenerator.go`` (what changes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from google.protobuf.message import Message

from nconnect.devnet.accounts import Accounts
from nconnect.devnet.channels import Channels
from nconnect.devnet.names import Names
from nconnect.devnet.topics import Topics
from nconnect.nkn import transactions_pb2 as pb

# What a payload costs its sender beside the fee, and what it does. Nothing is done while anything may still
# be rejected.
Plan = tuple[int, Callable[[], None]]


class State:
    """The sum of all transactions so far. `apply` adds one, `expire` ends what ends with a block."""

    __slots__ = ("accounts", "channels", "names", "topics")

    def __init__(self, balances: Mapping[bytes, int], faucet: int) -> None:
        self.accounts = Accounts(balances, faucet)
        self.names = Names()
        self.topics = Topics()
        self.channels = Channels()

    def apply(self, sender: bytes, message: Message, fee: int, height: int) -> None:
        """Do what a verified transaction of account ``sender`` asks for, in the block of ``height``.

        Rejected if that cannot be; then nothing has changed.
        """
        recipient = (message.recipient,) if isinstance(message, pb.TransferAsset | pb.NanoPay) else ()
        cost, change = self._plan(message, height)
        self.accounts.check(sender, cost + fee, *recipient)
        self.accounts.add(sender, -cost - fee)
        for account in recipient:
            self.accounts.add(account, cost)
        if not isinstance(message, pb.NanoPay):
            self.accounts.count(sender)
        change()

    def expire(self, height: int) -> None:
        """The block of ``height`` is complete."""
        self.names.expire(height)
        self.topics.expire(height)
        self.channels.expire(height)

    def _plan(self, message: Message, height: int) -> Plan:
        match message:
            case pb.TransferAsset():
                return message.amount, lambda: None
            case pb.NanoPay():
                return self.channels.check_claim(message, height), lambda: self.channels.claim(message)
            case pb.Subscribe():
                return self._plan_subscribe(message, height)
            case pb.Unsubscribe(topic=topic, subscriber=subscriber, identifier=identifier):
                self.topics.check_unsubscribe(topic, subscriber, identifier)
                return 0, lambda: self.topics.unsubscribe(topic, subscriber, identifier)
            case _:
                return self._plan_name(message, height)

    def _plan_name(self, message: Message, height: int) -> Plan:
        match message:
            case pb.RegisterName(name=name, registrant=registrant, registration_fee=fee):
                self.names.check_register(name, registrant)
                return fee, lambda: self.names.register(name, registrant, height)
            case pb.TransferName(name=name, registrant=registrant, recipient=recipient):
                self.names.check_transfer(name, registrant, recipient)
                return 0, lambda: self.names.transfer(name, recipient)
            case _:
                assert isinstance(message, pb.DeleteName), type(message)
                name = message.name
                self.names.check_delete(name, message.registrant)
                return 0, lambda: self.names.delete(name)

    def _plan_subscribe(self, message: pb.Subscribe, height: int) -> Plan:
        topic, subscriber, identifier = message.topic, message.subscriber, message.identifier
        self.topics.check_subscribe(topic, subscriber, identifier)
        # Any bytes may come in; the answers are JSON.
        meta = message.meta.decode(errors="replace")
        expires_at = height + message.duration
        return 0, lambda: self.topics.subscribe(topic, subscriber, identifier, meta, expires_at)
