"""docs/guides/sharding.md on the devices that it describes; test_docs_blocks.py has only one."""

import re
from pathlib import Path

from fixtures import pass_on_devices


def test_on_eight_devices():
    pages = Path(__file__).with_name("test_docs_blocks.py")
    printed = pass_on_devices(pages, options=("-k", "test_page and sharding"))
    assert re.search(r"\d passed", printed)
