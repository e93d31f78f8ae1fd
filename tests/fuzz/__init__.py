"""Fuzzing: every decoder of what strangers send, with inputs that libFuzzer makes up by what they reach.

A target is a module ``fuzz_<decoder>.py`` with

- ``ERRORS``: the exceptions that the decoder documents; any other one is a finding;
- ``seeds()``: valid inputs to begin with, the same ones each time;
- ``run(data)``: decode, go on with what was decoded as the program does, and assert what must hold.

``scripts/fuzz`` runs them (`runner`) for as long as one likes, `test_fuzz` briefly with each change.
`test_memory` has the inputs that are made to cost more than they are long.
"""
