"""The instrument: sensors, a recorder outside the workload's process, and energy as a pure function of (trace, start, end)."""

from greenray.power.host import HostInfo
from greenray.power.instrument import Instrument, Recording
from greenray.power.sharing import IdlePower
from greenray.power.trace import Trace
from greenray.power.window import WindowReading

__all__ = ["HostInfo", "IdlePower", "Instrument", "Recording", "Trace", "WindowReading"]
