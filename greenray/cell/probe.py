"""Can a fresh process use the device? Answered by trying, in a process of its own, before the first cell."""

from greenray.cell.protocol import Channel, Failed, Probe, Ready


def answer(probe: Probe, channel: Channel) -> int:
    """Try the device, send Ready or Failed, and return the exit code."""
    import torch

    versions = {"torch": str(torch.__version__)}
    try:
        uuid = None
        if probe.device == "cuda":
            if not torch.cuda.is_available():
                if torch.version.cuda is None:
                    channel.send(Failed(status="unsupported", error="this torch is built without CUDA", versions=versions))
                    return 0
                raise RuntimeError("torch finds no usable CUDA device")
            uuid = str(torch.cuda.get_device_properties(0).uuid)
        ones = torch.ones(64, 64, device=probe.device)
        if float((ones @ ones).sum()) != 64.0**3:
            raise RuntimeError(f"a product of small matrices on {probe.device} is wrong")
        if probe.warm_compiler:
            torch.compile(lambda x: (x.sin() + x).relu().sum())(ones)
    except Exception as error:
        channel.send(Failed(status="failed", error=f"{type(error).__name__}: {str(error).splitlines()[0]}", versions=versions))
        return 0
    channel.send(Ready(gpu_uuid=uuid))
    return 0
