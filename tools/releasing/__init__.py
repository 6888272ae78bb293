"""How packages are released; tools/release.py is the command line.

The committed files answer two questions: does the package still offer what it offered at its last
tag (`surface`, `differences`), and what does its changelog say (`changelog`)? The answers
determine the smallest allowed version (`versions`, `demand`). `plan` shows it for all packages,
`bump` writes it for one, `artifacts` builds the files to upload, and `tags` checks the tag of a
release. Every problem raises `Refused` before anything is changed.
"""
