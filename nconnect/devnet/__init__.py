"""An NKN network on this machine that official SDKs can join: for the demo, the tests and for trying out."""

from nconnect.devnet.config import DevnetConfig, Shape
from nconnect.devnet.devnet import Devnet
from nconnect.devnet.stats import Stats

__all__ = ["Devnet", "DevnetConfig", "Shape", "Stats"]
