"""The site: pages that nobody writes, what docstrings become, and a check of what was built.

mkdocs calls `hooks` and `docstrings`, `check` and `benchmarks` are programs, `pages` and `api` know
what there is to show. docs/maintaining/documentation.md says how these belong together.
"""
