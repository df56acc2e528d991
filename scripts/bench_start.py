"""CPU until the service is ready, with an empty database, and its memory when idle.

python scripts/bench_start.py [ROUNDS]
"""

from __future__ import annotations

import sys
import tempfile

from bench import running, spread

TOKEN = "7700000001:AABenchmarkTokenThatOpensNothing_00000"
UNREACHABLE = "http://127.0.0.1:9"


def main(rounds: int) -> None:
    """Starts the service so often; both vendors are unreachable."""
    cpu, memory = [], []
    for _ in range(rounds + 1):
        with tempfile.TemporaryDirectory() as folder:
            settings = {
                "TELEGRAM_BOT_TOKEN": TOKEN,
                "STRIPE_API_KEY": "rk_test_bench",
                "STRIPE_API_BASE": UNREACHABLE,
                "TELEGRAM_API_BASE": UNREACHABLE,
                "DATABASE_URL": f"sqlite:///{folder}/bench.db",
                "PORT": "0",
                "LOG_LEVEL": "error",
            }
            with running(["-m", "bot", "serve"], **settings) as service:
                service.line()
                cpu.append(service.cpu)
                memory.append(service.megabytes)
    print(f"CPU until ready: {spread(cpu[1:])} s (target: at most 1.5)")
    print(f"memory when idle: {spread(memory[1:], '.0f')} MB (target: at most 130)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
