# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""The app: what a model sees in a photograph, its tokens and the answers of other models, in a browser."""
