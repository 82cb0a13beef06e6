"""The project's fuzzer: hostile command lines, and mutated files for every command that reads them.

``python -m tests.fuzz`` runs it; docs/development.md says how, and what counts as a failure.
"""
