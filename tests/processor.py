"""The processor that runs the tests: its rounding decides whether results recorded elsewhere can be compared bit for bit."""

from pathlib import Path


def processor():
    """Its name, empty where the system does not tell."""
    told = Path("/proc/cpuinfo")
    line = next((line for line in told.read_text().splitlines() if line.startswith("model name")), "") if told.exists() else ""
    return line.partition(":")[2].strip()
