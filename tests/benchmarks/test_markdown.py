# Copyright 2026 The ait_hf authors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers of several seeds as text."""

from ait_hf.benchmarks.markdown import spread


def test_spread_is_the_standard_deviation_of_a_sample():
    assert spread([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]) == "5.000 ± 2.138"
    assert spread([0.25]) == ".250" and spread([90.2, 89.8], "{:.0f}") == "90 ± 0"
