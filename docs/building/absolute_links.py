# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""
Makes the relative links of README.md absolute, for the page of a package, which has no files beside it:

    python docs/building/absolute_links.py https://github.com/OWNER/NAME TAG

In the repository they are relative, so that they lead to the same version in a clone and in a fork. The release workflow calls
this before it builds the wheel.
"""

import re
import sys
from pathlib import Path


README = Path(__file__).parents[2] / "README.md"
LINK = re.compile(r"(?P<before>(?P<picture>!?)\[[^][]*\]\()(?!https?:|#)(?P<path>[^)\s]+)\)")


def absolute_links(text: str, repository: str, tag: str) -> str:
    """A Markdown text whose pictures and links are those of a tag; what lies around pictures, too."""

    def absolute(link: re.Match) -> str:
        return f"{link['before']}{repository}/{'raw' if link['picture'] else 'blob'}/{tag}/{link['path']})"

    text = LINK.sub(absolute, text)  # inner pictures first: a badge is a picture inside a link
    return re.sub(r"(\)\]\()(?!https?:|#)([^)\s]+)\)", rf"\1{repository}/blob/{tag}/\2)", text)


if __name__ == "__main__":
    README.write_text(absolute_links(README.read_text(encoding="utf-8"), *sys.argv[1:3]), encoding="utf-8")
