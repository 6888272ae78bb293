"""The site: generated pages, the treatment of docstrings, and a check of what was built.

mkdocs calls `hooks` and `docstrings`; `check` and `benchmarks` are programs; `pages` and `api` know
what there is to show. docs/maintaining/documentation.md explains how these fit together.
"""
