"""Writes the page that the proxies of deploy/ show while Kvit does not answer, from the texts of the catalogues."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from handlers.web.middleware import proxy_error_page  # noqa: E402

if __name__ == "__main__":
    (ROOT / "deploy" / "unavailable.html").write_text(proxy_error_page(), "utf-8")
