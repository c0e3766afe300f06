# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""What shows the app needs gradio, which `make test-app` installs into an environment of its own."""

from importlib.util import find_spec


collect_ignore = [] if find_spec("gradio") else ["test_browser.py", "test_interface.py", "test_space.py"]
