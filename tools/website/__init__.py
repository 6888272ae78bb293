"""The site: generated pages, the processing of docstrings, and a check of the built site.

mkdocs calls `hooks` and `docstrings`; `check` and `benchmarks` are programs; `pages` and `api`
collect the contents. docs/maintaining/documentation.md explains how these fit together.
"""
